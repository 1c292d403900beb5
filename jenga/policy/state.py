"""Cooldowns that outlive a run: kept beside the log of alerts, and proved to be of that log."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from jenga.errors import SetupError
from jenga.files import write_atomic
from jenga.policy.chain import GENESIS, Sealer, canonical, lines_of, parsed
from jenga.policy.decide import key_of
from jenga.policy.log import files_of
from jenga.policy.match import seconds_of
from jenga.policy.memory import Memory

logger = logging.getLogger(__name__)
_FILES_READ = 2
"""The newest files of the log: it may have gone on in a new one since the state was kept, but hardly twice."""


@dataclass(frozen=True)
class State:
    """What `Memory.entries` gave when record `seq`, with the hash `last`, was the last one of the log."""

    seq: int
    last: str
    entries: list[list[Any]]


def state_file(path: Path) -> Path:
    """Return where the cooldowns behind the log `path` are kept."""
    return path.with_name(f"{path.name}.state")


def write_state(path: Path, sealer: Sealer, state: State) -> None:
    """Keep `state` beside the log `path`, as private as the log. Raises SetupError, with the cost."""
    content = {"seq": state.seq, "last": state.last, "entries": state.entries, "algorithm": sealer.algorithm}
    content["hash"] = sealer.hash(content)
    try:
        write_atomic(state_file(path), canonical(content).decode("ascii") + "\n", private=True)
    except SetupError as error:
        raise SetupError(
            f"{error}. The log has every alert, and the next run takes the cooldowns from there, but how many events "
            "were kept back since is lost"
        ) from error


def read_state(path: Path, sealer: Sealer) -> State | None:
    """Return what `write_state` wrote beside the log `path`; None without it.

    Raises ValueError where it is not as it was written, OSError where it cannot be read.
    """
    try:
        found = json.loads(state_file(path).read_bytes())
    except FileNotFoundError:
        return None
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(found, dict) or found.get("hash") != sealer.hash(found):
        raise ValueError("its hash is not that of its content")
    seq, last, entries = found.get("seq"), found.get("last"), found.get("entries")
    if not _is_count(seq) or not isinstance(last, str) or not isinstance(entries, list):
        raise ValueError("it is no state of this version")
    if not all(map(_is_entry, entries)):
        raise ValueError("it holds what is no cooldown")
    return State(seq, last, entries)


def remember(memory: Memory, path: Path, sealer: Sealer, *, seq: int) -> None:
    """Take over the cooldowns that were kept behind the log `path`, and those of the alerts written to it since.

    seq: number of its last record. What cannot be proved to be of this log is left out, with a warning.
    """
    state = None
    try:
        state = read_state(path, sealer)
        if state is not None:
            _check_place(state, path, sealer, seq)
            memory.restore(state.entries)
    except (OSError, ValueError) as error:
        logger.warning("%s: %s; cooldowns are taken from the log alone", state_file(path), error)
        state = None
    after, odd = (0 if state is None else state.seq), 0
    for record in _records(path):
        number = None if record is None else record.get("seq")
        if _is_count(number) and number <= after:
            continue
        if record is None or not _is_count(number) or record.get("hash") != sealer.hash(record):
            odd += 1
        elif (alert := _alert(record)) is not None:
            memory.note(*alert)
    if odd:
        words = "%s: %d records are not as they were written, and make no cooldowns; see jenga alerts verify"
        logger.warning(words, path, odd)


def _check_place(state: State, path: Path, sealer: Sealer, seq: int) -> None:
    """Raise ValueError where `state` is not of the log `path`, which has come to record `seq`."""
    if state.seq > seq:
        raise ValueError(f"it is of another log: it knows of record {state.seq}, and this one ends with {seq}")
    if state.seq == 0 and state.last == GENESIS:
        return
    wanted = re.compile(rb'"seq":%d[,}]' % state.seq)
    for _, _, line in lines_of(files_of(path)[-_FILES_READ:]):
        record = parsed(line) if wanted.search(line) else None
        if record is not None and record.get("seq") == state.seq and record.get("hash") == state.last:
            return
    raise ValueError(f"it is of another log, or too old: this one has no record {state.seq} with its hash")


def _records(path: Path) -> Iterator[Mapping[str, Any] | None]:
    """Yield the records of the newest files of the log; None of what is none."""
    for _, _, line in lines_of(files_of(path)[-_FILES_READ:]):
        yield parsed(line)


def _alert(record: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the key and the time of the cooldown that a record began; None where it began none."""
    rule, identity, at = record.get("rule"), record.get("identity"), record.get("at")
    if not isinstance(rule, str) or not isinstance(identity, dict) or not _is_time(at):
        return None
    return key_of(rule, identity, allowed=record.get("decision") == "allowed"), float(at)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 3
        and isinstance(entry[0], str)
        and _is_time(entry[1])
        and _is_count(entry[2])
    )


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _is_time(value: Any) -> TypeGuard[float]:
    return not isinstance(value, str) and seconds_of(value, "s") is not None
