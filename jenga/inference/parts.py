"""Files of rows cut into parts that can be read apart, each as a file of its own: JSON Lines and Parquet."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from jenga.errors import DataError
from jenga.rows.raw import RawRows
from jenga.rows.storage import is_pattern, is_remote, matching, missing

_LINES = (".jsonl", ".ndjson")
_PARQUET = ".parquet"
KINDS = (*_LINES, _PARQUET)


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a file. `begin`, `end`: its bytes, of Parquet its rows; `before`: lines, or rows, before."""

    path: str
    begin: int
    end: int
    before: int

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"{self.path}, from row {self.before + 1:,} on"


def files_of(paths: str | Sequence[str]) -> list[str]:
    """Return files, patterns matched, in their order. Raises DataError where one is not there or cannot be cut."""
    found: list[str] = []
    for path in [paths] if isinstance(paths, str) else paths:
        names = matching(path) if is_pattern(path) else [path]
        if not names:
            raise DataError(f"{path}: no file matches the pattern")
        found += names
    for path in found:
        if is_remote(path) or not path.lower().endswith(KINDS):
            raise DataError(
                f"{path}: cannot be read in parts; allowed: {', '.join(KINDS)} files (not packed) in a folder that "
                "every worker sees at the same place"
            )
        if not Path(path).is_file():
            raise DataError(missing(path, KINDS))
    return [os.path.abspath(path) for path in found]


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parts_of(path: str, rows: int) -> list[Part]:
    """Return a file in parts of `rows` rows, the last one shorter; lines that are blank are no rows."""
    if not path.lower().endswith(_PARQUET):
        return list(_line_parts(path, rows))
    from pyarrow import parquet

    count = parquet.read_metadata(path).num_rows
    return [Part(path, begin, min(begin + rows, count), begin) for begin in range(0, count, rows)]


def _line_parts(path: str, rows: int) -> Iterator[Part]:
    begin = end = before = lines = held = 0
    with open(path, "rb") as file:
        for line in file:
            if held == rows:
                yield Part(path, begin, end, before)
                begin, before, held = end, lines, 0
            lines, end, held = lines + 1, end + len(line), held + bool(line.strip())
    if held:
        yield Part(path, begin, end, before)


@contextmanager
def as_file(part: Part) -> Iterator[str]:
    """Yield the path of a file that holds the rows of `part` alone, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="jenga-part-") as folder:
        path = Path(folder) / f"rows{Path(part.path).suffix.lower()}"
        if path.suffix == _PARQUET:
            _copy_rows(part, path)
        else:
            with open(part.path, "rb") as file:
                file.seek(part.begin)
                path.write_bytes(file.read(part.end - part.begin))
        yield str(path)


def _copy_rows(part: Part, path: Path) -> None:
    """Write rows of a Parquet file to another one, without holding more of it than the row groups that they lie in."""
    from pyarrow import parquet

    file = parquet.ParquetFile(part.path, memory_map=True)
    with parquet.ParquetWriter(path, file.schema_arrow) as writer:
        first = 0
        for at in range(file.num_row_groups):
            last = first + file.metadata.row_group(at).num_rows
            if first < part.end and part.begin < last:
                skipped, end = max(part.begin - first, 0), min(part.end, last) - first
                writer.write_table(file.read_row_group(at).slice(skipped, end - skipped))
            first = last


def in_place(raw: RawRows, part: Part) -> RawRows:
    """Return rows that were read from the file of `part` alone as those of the whole file, by its name and numbers."""
    bad = [replace(each, file=part.path, number=each.number + part.before) for each in raw.bad]
    return replace(raw, file=part.path, numbers=[number + part.before for number in raw.numbers], bad=bad)
