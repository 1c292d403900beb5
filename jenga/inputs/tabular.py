"""Events as features, made by a refinery that is fitted on the training rows of all sources."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jenga.backbones import BaseBackbone
from jenga.data.collate import EncodedSplit, Source
from jenga.data.columns import find_column
from jenga.data.read_once import ReadOnce
from jenga.data.readers import BadRow, RawRows
from jenga.data.rows import LoadedSource, Rows, SourceSpec, load_sources, stop_if_many_bad
from jenga.data.split import TRAIN, leak_warning
from jenga.data.tabular import (
    Events,
    Features,
    RefinedFile,
    events_of,
    features_of,
    label_columns,
    objects,
    read_events,
    refine_events,
    unwarned,
)
from jenga.errors import ConfigError, DataError, SetupError
from jenga.files import atomic_folder, damage
from jenga.inputs.base import Encoder, Facts, Inputs, Keep, Prepared, Spaces

if TYPE_CHECKING:
    from jenga.refinery import SecurityRefinery
    from jenga.refinery.schema import RefinerySchema

logger = logging.getLogger(__name__)
REFINERY_FILE = "refinery.safetensors"
_SAMPLE_ROWS = 10_000
_FIELDS_SHOWN = 12


class TabularInputs(Inputs):
    """Features by a fitted refinery.

    `files`: the events behind the rows that training reads, by name; empty in a model that was loaded.
    """

    def __init__(self, refinery: SecurityRefinery, files: Mapping[str, Events] | None = None) -> None:
        self.refinery = refinery
        self.files = dict(files or {})

    def save(self, folder: Path) -> None:
        """Write the refinery's fitted state beside the encoder's weights."""
        self.refinery.save(folder / REFINERY_FILE)

    @classmethod
    def load(cls, folder: Path, config: Any) -> Self:
        """Read the refinery's state in `folder`. Raises SetupError where it is harmed, or none."""
        from jenga.refinery import SecurityRefinery

        try:
            return cls(_tolerant(SecurityRefinery.load(folder / REFINERY_FILE)))
        except DataError as error:  # no data of the user's: a part of the model
            raise SetupError(f"{error}; restore the model's folder from a copy or train again") from error

    def model_config(self, model: Any) -> Any:
        """Return the model's block for features of the refinery's width."""
        return model.with_features(self.refinery.n_features_out_)

    def read(self, path: str | bytes, specs: Sequence[SourceSpec], *, split: str) -> Events:
        """Return the events of a file, or of bytes of JSON, with the cells of labels and ids that `specs` name."""
        return read_events(path, columns=label_columns(specs), refinery=self.refinery, split=split)

    def given(
        self,
        events: Sequence[Any],
        specs: Sequence[SourceSpec],
        *,
        file: str,
        numbers: Sequence[int],
        bad: list[BadRow],
    ) -> Events:
        """Return mappings, or JSON as bytes or text, as events; the rest is as in `jenga.data.tabular.events_of`."""
        return events_of(file, events, numbers, bad, columns=label_columns(specs), refinery=self.refinery)

    def encoder(self, files: Sequence[RawRows]) -> Encoder:
        """Return what looks up the features of rows; all are made here, file by file in the order of their events.

        Warns of fields that a file's events lack. Raises DataError where they have none.
        """
        refined = {}
        for events in files:
            assert isinstance(events, Events)
            refined[events.file] = refine_events(events, self.refinery)
            for warning in refined[events.file].warnings:
                logger.warning("%s: %s", events.file, warning)

        def encode(rows: Rows, spec: SourceSpec, spaces: Spaces) -> EncodedSplit:
            return _split(rows, spec, refined, spaces)

        return Encoder(encode, [bad for each in refined.values() for bad in each.bad])

    def sources(
        self, loaded: list[LoadedSource], config: Any, backbone: BaseBackbone
    ) -> tuple[list[Source], list[str]]:
        """Return the features of every split; what the refinery sets aside joins the bad rows of its source.

        The events are let go: `files` is empty afterwards. Raises DataError where that is more than
        data.max_bad_fraction of a file, or nothing is left to train on.
        """
        refined = {name: refine_events(events, self.refinery) for name, events in self.files.items()}
        for name, events in self.files.items():
            stop_if_many_bad(events, [*events.bad, *refined[name].bad], config.data.max_bad_fraction)
        warnings = [f"{name}: {each}" for name, found in refined.items() for each in found.warnings]
        sources = []
        for each in loaded:
            splits = {name: _split(rows, each.spec, refined, each.spaces) for name, rows in each.splits.items()}
            if not len(splits[TRAIN]):
                raise DataError(f"{each.spec.name}: no training row is left; the refinery set all of them aside")
            files = {name for rows in each.splits.values() for name in rows.files}
            each.bad += [bad for name in sorted(files) for bad in refined[name].bad]
            warnings += _leaks(each.spec, splits)
            sources.append(Source(each.spec.name, tuple(dict.fromkeys(key[0] for key in each.spaces)), splits))
        self.files.clear()
        return sources, warnings

    def describe(self) -> dict[str, Any]:
        """Return the paths of the fields that the refinery reads, with their kinds."""
        return {"fields": [[field.path, field.kind] for field in self.refinery.schema_.fields]}

    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return the fields that are read, and how many features they make."""
        paths = [field.path for field in self.refinery.schema_.fields]
        more = f" and {len(paths) - _FIELDS_SHOWN} more" if len(paths) > _FIELDS_SHOWN else ""
        fields = f"{len(paths)}: {', '.join(paths[:_FIELDS_SHOWN])}{more}"
        data = {"fields of an event": fields, "features": str(self.refinery.n_features_out_)}
        return Facts(data, ["Of an event, only the fields above are read."])


def prepare_tabular(config: Any, specs: Sequence[SourceSpec], workdir: Path, keep: Keep) -> Prepared:
    """Read events and fit one refinery on the training rows of all sources; its state is kept under `workdir`."""
    if not hasattr(config.model, "with_features"):
        kind = config.model.backbone_type
        raise ConfigError(
            f"model.backbone_type: '{kind}' reads features, but is registered without settings for them; register it "
            "with a config derived from jenga.backbones.sequential.TabularConfig"
        )
    reader = _refinery(config)
    columns = label_columns(specs)
    reads = ReadOnce(lambda path, *, split: read_events(path, columns=columns, refinery=reader, split=split))
    loaded = load_sources(specs, data=config.data, files=reads)
    files = {events.file: events for events in reads.files}
    for source in loaded:
        source.splits[TRAIN] = source.splits[TRAIN].take(np.flatnonzero(keep(source)))
    refinery, warnings = _fitted(config, specs, loaded, files, workdir)
    inputs = TabularInputs(refinery, files)
    return Prepared(inputs, loaded, inputs.model_config(config.model), warnings)


def _refinery(config: Any, schema: Any = None) -> SecurityRefinery:
    """Return an unfitted refinery. Bad rows are judged by file, by `stop_if_many_bad`, not by its own limit."""
    from jenga.refinery import SecurityRefinery

    settings = config.model.refinery
    return _tolerant(
        SecurityRefinery(schema=schema, validate=settings.validate, nan=settings.nan, duplicates=settings.duplicates)
    )


def _tolerant(refinery: SecurityRefinery) -> SecurityRefinery:
    tolerant: SecurityRefinery = refinery.set_params(max_bad_fraction=1.0)
    return tolerant


def _fitted(
    config: Any,
    specs: Sequence[SourceSpec],
    loaded: Sequence[LoadedSource],
    files: Mapping[str, Events],
    workdir: Path,
) -> tuple[SecurityRefinery, list[str]]:
    """Return the refinery fitted on all training rows, or as it was fitted when this run began, and warnings."""
    from jenga.refinery import SecurityRefinery

    folder = workdir / "preset"
    if folder.exists() and not damage(folder):
        return _tolerant(SecurityRefinery.load(folder / REFINERY_FILE)), []
    events = _training_events(loaded, files)
    schema, warnings = _schema(config, specs, events, files)
    with unwarned():
        refinery = _refinery(config, schema).fit(events)
    with atomic_folder(folder) as staging:
        refinery.save(staging / REFINERY_FILE)
    return refinery, warnings


def _training_events(loaded: Sequence[LoadedSource], files: Mapping[str, Events]) -> list[Any]:
    """Return the events of all training rows, file by file in their order, each once."""
    numbers: dict[str, set[int]] = {name: set() for name in files}
    for source in loaded:
        rows = source.splits[TRAIN]
        for name, number in zip(rows.files, rows.numbers, strict=True):
            numbers[name].add(number)
    return [
        event
        for name, events in files.items()
        for number, event in zip(events.numbers, events.events, strict=True)
        if number in numbers[name]
    ]


def _schema(
    config: Any, specs: Sequence[SourceSpec], events: Sequence[Any], files: Mapping[str, Events]
) -> tuple[RefinerySchema, list[str]]:
    """Return the schema that is configured, else one found in the training events, without labels and ids."""
    from jenga.refinery.infer import infer_schema
    from jenga.refinery.presets import load_preset
    from jenga.refinery.schema import read_schema

    settings = config.model.refinery
    if settings.preset is None and settings.schema is None:
        step = -(-len(events) // _SAMPLE_ROWS) or 1
        return _without(infer_schema(objects(events[::step])), specs)
    schema = load_preset(settings.preset) if settings.preset else read_schema(settings.schema)
    _check_answers(schema, specs, files)
    return schema, []


def _without(schema: RefinerySchema, specs: Sequence[SourceSpec]) -> tuple[RefinerySchema, list[str]]:
    """Return an inferred schema without the experiment's own columns, and a word on what else it leaves out."""
    ids = {spec.id for spec in specs}
    labels = set(label_columns(specs)) - ids

    def own(path: str) -> str | None:
        return "the ids of the rows" if path in ids else "labels of the experiment" if _within(path, labels) else None

    fields = [field for field in schema.fields if own(field.path) is None]
    if not fields:
        raise DataError("the rows hold nothing but labels and ids; there is nothing to make features of")
    warnings = [f"no feature is made of '{path}': {why}" for path, why in schema.left_out.items() if own(path) is None]
    taken = {field.path: why for field in schema.fields if (why := own(field.path)) is not None}
    left_out = dict(sorted({**schema.left_out, **taken}.items()))
    return type(schema)(name=schema.name, fields=fields, left_out=left_out), warnings


def _check_answers(schema: RefinerySchema, specs: Sequence[SourceSpec], files: Mapping[str, Events]) -> None:
    """Raise ConfigError where a given schema makes a feature of a label or an id that the rows have."""
    rows = [row for events in files.values() for row in events.rows]
    labels = {
        head.where: column for spec in specs for head in spec.heads if (column := find_column(rows, head.candidates))
    }
    ids = {spec.name: column for spec in specs if (column := find_column(rows, [spec.id]))}
    for field in schema.fields:
        holds = [f"the labels of {where}" for where, column in labels.items() if _within(field.path, [column])]
        holds += [f"the ids of {name}" for name, column in ids.items() if field.path == column]
        if holds:
            raise ConfigError(
                f"model.refinery: the schema makes a feature of '{field.path}', which holds {holds[0]}; take the field "
                "out of the schema, or name another column in the task"
            )


def _within(path: str, columns: Iterable[str]) -> bool:
    return any(path == column or path.startswith(f"{column}.") for column in columns)


def _split(rows: Rows, spec: SourceSpec, refined: Mapping[str, RefinedFile], spaces: Spaces) -> EncodedSplit:
    """Return rows with their features. Rows that the refinery set aside are left out."""
    kept, features = features_of(rows, refined)
    return EncodedSplit(spec.name, kept, features, spaces)


def _leaks(spec: SourceSpec, splits: Mapping[str, EncodedSplit]) -> Iterable[str]:
    rows = {name: [row.tobytes() for row in _matrix(split)] for name, split in splits.items()}
    for name in rows.keys() - {TRAIN}:
        what = "the same features as a row that is"
        warning = leak_warning(rows[TRAIN], rows[name], split=name, source=spec.name, what=what)
        if warning:
            yield warning


def _matrix(split: EncodedSplit) -> np.ndarray:
    assert isinstance(split.encoded, Features)
    return split.encoded.features
