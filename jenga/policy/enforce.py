"""A policy at work: what it decides is written to its log, and done where that is asked for."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from jenga.errors import ConfigError, SetupError
from jenga.policy.chain import Sealer, canonical
from jenga.policy.decide import Decision, Policy
from jenga.policy.hooks import Ended, Hooks, program_of
from jenga.policy.load import PolicyFile, ended
from jenga.policy.log import AlertLog
from jenga.policy.match import plain
from jenga.policy.state import State, remember, write_state

logger = logging.getLogger(__name__)
_BYTES_IN_MB = 1_000_000
_ANSWER_BYTES = 4096
"""Canonical JSON of an answer that a record carries whole; of a longer one it has what was judged alone."""
_STATE_EVERY_S = 30.0


class Enforcer:
    """Hands scored events to a policy, while it is entered: ``with Enforcer(policy, act=False, model=...) as guard``.

    act: run the hooks of alerts, which the policy allows too by ``dry_run: false``; both are needed. model: what tells
    the model from others, for the log. `counts`: how many decisions there were of each kind. Raises ConfigError where
    `act` is asked for and the policy is for dry runs, or a hook has no program, SetupError where the log cannot be
    written.
    """

    def __init__(self, policy: Policy, *, act: bool = False, model: str | None = None) -> None:
        self.policy, self._model = policy, model
        file = policy.file
        if act and file.config.dry_run:
            raise ConfigError(
                f"--act: {file.document.file} is for dry runs; write `dry_run: false` into it, if its actions are meant"
            )
        self._act = act
        self._sealer = Sealer(secret_of(file))
        if act:
            _check_programs(file)
        self._log = AlertLog(
            file.path(file.config.log), self._sealer, rotate_bytes=int(file.config.rotate_mb * _BYTES_IN_MB)
        )
        self._hooks: Hooks | None = None
        self.counts: Counter[str] = Counter()
        self._failure: BaseException | None = None
        self._saved_s = 0.0
        self._counting = threading.Lock()

    @property
    def log_path(self) -> str:
        """Where alerts are written."""
        return str(self._log.path)

    def __enter__(self) -> Self:
        """Open the log, remember the cooldowns of the runs before, and make the hooks ready."""
        for at in ended(self.policy.config):
            logger.warning("%s: allow[%d] has ended and holds no longer", self.policy.file.document.file, at)
        self._log.__enter__()
        try:
            remember(self.policy.memory, self._log.path, self._sealer, seq=self._log.seq)
        except BaseException:
            self._log.__exit__(None, None, None)
            raise
        config = self.policy.config
        hidden = [] if config.key_env is None else [config.key_env]
        if self._act:
            self._hooks = Hooks(config.hooks, folder=self.policy.file.folder, hidden=hidden, ended=self._note)
        self._saved_s = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for hooks, keep the cooldowns and close the log; after an error hooks that wait are dropped."""
        try:
            if self._hooks is not None and (dropped := self._hooks.close(drop=error is not None)):
                reason = "no thread could be started for them" if error is None else "the run ended with an error"
                self.counts["dropped"] += dropped
                self._log.append({"decision": "dropped", "runs": dropped, "reason": reason})
            self._forgotten()
            self._log.sync()
            self._save_at_end(error)
        finally:
            self._log.__exit__(kind, error, trace)
        if error is None:
            self._raise()
            self._tell()

    def see(self, event: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[Decision, ...]:
        """Decide on an event, write down what is no mere repetition, and run what is to be run; see `Policy.decide`."""
        decisions = self.policy.decide(event, answer)
        for decision in decisions:
            if decision.outcome == "suppressed":
                self.counts["suppressed"] += 1
                continue
            self._record(decision)
        return decisions

    def flush(self) -> None:
        """Bring the log to disk. Raises what went wrong beside it since."""
        self._raise()
        self._forgotten()
        self._log.sync()
        if self.policy.memory.changed and time.monotonic() - self._saved_s > _STATE_EVERY_S:
            self._save()

    def _record(self, decision: Decision) -> None:
        told: str = decision.outcome
        if decision.actions:
            told = "acted" if self._act else "dry_run"
        self.counts[told] += 1
        record = self._log.append({**described(decision), "decision": told, **self._fingerprints()})
        if told != "acted" or self._hooks is None:
            return
        # What is done stands on the disk before it is done.
        self._log.sync()
        for name in decision.actions:
            if (reason := self._hooks.start(name, record)) is not None:
                self.counts["dropped"] += 1
                self._log.append({"decision": "dropped", "hook": name, "of": record["seq"], "reason": reason})

    def _fingerprints(self) -> dict[str, Any]:
        return {"policy": self.policy.file.digest, "model": self._model}

    def _note(self, run: Ended) -> None:
        """Write down how a hook ended; called by its thread."""
        try:
            with self._counting:
                self.counts["failed" if run.code != 0 else "done"] += 1
            self._log.append(
                {"decision": "hook", "hook": run.hook, "of": run.of, "exit": run.code, "timed_out": run.timed_out,
                 "seconds": run.seconds, "error": run.error}
            )  # fmt: skip
            self._log.sync()
        except BaseException as error:  # told by the next call of the thread that scores
            self._failure = error

    def _raise(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _forgotten(self) -> None:
        identities, suppressed = self.policy.memory.told()
        if identities:
            self.counts["forgotten"] += identities
            self._log.append({"decision": "forgotten", "identities": identities, "suppressed": suppressed})

    def _save(self) -> None:
        seq, last = self._log.sync()
        write_state(self._log.path, self._sealer, State(seq, last, self.policy.memory.entries()))
        self.policy.memory.changed, self._saved_s = False, time.monotonic()

    def _save_at_end(self, error: BaseException | None) -> None:
        try:
            self._save()
        except SetupError as problem:
            if error is None:
                raise
            logger.warning("%s", problem)  # beside the error that ended the run, which counts

    # ----------------------------------------------------------------------------------------------------------- words

    def _tell(self) -> None:
        counts, config = self.counts, self.policy.config
        if counts["dry_run"]:
            missing = [] if self._act else ["--act"]
            missing += ["dry_run: false in the policy"] if config.dry_run else []
            logger.warning(
                "%d alerts would have run hooks; this was a dry run (to act: %s)",
                counts["dry_run"], " and ".join(missing),
            )  # fmt: skip
        for kind, words in (
            ("dropped", "%d runs of hooks were dropped; see %s"),
            ("failed", "%d runs of hooks failed or were killed; see %s"),
            ("forgotten", "%d identities were forgotten, since max_identities are remembered; see %s"),
        ):
            if counts[kind]:
                logger.warning(words, counts[kind], self._log.path)


def described(decision: Decision) -> dict[str, Any]:
    """Return what a record says of a decision."""
    answer = plain(decision.answer)
    if len(canonical(answer)) > _ANSWER_BYTES:
        answer = None
    return {
        "rule": decision.rule,
        "severity": decision.severity,
        "identity": dict(decision.identity),
        "event": dict(decision.event),
        "id": plain(decision.id),
        "task": decision.task,
        "head": decision.head,
        "label": plain(decision.label),
        "score": plain(decision.score),
        "answer": answer,
        "at": decision.at,
        "event_time": _iso(decision.at) if decision.by_event else None,
        "suppressed": decision.suppressed,
        "actions": list(decision.actions),
        "reason": decision.reason,
    }


def _iso(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None


def secret_of(file: PolicyFile) -> bytes | None:
    """Return the secret of a policy's log, blanks around it left out; None where it names none.

    Raises SetupError where it is not there.
    """
    return secret(
        key_file=None if file.config.key_file is None else str(file.path(file.config.key_file)),
        key_env=file.config.key_env,
    )


def secret(*, key_file: str | None, key_env: str | None) -> bytes | None:
    """Return the secret in a file or an environment variable, blanks around it left out; None where neither is named.

    Raises SetupError where it is not there.
    """
    if key_env is not None:
        if not (found := os.environ.get(key_env, "").strip()):
            raise SetupError(f"the environment has no {key_env}, which holds the secret of the log; export it")
        return found.encode()
    if key_file is None:
        return None
    try:
        with open(key_file, "rb") as content:
            return content.read().strip()
    except OSError as error:
        raise SetupError(f"{key_file}: the secret of the log cannot be read ({error.strerror})") from None


def _check_programs(file: PolicyFile) -> None:
    problems = []
    for name, hook in file.config.hooks.items():
        if program_of(hook, file.folder) is None:
            place = file.document.value_place(("hooks", name, "run", 0))
            message = f"'{hook.run[0]}' is no program that can be run; give its path, and chmod +x it"
            problems.append(place.problem(f"hooks.{name}.run[0]", message))
    if problems:
        raise ConfigError(problems)
