"""A source of rows as it was loaded, and how many of its rows may be bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jenga.errors import DataError
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.parse import Key, Rows, SourceSpec
from jenga.rows.raw import BadRow, RawRows
from jenga.types import HeadSpace

_BAD_ROWS_SHOWN = 5


@dataclass
class LoadedSource:
    """A source ready to be encoded. `splits` has train and valid, and test unless there is none.

    `bad`: the rows set aside, of all files. `warnings`: sentences for the log. `digests`: SHA-256 of the rows of each
    file, by its name; `sizes`: how many it has, bad ones too.
    """

    spec: SourceSpec
    splits: dict[str, Rows]
    spaces: dict[Key, HeadSpace]
    bad: list[BadRow]
    warnings: list[str]
    digests: dict[str, str]
    sizes: dict[str, int]

    def set_aside(self, bad: Sequence[BadRow], max_bad_fraction: float) -> None:
        """Add rows that parsed and cannot be encoded. Raises DataError where a file has too many bad ones now."""
        for file in dict.fromkeys(row.file for row in bad):
            of_file = [row for row in (*bad, *self.bad) if row.file == file]
            stop_if_many(file, of_file, self.sizes[file], max_bad_fraction)
        self.bad += bad

    def source(self, splits: dict[str, EncodedSplit]) -> Source:
        """Return the source of the encoded `splits`."""
        tasks = tuple(dict.fromkeys(task for task, _ in self.spaces))
        return Source(self.spec.name, tasks, splits, self.spec.content, self.spec.encoder)


def stop_if_many_bad(
    raw: RawRows,
    bad: Sequence[BadRow],
    max_bad_fraction: float,
    *,
    fix: str = "Correct the rows or the configuration, or raise data.max_bad_fraction",
    told: Sequence[str] = (),
) -> None:
    """Raise DataError, which shows the first of them, where `bad` are more than a share of the rows of a file.

    told: how the labels were read, which may be what is wrong.
    """
    stop_if_many(raw.file, bad, len(raw.rows) + len(raw.bad), max_bad_fraction, fix=fix, told=told)


def stop_if_many(
    where: str,
    bad: Sequence[BadRow],
    total: int,
    max_bad_fraction: float,
    *,
    fix: str = "Correct the rows or the configuration, or raise data.max_bad_fraction",
    told: Sequence[str] = (),
) -> None:
    """Raise DataError, which shows the first of them, where `bad` are more than a share of `total` rows."""
    if len(bad) <= max_bad_fraction * total:
        return
    shown = "\n".join(f"  {row}" for row in bad[:_BAD_ROWS_SHOWN])
    more = f"\n  ... and {len(bad) - _BAD_ROWS_SHOWN} more" if len(bad) > _BAD_ROWS_SHOWN else ""
    raise DataError(
        f"{where}: {len(bad)} of {total} rows cannot be used; data.max_bad_fraction allows {max_bad_fraction:g}. "
        f"{fix}:\n{shown}{more}" + "".join(f"\n  {words}" for words in told)
    )
