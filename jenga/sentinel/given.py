"""A list of rows of another run, held against the rows of this one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from jenga.errors import DataError, printable
from jenga.rows.batches import Source
from jenga.sentinel.ledger import Entry, read_entries

logger = logging.getLogger(__name__)

_WHERE = "callbacks.sentinel.quarantine"


def given_entries(path: Path, sources: Mapping[str, Source]) -> list[Entry]:
    """Return the entries in `path` that are of training rows of `sources`, as of the start; others are warned of.

    Raises DataError where none is, or rows share their entries with others, which cannot be left in.
    """
    entries = read_entries(path)
    ids = {name: set(source.splits["train"].rows.ids) for name, source in sources.items()}
    found = [each for each in entries if each.source in sources and _fits(each, ids, sources[each.source])]
    others = len(entries) - len(found)
    if others:
        kept = set(map(id, found))
        first = next(each for each in entries if id(each) not in kept)
        what = "" if first.task is None else f", {first.task}.{first.head}"
        example = printable(f"row '{first.id}' of source '{first.source}'{what}")
        if not found:
            raise DataError(
                f"{_WHERE}: {path} has {len(entries)} entries and none is of this run's training rows, such as "
                f"{example}; rows are known by their ids. Sources here: {', '.join(sources)}. Give the list of a run "
                "on the same rows, or take the key out"
            )
        logger.warning(
            "%s: %d of %d entries of %s are of no training row of this run and change nothing, such as %s",
            _WHERE, others, len(entries), path, example,
        )  # fmt: skip
    for each in found:
        if each.state == "quarantined" and sources[each.source].splits["train"].encoded.packed:
            raise DataError(
                f"{_WHERE}: {path} sets rows of '{each.source}' aside, of which several are packed into one entry and "
                "none can be left out alone; set packing of the task to false, or take the rows out of its files"
            )
    return [replace(each, since=0) for each in found]


def check_left(sources: Mapping[str, Source], path: Path) -> None:
    """Raise DataError where `path` leaves no training row of a source."""
    for name, source in sources.items():
        split = source.splits["train"]
        if len(split) and len(split.left_out) == len(split):
            raise DataError(f"{_WHERE}: {path} sets all training rows of '{name}' aside; take lines out of it")


def _fits(entry: Entry, ids: Mapping[str, Collection[str]], source: Source) -> bool:
    known = entry.task is None or entry.head is None or (entry.task, entry.head) in source.splits["train"].spaces
    return known and entry.id in ids[entry.source]
