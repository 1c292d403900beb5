"""quarantine.jsonl of a run's sentinel: labels and rows that were set aside, given back, or only seen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from jenga.errors import DataError
from jenga.files import write_atomic

FOLDER = "sentinel"
"""In a run's folder: what its sentinel keeps."""
FILE, EVENTS = "quarantine.jsonl", "events.jsonl"
State = Literal["quarantined", "restored", "observed"]
STATES: tuple[State, ...] = ("quarantined", "restored", "observed")


@dataclass(frozen=True)
class Entry:
    """A label, or with `head` None a whole row, that a detector spoke against.

    `id`: the row's, in `source`. `score`: the detector's, of which `reason` says what it is. `step`: when it was found;
    `since`: from which step on it is set aside, 0 from the start. `state`: quarantined, restored (by a person: it is
    not set aside again), or observed (the mode, or a cap, left it). `label`, `suggested`: the one given and a likelier
    one, in words.
    """

    id: str
    source: str
    task: str | None
    head: str | None
    detector: str
    score: float
    reason: str
    step: int
    since: int
    state: State
    label: str | None = None
    suggested: str | None = None


Cells = Mapping[str, frozenset[tuple[str, str] | None]]
"""By row id the (task, head) whose labels are set aside; None among them: all of the row's."""


class Ledger:
    """The entries in the file `path`, which is written anew, whole or not at all, with every change.

    written: False where another process writes it, and has the same entries.
    """

    def __init__(self, path: Path, *, written: bool = True) -> None:
        self.path, self.written = path, written
        self.entries: list[Entry] = read_entries(path) if path.exists() else []
        self._cells: dict[str, Cells] | None = None

    def add(self, entries: Iterable[Entry]) -> list[Entry]:
        """Note `entries`, and return those that are new.

        One that a person has restored, or that is there already, stays as it is.
        """
        known = {_key(each): each for each in self.entries}
        restored = {_key(each) for each in self.entries if each.state == "restored"}
        whole = {(source, row) for source, row, task, _ in restored if task is None}
        new = []
        for entry in entries:
            before = known.get(_key(entry))
            if _key(entry) in restored or (entry.source, entry.id) in whole:
                continue
            if before is None or (before.state == "observed" and entry.state == "quarantined"):
                known[_key(entry)] = entry
                new.append(entry)
        if new:
            self._put(list(known.values()))
        return new

    def cut(self, step: int) -> None:
        """Forget what was found after `step`, but for what holds from that step on, or a person has restored."""
        kept = [each for each in self.entries if each.since <= step or each.state == "restored"]
        if len(kept) < len(self.entries):
            self._put(kept)

    def restore(self, *, ids: Sequence[str] = (), detectors: Sequence[str] = ()) -> list[Entry]:
        """Give back the rows `ids`, and all that `detectors` have set aside; return their entries."""
        chosen = [
            each for each in self.entries
            if each.state != "restored" and (each.id in ids or each.detector in detectors)
        ]  # fmt: skip
        restored = [replace(each, state="restored") for each in chosen]
        if restored:
            by_key = {_key(each): each for each in restored}
            self._put([by_key.get(_key(each), each) for each in self.entries])
        return restored

    def cells(self, source: str) -> Cells:
        """Return what is set aside of `source`."""
        if self._cells is None:
            found: dict[str, dict[str, set[tuple[str, str] | None]]] = {}
            for each in self.entries:
                if each.state == "quarantined":
                    cell = None if each.task is None or each.head is None else (each.task, each.head)
                    found.setdefault(each.source, {}).setdefault(each.id, set()).add(cell)
            self._cells = {name: {row: frozenset(cells) for row, cells in rows.items()} for name, rows in found.items()}
        return self._cells.get(source, {})

    def _put(self, entries: list[Entry]) -> None:
        self.entries, self._cells = entries, None
        if self.written:
            write_entries(self.path, entries)


def capped(
    entries: Sequence[Entry], counts: Mapping[str, int], taken: Sequence[Entry], *, most: float, most_of_class: float
) -> tuple[list[Entry], list[Entry]]:
    """Return which `entries`, worst first, may be set aside of a head, and which are beyond its caps.

    counts: training rows by label. taken: what is set aside of the head already. most, most_of_class: shares of all its
    rows, and of those of a label.
    """
    total = sum(counts.values())
    used = Counter(each.label for each in taken)
    inside: list[Entry] = []
    beyond: list[Entry] = []
    for entry in entries:
        label = entry.label
        full = (used.total() + 1 > most * total) or (
            label is not None and used[label] + 1 > most_of_class * counts.get(label, 0)
        )
        (beyond if full else inside).append(entry)
        if not full:
            used[label] += 1
    return inside, beyond


def write_entries(path: Path, entries: Sequence[Entry]) -> None:
    """Write `entries`, a line each, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(each), ensure_ascii=False, allow_nan=False) for each in entries]
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_entries(path: Path) -> list[Entry]:
    """Return the entries in a file. Raises DataError, with the line, for what is none."""
    try:
        # Not splitlines: a label may hold other ends of lines, which JSON leaves as they are.
        *lines, last = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give the quarantine.jsonl of a run's sentinel") from error
    found = []
    for number, line in enumerate([*lines, last] if last else lines, start=1):
        try:
            entry = Entry(**json.loads(line))
            if entry.state not in STATES or not isinstance(entry.id, str) or not isinstance(entry.since, int):
                raise ValueError(f"state {entry.state!r}; allowed: {', '.join(STATES)}")
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: no entry of a sentinel's quarantine ({error}); restore the file from a copy, or "
                "remove the line"
            ) from error
        found.append(entry)
    return found


def _key(entry: Entry) -> tuple[str, str, str | None, str | None]:
    return entry.source, entry.id, entry.task, entry.head
