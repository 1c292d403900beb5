"""Rows of files: JSON, JSON Lines, CSV, TSV, plain text, Parquet, the hub's data sets and the built-in samples.

A row that cannot be read is set aside with its reason; a file that cannot be read stops the run.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from jenga.errors import DataError, suggest
from jenga.files import what_is
from jenga.labels.cells import json_text
from jenga.packed import UnpackLimit, gunzipped
from jenga.rows.hub import HUB, hub_rows

SAMPLE, NETWORK = "jenga/helpline", "jenga/network"
TONES, SHAPES = "jenga/tones", "jenga/shapes"
TEXT_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
ALLOWED = (
    "Allowed: .json, .jsonl, .ndjson, .csv, .tsv and .txt files (each also with .gz), .parquet files, "
    f"{HUB}name or {HUB}name/configuration, {SAMPLE} and {NETWORK}"
)
RAW_LENGTH = 500
# Cells beyond the csv module's own limit of 131,072 characters occur: whole conversations, articles.
CELL_LENGTH = 2**31 - 1
_PARQUET_ROWS = 4096
_NO_FILE = {"a folder": "name a file in it"}
_NO_FILE_ELSE = "its rows must be read to an end, and more than once: write them to a file and name that"


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used. `number`: 1-based line of a text file, else row; `raw`: its first 500 characters."""

    file: str
    number: int
    reason: str
    raw: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: {self.reason}"


@dataclass
class RawRows:
    """The rows of one file as they stand there; `numbers[i]` is the line (else the row) of `rows[i]`, from 1.

    `file`: the name by which a run tells files apart, see `place_of`. `numbers` ascend.
    """

    file: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    @property
    def examples(self) -> list[dict[str, Any]]:
        """The rows with all their columns, for messages."""
        return self.rows

    @property
    def content(self) -> Sequence[Any]:
        """All that each row holds."""
        return self.rows

    def piece(self, at: slice, bad: list[BadRow]) -> Self:
        """Return the rows at `at`, with `bad` for those that cannot be read among them."""
        return replace(self, rows=self.rows[at], numbers=self.numbers[at], bad=bad)

    def add(self, number: int, row: Any) -> None:
        """Keep `row` if it is an object with columns, else set it aside."""
        if isinstance(row, dict):
            self.rows.append(row)
            self.numbers.append(number)
            return
        what = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}.get(type(row), "a number")
        self.refuse(number, f"the row is {what}, not an object with columns", json_text(row))

    def refuse(self, number: int, reason: str, raw: str) -> None:
        """Set a row aside."""
        self.bad.append(BadRow(self.file, number, reason, raw[:RAW_LENGTH]))


def place_of(path: str, split: str) -> str:
    """Return the name of the rows that `read_rows` reads, with `split` where the splits share a path, as of the hub."""
    return f"{path} ({split})" if path.startswith(HUB) else path


def read_rows(path: str, *, split: str = "train") -> RawRows:
    """Read every row of `path`: a file, ``hf://name`` or ``hf://name/configuration``, or a built-in sample.

    `split` (train, valid or test) picks the part of a hub data set; a file holds one part only. Raises DataError for a
    file that is missing, empty or unreadable, SetupError for a hub data set that cannot be had.
    """
    if path == SAMPLE:
        from jenga.samples.helpline import generate

        return _whole(path, generate())
    if path == NETWORK:
        from jenga.samples.network import generate_flows

        return _whole(path, generate_flows())
    if path in (TONES, SHAPES):
        from jenga.samples.media import generate_shapes, generate_tones

        return _whole(path, generate_tones() if path == TONES else generate_shapes())
    if path.startswith(HUB):
        return _whole(place_of(path, split), hub_rows(path, split))
    suffix = _suffix(path)
    content = _content(path)
    if suffix == ".parquet":
        raw = _whole(path, _parquet_rows(path, content))
    else:
        raw = _TEXT_READERS[suffix](path, _decoded(path, content))
    if not raw.rows and not raw.bad:
        raise DataError(f"{path}: the file holds no rows")
    return raw


def _whole(path: str, rows: Iterable[Any]) -> RawRows:
    raw = RawRows(path)
    for number, row in enumerate(rows, start=1):
        raw.add(number, row)
    return raw


# --------------------------------------------------------------------------------------------------------------- bytes


def _suffix(path: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes] or [""]
    suffix = suffixes[-2] if suffixes[-1] == ".gz" and len(suffixes) > 1 else suffixes[-1]
    if suffix in TEXT_SUFFIXES or suffixes[-1] == ".parquet":
        return suffix
    if Path(path).is_dir():
        raise DataError(f"{path}: this is a folder; name a file in it{_listing(Path(path))}")
    if not Path(path).exists():
        raise DataError(_missing(path))
    raise DataError(f"{path}: unknown file type '{''.join(suffixes[-2:])}'. {ALLOWED}")


def _content(path: str) -> bytes:
    try:
        if (kind := what_is(Path(path))) is not None:
            raise DataError(f"{path}: this is {kind}, not a file; {_NO_FILE.get(kind, _NO_FILE_ELSE)}")
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(_missing(path)) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if path.lower().endswith(".gz"):
        content = gunzipped(path, content)
    if not content.strip():
        raise DataError(f"{path}: the file is empty")
    return content


def _decoded(path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        fix = conversion(content)
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            fix = "it is UTF-16: convert it with: iconv -f utf-16 -t utf-8"
        elif content.startswith(b"\x1f\x8b"):
            fix = "it is compressed: its name must end in .gz"
        raise DataError(f"{path}:{line}: the file is not UTF-8 (its byte number {error.start}); {fix}") from None


def conversion(content: bytes) -> str:
    """Return how bytes that are no UTF-8 are likely to be converted."""
    # What Windows writes as curly quotes, dashes and the euro are control characters of Latin-1, which no text holds.
    encoding = "windows-1252" if any(0x80 <= byte <= 0x9F for byte in content) else "latin1"
    return f"convert it, for example with: iconv -f {encoding} -t utf-8"


def _missing(path: str) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f"{path}: no such file; the folder '{folder}' does not exist. Check data_path and data_root"
    near = suggest(Path(path).name, _data_files(folder)) or f"{_listing(folder)}."
    return f"{path}: no such file{near} Check data_path and data_root"


def _data_files(folder: Path) -> list[str]:
    known = (*TEXT_SUFFIXES, *(f"{suffix}.gz" for suffix in TEXT_SUFFIXES), ".parquet")
    return sorted(file.name for file in folder.iterdir() if file.name.lower().endswith(known))


def _listing(folder: Path) -> str:
    names = _data_files(folder)
    return f"; data files there: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}" if names else ""


# ----------------------------------------------------------------------------------------------------------- text files


def _read_lines(path: str, text: str) -> RawRows:
    raw = RawRows(path)
    # Not str.splitlines: U+2028 and the like may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raw.refuse(number, f"the line is not JSON ({_words_of(error)})", line.strip())
            continue
        raw.add(number, row)
    if not raw.rows and text.lstrip().startswith("["):
        raise DataError(f"{path}: the file is one JSON list, not one object a line; name it .json")
    return raw


def _read_text(path: str, text: str) -> RawRows:
    """Return each line that is not blank as a row with the column ``text``, as the `text` loader of datasets does."""
    raw = RawRows(path)
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            raw.add(number, {"text": line.removesuffix("\r")})
    return raw


def _read_json(path: str, text: str) -> RawRows:
    allowed = "Allowed: a list of objects, an object with one list of objects, or one object a line"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _read_lines(path, text)
        raise DataError(
            f"{path}:{error.lineno}:{error.colno}: the file is not JSON ({error.msg}), or is cut short. {allowed}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: the file is not usable JSON ({_words_of(error)}). {allowed}") from None
    if isinstance(value, list):
        return _whole(path, value)
    lists = [key for key in value if isinstance(value[key], list)] if isinstance(value, dict) else []
    if len(lists) == 1 and (not value[lists[0]] or any(isinstance(row, dict) for row in value[lists[0]])):
        return _whole(path, value[lists[0]])
    what = f"an object with the keys {', '.join(list(value)[:10])}" if isinstance(value, dict) else "one value"
    raise DataError(f"{path}: the file holds {what}, not rows. {allowed}")


def _words_of(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _read_csv(path: str, text: str) -> RawRows:
    return _read_table(path, text, ",")


def _read_tsv(path: str, text: str) -> RawRows:
    return _read_table(path, text, "\t")


def _read_table(path: str, text: str, delimiter: str) -> RawRows:
    csv.field_size_limit(CELL_LENGTH)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    raw = RawRows(path)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return raw
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise DataError(
                    f"{path}:{number}: a quote that opens in this line is never closed; write a quote inside a cell "
                    'as two ("") and put the cell in quotes, or use JSON Lines'
                ) from None
            raw.refuse(number, f"the line is not CSV ({error})", text.split("\n")[number - 1])
            continue
        if not cells:
            continue
        if header is None:
            header = _header(path, cells)
        elif len(cells) != len(header):
            raw.refuse(number, f"the row has {len(cells)} cells, the header {len(header)}", delimiter.join(cells))
        else:
            raw.add(number, {name: cell for name, cell in zip(header, cells, strict=True) if name})


def _header(path: str, cells: list[str]) -> list[str]:
    names = [name.strip() for name in cells]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path}:1: the header names a column twice: {', '.join(twice)}")
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise DataError(
            f"{path}:1: the header is one column, '{names[0]}'; separate the cells of a .csv file by commas, "
            "of a .tsv file by tabs"
        )
    return names


_TEXT_READERS: dict[str, Callable[[str, str], RawRows]] = {
    ".json": _read_json,
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".txt": _read_text,
}


# ------------------------------------------------------------------------------------------------------------- Parquet


def _parquet_rows(path: str, content: bytes) -> list[Any]:
    import pyarrow
    from pyarrow import parquet

    limit = UnpackLimit(path, len(content))
    rows: list[Any] = []
    try:
        # Few at a time: a column of equal values takes no room in the file, and a batch is unpacked at once.
        for batch in parquet.ParquetFile(io.BytesIO(content)).iter_batches(batch_size=_PARQUET_ROWS):
            limit.add(batch.nbytes)
            rows += batch.to_pylist()
        return rows
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: the Parquet data is damaged or cut short ({error}); write the file again") from None
