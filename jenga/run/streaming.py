"""Experiments whose training rows are taken as they come."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, DataError
from jenga.modalities import Encoder
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import Rows, SourceSpec
from jenga.rows.raw import RawRows, object_in
from jenga.rows.read_once import ReadOnce
from jenga.rows.readers import FileForm, read_rows, reading_of, streamed_files
from jenga.rows.split import TRAIN
from jenga.rows.stream import HEAD_ROWS, Stream, StreamedSplit


def check_streaming(specs: Sequence[SourceSpec]) -> None:
    """Raise ConfigError for rows that are read otherwise than as texts with labels."""
    others = ", ".join(spec.name for spec in specs if spec.content.kept is None)
    if others:
        raise ConfigError(
            f"data.streaming: the rows of {others} are no texts with labels, which alone are read as they come; "
            "take the key out"
        )


def by_file(specs: Sequence[SourceSpec]) -> list[SourceSpec]:
    """Return `specs` with their training files one by one, each once, whatever it is called.

    Raises DataError as `streamed_files` does, and for a file that trains and is given to judge.
    """
    names: dict[str, str] = {}
    found = []
    for spec in specs:
        files = [file for path in spec.train for file in streamed_files(path, spec.form)]
        found.append(replace(spec, train=tuple(dict.fromkeys(names.setdefault(_real(file), file) for file in files))))
    for path in (path for spec in specs for path in (*spec.valid, *spec.test)):
        if _real(path) in names:
            raise DataError(f"{path}: its rows train, and are given to judge; give other rows, or the file alone")
    return found


def _real(path: str) -> str:
    return path if "://" in path else os.path.realpath(path)


def reads_first(specs: Sequence[SourceSpec]) -> ReadOnce[RawRows]:
    """Return what reads the first rows of each training file of `specs`, and all of the other files."""
    files = {file for spec in specs for file in spec.train}
    return ReadOnce(partial(_read, form=specs[0].form, count=max(1, HEAD_ROWS // len(files))))


def _read(path: str, *, split: str, form: FileForm, count: int) -> RawRows:
    if split != TRAIN:
        return read_rows(path, split=split, form=form)
    raw, reading = reading_of(path, form)
    # Files are told apart by their names: their first rows may be the same.
    raw.digest = hashlib.sha256(path.encode(errors="surrogatepass")).digest()
    for number, row in islice(reading(raw.refuse), count):
        if (found := object_in(number, row, raw.refuse)) is not None:
            raw.add(number, found)
    return raw


def streamed(
    sources: Sequence[Source],
    loaded: Sequence[LoadedSource],
    files: Mapping[str, Sequence[Any]],
    encoders: Mapping[str, Encoder],
    config: ExperimentConfig,
) -> list[Source]:
    """Return `sources` with their training rows as they come. files: what was read of each, by encoder."""
    found = []
    # A row that judges one task trains no other, as of rows that are held.
    judged = [rows for each in loaded for split, rows in each.splits.items() if split != TRAIN]
    without = frozenset(place for rows in judged for place in zip(rows.files, rows.numbers, strict=True))
    for source, each in zip(sources, loaded, strict=True):
        spec, held = each.spec, source.splits[TRAIN]
        heads = {raw.file: raw for raw in files[spec.encoder]}
        first = [row for name in spec.train for row in heads[name].rows]
        stream = Stream(
            # Columns are those of all files, of which one may begin with rows that lack some.
            [(replace(heads[name], rows=first), reading_of(name, spec.form)[1]) for name in spec.train],
            spec, each.spaces,
            without=without, seed=config.training.seed, max_bad_fraction=config.data.max_bad_fraction,
        )  # fmt: skip
        split = StreamedSplit(
            held.source, held.rows, held.encoded, held.spaces, stream=stream,
            encode=partial(_encoded, encoders[spec.encoder], each),
        )  # fmt: skip
        found.append(replace(source, stream=split))
    return found


def first_rows_told(loaded: Sequence[LoadedSource]) -> list[str]:
    """Return what is known of the first rows alone."""
    return [
        f"{each.spec.name}: the labels are those of the first {len(each.splits[TRAIN])} training rows; of a label that "
        "comes later, nothing is learnt. List all of them in `labels` of the head"
        for each in loaded
        if any(head.labels is None and head.size is None for head in each.spec.heads)
    ]


def _encoded(encoder: Encoder, source: LoadedSource, rows: Rows) -> EncodedSplit:
    return encoder.split_of(rows, source.spec, source.spaces)[0]
