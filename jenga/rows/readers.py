"""Rows of whatever a path names: files, folders, patterns, addresses, the hub's data sets and the built-in samples.

A row that cannot be read is set aside with its reason; a file that cannot be read stops the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jenga.errors import DataError
from jenga.packed import UnpackLimit
from jenga.refinery.envelope import list_at
from jenga.rows.conll import looks_like_conll, read_conll
from jenga.rows.folders import checked, has_splits, is_saved, joined, parts_of, saved_rows
from jenga.rows.hub import HUB, classes_told, hub_files, hub_rows, is_hub, name_classes
from jenga.rows.large import Reading, Watched, are_large, one_after_the_other, read_large
from jenga.rows.raw import RawRows
from jenga.rows.spooled import spooled
from jenga.rows.storage import (
    content,
    decoded,
    exists,
    fixed_folder,
    is_folder,
    is_pattern,
    is_remote,
    lines,
    matching,
    missing,
    seekable,
)
from jenga.rows.storage import suffixes as suffixes_of
from jenga.rows.tables import layout, read_table, table_rows
from jenga.rows.text_files import (
    is_zeek,
    json_lines,
    read_json,
    read_lines,
    read_log,
    read_text,
    text_lines,
)

_PARQUET_ROWS = 4096
_BATCH_BYTES = 2 << 20
SAMPLE, NETWORK = "jenga/helpline", "jenga/network"
TONES, SHAPES = "jenga/tones", "jenga/shapes"
SPELT, SCENES = "jenga/spelt", "jenga/scenes"
_SAMPLES = (SAMPLE, NETWORK, TONES, SHAPES, SPELT, SCENES)
_HEAD_LINES = 1000
FORMATS = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "txt",
    ".conll": "conll", ".bio": "conll", ".iob": "conll", ".conllu": "conllu", ".parquet": "parquet",
    ".log": "log", ".labeled": "log",
}  # fmt: skip
"""How a file is written, by its suffix."""
ALLOWED = (
    f"Allowed: {', '.join(FORMATS)} files (also with .gz or .zst), folders and patterns of them, folders of "
    f"save_to_disk, addresses that fsspec knows, {HUB}name, {HUB}name/configuration, {SAMPLE}, {NETWORK}, {TONES}, "
    f"{SPELT}, {SCENES} and {SHAPES}; data.format says how files with other suffixes are written"
)


@dataclass(frozen=True)
class FileForm:
    """How files of rows are written, as far as the configuration says; otherwise their names and contents do.

    `format`: one of the values of `FORMATS`. `delimiter`: what parts the cells of a table. `records`: where the list of
    rows stands in the object that a JSON file is.
    """

    format: str | None = None
    delimiter: str | None = None
    records: str | None = None


def place_of(path: str, split: str) -> str:
    """Return the name of the rows that `read_rows` reads, with `split` where the splits share a path, as of the hub."""
    return f"{path} ({split})" if is_hub(path) or has_splits(path) else path


def read_rows(
    path: str, *, split: str = "train", form: FileForm | None = None, watched: Watched | None = None
) -> RawRows:
    """Read every row of `path`: of a file, a folder or pattern of files, a data set, or a built-in sample.

    An address, such as ``s3://bucket/rows.csv``, is read by fsspec; ``hf://name`` and ``hf://name/configuration`` are
    data sets of the hub. `split` (train, valid or test) picks the part of a data set that has several; a file holds one
    part only. form: how files are written. watched: read the rows of large files anew in each pass, instead of holding
    them, and look at these columns the first time.

    Raises DataError for a file that is missing, empty or unreadable, SetupError where the hub or another storage cannot
    be reached.
    """
    form = form or FileForm()
    if watched is not None and (large := _large(path, form, watched)) is not None:
        return large
    raw = RawRows(place_of(path, split))
    if path == SAMPLE:
        from jenga.samples.helpline import generate

        return raw.add_all(generate())
    if path == NETWORK:
        from jenga.samples.network import generate_flows

        return raw.add_all(generate_flows())
    if path in (TONES, SPELT, SCENES, SHAPES):
        from jenga.samples import media

        made = {
            TONES: media.generate_tones,
            SPELT: media.generate_spelt,
            SCENES: media.generate_scenes,
            SHAPES: media.generate_shapes,
        }
        return raw.add_all(made[path]())
    if is_hub(path):
        return raw.add_all(hub_rows(path, split))
    if is_saved(path):
        raw.folder = path
        raw.add_all(saved_rows(path, split))
    elif (files := _files_of(path, form)) is not None:
        raw = joined(path, files, lambda name: _read_file(name, form))
        raw.folder = None if is_remote(path) else _folder_of(path)
    else:
        raw = _read_file(path, form)
    if not raw.rows and not raw.bad:
        raise DataError(f"{path}: the file holds no rows")
    return raw


def local_files(path: str, form: FileForm) -> list[str]:
    """Return the files on this machine whose rows `path` stands for; none where they come from elsewhere.

    Raises DataError as `read_rows` does.
    """
    if path in _SAMPLES or is_hub(path) or is_remote(path) or is_saved(path):
        return []
    return _files_of(path, form) or [path]


def streamed_files(path: str, form: FileForm) -> list[str]:
    """Return the files, here or at an address, that `path` stands for, each of which is read row by row.

    Raises DataError where it stands for something else, SetupError where the hub cannot be reached.
    """
    if is_hub(path):
        return hub_files(path)
    if path in _SAMPLES or is_saved(path):
        raise DataError(
            f"{path}: data.streaming reads files, folders and patterns, here or at addresses that fsspec knows, and "
            "data sets of the hub; write the rows to files, or take the key out"
        )
    return _files_of(path, form) or [path]


def reading_of(path: str, form: FileForm) -> tuple[RawRows, Reading]:
    """Return what reads a file row by row, any number of times, and what is told of how it is read.

    Raises DataError where that cannot be, as of a list in one JSON file.
    """
    told = RawRows(path)
    if (reading := _reading(told, path, form)) is None:
        raise DataError(
            f"{path}: cannot be read row by row; data.streaming takes JSON Lines, CSV, TSV, texts and Parquet"
        )
    return told, reading


def _files_of(path: str, form: FileForm) -> list[str] | None:
    """Return the files that a pattern or a folder stands for; None of a path that is a file's."""
    if is_pattern(path):
        return checked(path, matching(path))
    if is_folder(path) and (form.format is not None or _format_of(path, form) is None):
        return parts_of(path, FORMATS if form.format is None else None)
    return None


def _folder_of(path: str) -> str:
    return fixed_folder(path) if is_pattern(path) else path


def _large(path: str, form: FileForm, watched: Watched) -> RawRows | None:
    """Return the rows of `path` where they are too many to hold; None where they are few, or cannot be read anew."""
    files = local_files(path, form)
    if not files or not are_large(files):
        return None
    told = RawRows(path)
    readings = {name: reading for name in files if (reading := _reading(told, name, form)) is not None}
    if len(readings) < len(files):
        return None
    whole = files != [path]
    reading = one_after_the_other(list(readings.items())) if whole else readings[path]
    try:
        raw = read_large(path, files, reading, watched)
    except _LoneReturnError:
        return None
    raw.told, raw.table = told.told, told.table
    raw.folder = _folder_of(path) if whole else None
    return raw if raw.rows else None


def _reading(told: RawRows, path: str, form: FileForm) -> Reading | None:
    """Return what reads a file row by row, any number of times; None where that cannot be. How is noted in `told`."""
    written = _format_of(path, form)
    if written == "parquet":
        return lambda refuse: enumerate(_parquet_rows(path, held=False), start=1)
    if written not in ("jsonl", "txt", "csv", "tsv"):
        return None
    head = _head(path)
    if written == "txt" and form.format is None and looks_like_conll(head):
        return None
    if form.format is None and is_zeek(head):
        return None
    if written == "jsonl":
        return lambda refuse: json_lines(lines(path), refuse)
    if written == "txt":
        return lambda refuse: text_lines(lines(path))
    if "\r" in head.replace("\r\n", ""):  # which would be one line
        return None
    own = RawRows(path)
    mark, header_line = layout(own, head, usual="," if written == "csv" else "\t", given=form.delimiter)
    told.told, told.table = [*told.told, *own.told], True
    return lambda refuse: table_rows(path, _whole_lines(path), mark, refuse, header_line=header_line)


class _LoneReturnError(DataError):
    """A table has lines that end in a carriage return alone, which only a reader of the whole file tells apart."""


def _whole_lines(path: str) -> Iterator[str]:
    for number, line in enumerate(lines(path), start=1):
        if "\r" in line[:-1]:
            raise _LoneReturnError(
                f"{path}:{number}: a carriage return without a line feed; end lines with line feeds, or take "
                "data.streaming out"
            )
        yield f"{line}\n"


def _head(path: str) -> str:
    """Return the first lines of a file. Raises DataError where it is missing, empty or no text."""
    if not exists(path):
        raise DataError(missing(path, tuple(FORMATS)))
    found: list[str] = []
    filled = False
    for line in lines(path):
        found.append(f"{line}\n")
        filled = filled or bool(line.strip())
        if filled and len(found) >= _HEAD_LINES:
            break
    if not filled:
        raise DataError(f"{path}: the file is empty")
    return "".join(found)


def _format_of(path: str, form: FileForm) -> str | None:
    return FORMATS.get(suffixes_of(path)[0]) if form.format is None else form.format


def _read_file(path: str, form: FileForm) -> RawRows:
    if not exists(path):
        raise DataError(missing(path, tuple(FORMATS)))
    written = _format_of(path, form)
    if written is None:
        raise DataError(f"{path}: unknown file type '{''.join(suffixes_of(path))}'. {ALLOWED}")
    raw = RawRows(path)
    if written == "parquet":
        return raw.add_all(list(_parquet_rows(path)))
    found = content(path)
    text = decoded(path, found)
    if written == "txt" and form.format is None and looks_like_conll(text):
        raw.told.append(
            f"{path}: is read as words with their tags, a word a line; data.format (conll, or txt: a text a line) says "
            "what it is"
        )
        written = "conll"
    if form.format is None and is_zeek(text):
        written = "log"
    if written in ("csv", "tsv"):
        read_table(raw, text, usual="," if written == "csv" else "\t", given=form.delimiter)
    elif written == "json" and form.records is not None:
        raw.add_all(list_at(text, form.records, path))
    elif written in ("conll", "conllu"):
        read_conll(raw, text, universal=written == "conllu")
    else:
        _TEXT_READERS[written](raw, text)
    return raw


_TEXT_READERS: dict[str, Callable[[RawRows, str], None]] = {
    "json": read_json, "jsonl": read_lines, "log": read_log, "txt": read_text,
}  # fmt: skip


def _rows_at_once(metadata: Any) -> int:
    """Return how many rows of a Parquet file make a batch of some megabytes."""
    size: int = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    rows: int = metadata.num_rows
    return max(1, min(_PARQUET_ROWS, _BATCH_BYTES * rows // max(1, size)))


def _parquet_rows(path: str, *, held: bool = True) -> Iterator[Any]:
    """Yield the rows of a Parquet file, classes by the names that it tells; of held ones long bytes are on disk."""
    import pyarrow
    from pyarrow import parquet

    found, size = seekable(path)
    limit = UnpackLimit(path, size)
    try:
        file = parquet.ParquetFile(found, memory_map=isinstance(found, str))
        classes = classes_told(file.schema_arrow)
        # Few at a time: a column of equal values takes no room in the file, and a batch is unpacked at once.
        for batch in file.iter_batches(batch_size=_rows_at_once(file.metadata)):
            limit.add(batch.nbytes)
            rows = batch.to_pylist()
            name_classes(path, rows, classes)
            yield from spooled(rows) if held else rows
            # What arrow has freed it would keep for itself.
            pyarrow.default_memory_pool().release_unused()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: the Parquet data is damaged or cut short ({error}); write the file again") from None
