"""Parsed rows of large files, kept on disk: made once, checksummed, mapped by every process that reads them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from jenga.arrays import ArrayWriter, mapped_arrays
from jenga.digests import DIGESTS, KnownDigests
from jenga.errors import SetupError
from jenga.files import MANIFEST, atomic_folder, cache_folder, damage, json_object, sha256_of
from jenga.labels import kind_named
from jenga.labels.column import HeadColumn
from jenga.rows.large import are_large
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import Rows, SourceSpec
from jenga.rows.raw import BadRow
from jenga.rows.readers import local_files
from jenga.rows.strings import Names, Strings, StringWriter, coded, mapped_strings
from jenga.types import HeadSpace

if TYPE_CHECKING:
    from jenga.config.schema import DataConfig

logger = logging.getLogger(__name__)
_FORMAT = 1
_TEXTS, _ARRAYS, _SOURCES = "texts.arrow", "arrays", "sources.json"
_SETTINGS = ("valid_fraction", "test_fraction", "split_seed", "max_bad_fraction", "max_rows")


class NotKeptError(Exception):
    """Rows cannot be written to where they would be kept."""


class RowSink:
    """Takes the parsed rows of a split, a piece after the other: holds them, or writes them to `folder`."""

    def __init__(self, folder: Path | None, digest: str) -> None:
        self._folder, self._digest = folder, digest
        self._parts: list[Rows] = []
        self._names: dict[str, int] = {}
        self._texts: StringWriter | None = None
        self._arrays: ArrayWriter | None = None

    def add(self, rows: Rows) -> None:
        """Take rows, behind those before. Raises SetupError where they cannot be written."""
        if self._folder is None:
            self._parts.append(rows)
            return
        texts, arrays = rows.content.stored
        if self._texts is None or self._arrays is None:
            self._parts = [rows.take(np.zeros(0, np.int64))]
            self._arrays = ArrayWriter(self._folder / _ARRAYS)
            self._texts = StringWriter(self._folder / _TEXTS, ["id", *texts])
        self._texts.append({"id": rows.ids, **texts})
        own: dict[str, np.ndarray] = {
            "file": coded(rows.files, self._names).astype(np.int32),
            "number": np.array(rows.numbers, np.int64),
            **arrays,
        }
        own |= {f"label {at}": np.asarray(column) for at, column in enumerate(rows.labels.values())}
        for name, array in own.items():
            self._arrays.append(name, array)

    def abandon(self) -> None:
        """End the files that were begun, of which none is wanted."""
        for writer in (self._texts, self._arrays):
            if writer is not None:
                with suppress(OSError):
                    writer.abandon()

    def finish(self) -> Rows:
        """Return all rows."""
        if self._folder is None:
            return Rows.joined(self._parts)
        assert self._texts is not None
        assert self._arrays is not None
        for writer in (self._texts, self._arrays):
            writer.close()
        (first,) = self._parts
        about = {"names": list(self._names), "labels": list(first.labels)}
        (self._folder / "rows.json").write_text(json.dumps(about), encoding="utf-8")
        return _mapped(self._folder, self._digest, type(first.content))


def _mapped(folder: Path, digest: str, content: Any) -> Rows:
    """Return the rows that a `RowSink` wrote to `folder`."""
    about = json_object(folder / "rows.json")
    texts, arrays = mapped_strings(folder / _TEXTS, digest=digest), mapped_arrays(folder / _ARRAYS)
    labels = {tuple(key): arrays.pop(f"label {at}") for at, key in enumerate(about["labels"])}
    files, numbers = Names(arrays.pop("file"), about["names"]), arrays.pop("number")
    return Rows(texts.pop("id"), files, numbers, content.of_stored(texts, arrays), labels)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ a whole loading


class Keeping:
    """Where the rows of a loading are kept, under a name that tells all that they depend on."""

    def __init__(self, place: Path, staging: Path) -> None:
        self._place, self._staging = place, staging
        self._sinks: list[RowSink] = []

    def sink(self, source: int, split: str) -> RowSink:
        """Return what takes the rows of a split, as it is given, of the source with this number."""
        name = f"{source}-{split}"
        self._sinks.append(RowSink(self._staging / name, f"{self._place.name}/{name}"))
        return self._sinks[-1]

    def abandon(self) -> None:
        """End all files that were begun."""
        for sink in self._sinks:
            sink.abandon()

    def finish(self, found: Sequence[LoadedSource]) -> None:
        """Write what is known of all sources beside their rows."""
        places = ArrayWriter(self._staging / _ARRAYS)
        said = [_said(at, source, places) for at, source in enumerate(found)]
        places.close()
        (self._staging / _SOURCES).write_text(json.dumps(said), encoding="utf-8")


def _said(number: int, source: LoadedSource, places: ArrayWriter) -> dict[str, Any]:
    splits = {}
    for split, rows in source.splits.items():
        assert isinstance(rows.ids, Strings)
        if rows.ids.places is not None:
            places.append(f"{number}-{split}", rows.ids.places)
        splits[split] = {"of": rows.ids.column_digest.split("/")[1], "all": rows.ids.places is None}
    return {
        "heads": [asdict(head) for head in source.spec.heads],
        "splits": splits,
        "spaces": [asdict(space) for space in source.spaces.values()],
        "bad": [list(asdict(row).values()) for row in source.bad],
        "warnings": source.warnings, "digests": source.digests, "sizes": source.sizes,
    }  # fmt: skip


@contextmanager
def keeping(specs: Sequence[SourceSpec], data: DataConfig) -> Iterator[Keeping | list[LoadedSource] | None]:
    """Yield what was kept of just these rows, read by the same code; else what keeps them once they are loaded.

    None: they are held, since they are few, or not of files alone, or of a kind that is not kept. Raises NotKeptError
    where they cannot be written.
    """
    folder = Path(data.cache_dir) if data.cache_dir else cache_folder("rows")
    known = KnownDigests(folder / DIGESTS)
    place = _place(folder, specs, data, known)
    if place is None:
        yield None
        return
    if (place / MANIFEST).exists():
        harm = damage(place, known.of)
        known.save()
        if harm is None:
            yield _read(place, specs)
            return
        logger.warning("rows that are kept in %s are read anew: %s", place, harm)
    try:
        with atomic_folder(place) as staging:
            kept = Keeping(place, staging)
            try:
                yield kept
            except BaseException:
                kept.abandon()
                raise
    except SetupError as error:  # of files that are read here, none raises it
        raise NotKeptError(str(error)) from error
    known.note_folder(place)
    known.save()


def _read(place: Path, specs: Sequence[SourceSpec]) -> list[LoadedSource]:
    said = json.loads((place / _SOURCES).read_text(encoding="utf-8"))
    places = mapped_arrays(place / _ARRAYS)
    found = []
    for number, (each, spec) in enumerate(zip(said, specs, strict=True)):
        given: dict[str, Rows] = {}
        splits = {}
        for split, part in each["splits"].items():
            name = part["of"]
            if name not in given:
                given[name] = _mapped(place / name, f"{place.name}/{name}", spec.content.kept)
            splits[split] = given[name] if part["all"] else given[name].take(places[f"{number}-{split}"])
        heads = TypeAdapter(tuple[HeadColumn, ...]).validate_python(each["heads"])
        spaces = TypeAdapter(list[HeadSpace]).validate_python(each["spaces"])
        found.append(
            LoadedSource(
                replace(spec, heads=heads), splits, {(space.task, space.head): space for space in spaces},
                [BadRow(*row) for row in each["bad"]], each["warnings"], each["digests"], each["sizes"],
            )
        )  # fmt: skip
    return found


def _place(folder: Path, specs: Sequence[SourceSpec], data: DataConfig, known: KnownDigests) -> Path | None:
    """Return the folder of the rows of `specs`, in `folder`; None where they are held."""
    if data.streaming or not all(_can_be_kept(spec) for spec in specs):
        return None
    paths = dict.fromkeys((path, spec.form) for spec in specs for path in (*spec.train, *spec.valid, *spec.test))
    files = {path: local_files(path, form) for path, form in paths}
    names = [file for several in files.values() for file in several]
    if not all(files.values()) or not are_large(names) or not all(map(os.path.isfile, names)):
        return None
    names += filter(None, (data.exclude,))
    settings = [getattr(data, name) for name in _SETTINGS]
    said = json.dumps([_FORMAT, sys.version, settings, *map(repr, specs), files])
    digest = hashlib.sha256(said.encode(errors="surrogatepass"))
    for file in _code(specs):
        digest.update(sha256_of(Path(file)).encode())
    for name in names:
        digest.update(known.of(name).encode())
    return folder / f"rows-{digest.hexdigest()[:32]}"


def _can_be_kept(spec: SourceSpec) -> bool:
    kinds = [kind_named(head.kind) for head in spec.heads]
    return (
        spec.content.kept is not None
        and not (spec.marks or spec.slices)
        and not any(kind.per_word or kind.from_text for kind in kinds)
    )


def _code(specs: Sequence[SourceSpec]) -> list[str]:
    """Return the files of all code that may have a part in what rows are read as: ours, and that of a user's parts."""
    own = [str(file) for file in sorted(Path(__file__).parents[1].rglob("*.py"))]
    kinds: list[type] = [type(kind_named(head.kind)) for spec in specs for head in spec.heads]
    kinds += [each for spec in specs for kind in (type(spec.content), spec.content.kept) if kind for each in kind.mro()]
    found = [getattr(sys.modules[kind.__module__], "__file__", None) for kind in kinds]
    return [*own, *sorted({name for name in found if name is not None and os.path.isfile(name)} - set(own))]
