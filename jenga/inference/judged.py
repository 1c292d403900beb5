"""Rows that a trained model is judged on: those of a file, or those that its run was configured with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from jenga.bundle import Bundle
from jenga.errors import DataError
from jenga.inference.reading import readings
from jenga.inference.routing import Router
from jenga.labels.cells import is_missing, json_text
from jenga.labels.judge import all_unseen, labelled_rows
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.load import by_place, load_sources
from jenga.rows.loaded import stop_if_many_bad
from jenga.rows.parse import SourceSpec, parse_rows
from jenga.rows.raw import RawRows
from jenga.rows.read_once import ReadOnce
from jenga.trainer.slices import slice_columns
from jenga.types import HeadSpace

logger = logging.getLogger(__name__)
HeadKey = tuple[str, str]


def labelled_sources(bundle: Bundle, path: str, *, split: str) -> list[Source]:
    """Return the rows of a file as the `split` of sources, each with the tasks that they have a label for.

    Raises DataError where no row has any, or more of them than data.max_bad_fraction cannot be used.
    """
    bundle = _cut(bundle)
    sources: list[Source] = []
    for name, raw in _files(bundle, path, split):
        sources += _labelled(bundle.part(name), raw, path, split=split)
    if not sources:
        heads = [head for spec in bundle.specs for head in spec.heads]
        wanted = [f"{'.'.join(head.key)} ({' or '.join(map(repr, head.candidates))})" for head in heads]
        raise DataError(f"{path}: no row has a label; the model's heads and their columns: {', '.join(wanted)}")
    _warn_of_slices(bundle, path, sources, split)
    return sources


def _files(bundle: Bundle, path: str, split: str) -> Iterator[tuple[str, RawRows]]:
    """Yield what each encoder reads of a file, by its name."""
    if len(bundle.inputs) == 1:
        ((name, inputs),) = bundle.inputs.items()
        yield name, inputs.read(path, bundle.specs, split=split)
        return
    router = Router(bundle)
    raw = router.read(path, bundle.specs, split=split)
    router.check(raw)
    read = replace(raw, rows=[], numbers=[])
    for number, row in zip(raw.numbers, raw.rows, strict=True):
        if (reason := router.unread(row)) is None:
            read.add(number, row)
        else:
            read.refuse(number, reason, json_text(row))
    raw = read
    stop_if_many_bad(raw, raw.bad, bundle.config.data.max_bad_fraction)
    if raw.bad:
        logger.warning("%s: %d rows cannot be used and do not count; the first: %s", path, len(raw.bad), raw.bad[0])
    yield from router.routed(raw)


def _labelled(bundle: Bundle, raw: RawRows, path: str, *, split: str) -> Iterator[Source]:
    """Yield the labelled ones of rows that the one encoder of `bundle` reads."""
    (inputs,) = bundle.inputs.values()
    encoder = inputs.encoder([raw])
    unread = list(encoder.bad)
    for reading in readings(raw, bundle.specs):
        spaces = _spaces(bundle, reading.spec)
        rows, bad = parse_rows(raw, reading.spec, spaces=spaces, with_labels=True)
        if wrong := all_unseen((space, rows.labels[key]) for key, space in spaces.items() if key in rows.labels):
            raise DataError(f"{path}: {wrong}")
        # A task is judged when any of its heads is; its other heads are masked.
        tasks = {
            task
            for (task, _), space in spaces.items()
            if labelled_rows(space, rows.labels.get((task, space.head), rows.ids))
        }
        judged = {key: space for key, space in spaces.items() if key[0] in tasks}
        rows.labels = {key: rows.labels[key] for key in judged if key in rows.labels}
        known = len(encoder.bad)
        encoded = encoder.encode(rows, reading.spec, judged)
        bad = [*bad, *unread, *encoder.bad[known:]]
        fix = "Correct the rows, or take out those that are not meant to be judged"
        stop_if_many_bad(raw, bad, bundle.config.data.max_bad_fraction, fix=fix)
        if bad:
            logger.warning("%s: %d rows cannot be used and do not count; the first: %s", path, len(bad), bad[0])
        if judged:
            yield _source(encoded, reading.spec, split)


def configured_sources(bundle: Bundle, split: str) -> list[Source]:
    """Return the rows of `split` (train, valid or test) as the run of `bundle` had them.

    Raises DataError where it had none, or they have other labels now.
    """
    bundle = _cut(bundle)
    specs = bundle.specs
    files = {name: _read_once(bundle.part(name)) for name in bundle.inputs}
    found = load_sources(specs, data=bundle.config.data, files=[files[spec.encoder] for spec in specs])
    for spec, loaded in zip(specs, found, strict=True):
        if loaded.spaces != _spaces(bundle, spec):
            raise DataError(f"{spec.name}: the rows have other labels now than in training; give a file (--data)")
    encoders = {name: inputs.encoder(files[name].files) for name, inputs in bundle.inputs.items()}
    sources = [
        _source(encoders[spec.encoder].encode(loaded.splits[split], spec, loaded.spaces), spec, split)
        for spec, loaded in zip(specs, found, strict=True)
        if split in loaded.splits
    ]
    if bad := [each for encoder in encoders.values() for each in encoder.bad]:
        logger.warning("%d rows cannot be used and do not count; the first: %s", len(bad), bad[0])
    if not sources:
        raise DataError(f"the run has no {split} rows; choose another split, or give a file (--data)")
    _warn_of_slices(bundle, f"the {split} rows", sources, split)
    return sources


def _cut(bundle: Bundle) -> Bundle:
    """Return the model as one whose rows keep the columns that they are judged apart by, which no answer needs."""
    columns = tuple(slice_columns(bundle.config.evaluation))
    return replace(bundle, specs=[replace(spec, slices=columns) for spec in bundle.specs])


def _warn_of_slices(bundle: Bundle, where: str, sources: list[Source], split: str) -> None:
    marks = [source.splits[split].rows.marks for source in sources]
    for name in slice_columns(bundle.config.evaluation):
        if all(is_missing(cell) for each in marks for cell in each.get(name, ())):
            logger.warning("%s: no value in the column '%s', so nothing is judged apart by it", where, name)


def _read_once(bundle: Bundle) -> ReadOnce[RawRows]:
    (inputs,) = bundle.inputs.values()
    return ReadOnce(
        lambda path, *, split: inputs.read(path, bundle.specs, split=split), by_place=by_place(bundle.specs)
    )


def _spaces(bundle: Bundle, spec: SourceSpec) -> dict[HeadKey, HeadSpace]:
    return {head.key: bundle.spaces[head.key] for head in spec.heads}


def _source(encoded: EncodedSplit, spec: SourceSpec, split: str) -> Source:
    tasks = tuple(dict.fromkeys(task for task, _ in encoded.spaces))
    return Source(encoded.source, tasks, {split: encoded}, spec.content, spec.encoder)
