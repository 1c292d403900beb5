"""What a policy says of one scored event."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jenga.policy.allow import AllowList
from jenga.policy.load import LOG, Model, PolicyFile, read_policy
from jenga.policy.match import Match, Matcher, brief, plain, seconds_of
from jenga.policy.memory import Memory
from jenga.policy.schema import Rule
from jenga.refinery.paths import value_at

logger = logging.getLogger(__name__)
_KEY_LENGTH = 256
"""Characters of a key that is remembered as it is, so that max_identities bounds the memory too."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one rule says of an event.

    outcome: ``alert``; ``suppressed``, within the cooldown of an alert before; or ``allowed``. identity: the values of
    its fields, None of one that the event lacks. event: the same of the fields that the policy keeps; empty of what is
    suppressed. id: the row's. score: the probability, score or value that was judged.
    at: seconds since 1970, of the event where `by_event`, else of the clock. suppressed: events since the alert before
    of this identity. actions: the hooks to run; none unless `outcome` is ``alert``. reason: why an alert has no
    actions, or an identity is allowed.
    """

    outcome: Literal["alert", "suppressed", "allowed"]
    rule: str
    severity: str
    identity: Mapping[str, Any]
    event: Mapping[str, Any]
    id: str
    task: str
    head: str | None
    label: str | None
    score: float | None
    answer: Mapping[str, Any]
    at: float
    by_event: bool
    suppressed: int
    actions: tuple[str, ...]
    reason: str | None


class Policy:
    """Rules with the cooldowns of the identities that they have seen; decides, and does nothing.

    Not to be shared between threads.

    >>> policy = Policy.load("policy.yml")
    >>> event = {"src_ip": "203.0.113.7", "ts": "2027-01-31T12:00:00Z"}
    >>> answer = {"id": "17", "triage": {"threat": {"label": "dos", "probability": 0.97}}}
    >>> [decision.outcome for decision in policy.decide(event, answer)]
    ['alert']
    >>> [decision.outcome for decision in policy.decide(event, answer)]
    ['suppressed']
    >>> policy.decide(event, {"id": "18", "triage": {"threat": {"label": "normal", "probability": 0.99}}})
    ()
    """

    def __init__(self, file: PolicyFile, *, clock: Callable[[], float] = time.time) -> None:
        self.file, self.config, self.clock = file, file.config, clock
        self.memory = Memory(file.config.max_identities)
        self._matchers = [(rule, Matcher(rule.when)) for rule in file.config.rules]
        self._allow = AllowList(file.config.allow)
        self._warned: set[str] = set()

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> Policy:
        """Return the policy in the YAML file `path`; clock: gives seconds since 1970.

        Raises ConfigError with every mistake and its place.
        """
        return cls(read_policy(path), clock=clock)

    def check(self, model: Model) -> None:
        """Raise ConfigError where a rule asks for what the model never answers; see `jenga.inference.answered`."""
        self.file.check(model)

    def decide(self, event: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[Decision, ...]:
        """Return what each rule that fits says; () where none does.

        event: with its fields as they are nested, or by whole path. answer: as `jenga.Predictor.predict` gives it.
        The cooldown of an alert begins with the call.
        """
        found: list[Decision] = []
        for rule, matcher in self._matchers:
            match = matcher.match(answer)
            if match is not None:
                found.append(self._decided(rule, match, event, str(answer.get("id", ""))))
        return tuple(found)

    def _decided(self, rule: Rule, match: Match, event: Mapping[str, Any], name: str) -> Decision:
        identity = {path: brief(value_at(event, path)) for path in rule.identity}
        entry = self._allow.entry(rule.name, identity, self.clock())
        at, by_event = self._time(event)
        key = key_of(rule.name, identity, allowed=entry is not None)
        suppressed = self.memory.passes(key, at, rule.cooldown_s)
        outcome: Literal["alert", "suppressed", "allowed"] = "allowed" if entry is not None else "alert"
        actions, reason = tuple(each for each in rule.actions if each != LOG), None
        if suppressed is None:
            outcome, actions = "suppressed", ()
        elif entry is not None:
            actions, reason = (), entry.reason
        elif lacking := [path for path, value in identity.items() if value is None]:
            reason = f"the event has no {', '.join(lacking)}, so nobody is acted on" if actions else None
            actions = ()
            self._warn(
                f"identity {rule.name} {lacking[0]}",
                f"rule '{rule.name}': an event has no '{lacking[0]}'; an alert without its whole identity is written "
                "down and runs nothing",
            )
        kept = {} if suppressed is None else {path: brief(value_at(event, path)) for path in self.config.keep}
        return Decision(
            outcome, rule.name, rule.severity, identity, kept, name, rule.when.task, match.head, match.label,
            match.number, match.answer, at, by_event, suppressed or 0, actions, reason,
        )  # fmt: skip

    def _time(self, event: Mapping[str, Any]) -> tuple[float, bool]:
        if self.config.time is None:
            return self.clock(), False
        value = value_at(event, self.config.time)
        found = seconds_of(value, self.config.time_unit)
        if found is not None:
            return found, True
        shown = "nothing" if value is None else f"'{plain(value)}'"
        words = f"time: an event has {shown} in '{self.config.time}', which is no time; the clock counts for it"
        self._warn("time", words)
        return self.clock(), False

    def _warn(self, subject: str, words: str) -> None:
        if subject not in self._warned:
            self._warned.add(subject)
            logger.warning("%s", words)


def key_of(rule: str, identity: Mapping[str, Any], *, allowed: bool) -> str:
    """Return what a cooldown is remembered by: the identity, or where that is longer its digest."""
    key = json.dumps([rule, allowed, identity], sort_keys=True, separators=(",", ":"))
    return key if len(key) <= _KEY_LENGTH else hashlib.sha256(key.encode("ascii")).hexdigest()
