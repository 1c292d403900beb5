"""Events as a modality: JSON objects, of which a refinery makes features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from jenga.config.checks import frozen_from_nothing
from jenga.config.explain import Finding
from jenga.config.schema import ExperimentConfig
from jenga.config.tasks import TaskConfig
from jenga.config.yaml12 import Document
from jenga.detectors.out_of_sample import Trees
from jenga.errors import ConfigError, DataError
from jenga.files import atomic_folder, damage
from jenga.modalities.base import MODALITIES, Encoder, Modality, Prepared
from jenga.modalities.events import backbone, ft_transformer  # noqa: F401 -- registered by being imported
from jenga.modalities.events.baseline import Boosting
from jenga.modalities.events.encoder import REFINERY_FILE, EventEncoder, tolerant_of
from jenga.modalities.events.events import Events, label_columns, objects, read_events, unwarned
from jenga.modalities.events.settings import SAMPLE_ROWS, TabularConfig
from jenga.modalities.quick import Quick
from jenga.refinery.paths import put
from jenga.rows.batches import EncodedSplit
from jenga.rows.columns import find_column
from jenga.rows.content import Cells, ContentSpec, Item
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import RawRows
from jenga.rows.read_once import ReadOnce
from jenga.rows.split import TRAIN

if TYPE_CHECKING:
    from jenga.refinery import SecurityRefinery
    from jenga.refinery.schema import RefinerySchema

_EXAMPLES = {
    "categorical": "example",
    "entity": "example",
    "text": "example.com",
    "ip": "10.0.0.1",
    "timestamp": "2026-01-01T00:00:00Z",
}
"""A value for the fields of an example event, by kind; 0 for the others."""


@dataclass(frozen=True)
class EventFields(ContentSpec):
    """Events: their features are made of whole files, by the fields of the refinery's schema."""

    form: ClassVar[str] = "event"

    def reader(self, raw: RawRows, *, learning: bool, per_word: bool) -> Self:
        """Return itself: there is nothing to read of a row by itself."""
        return self

    def read(self, row: Mapping[str, Any]) -> Item:
        """Return nothing: the event's features are looked up by its number."""
        return Item()

    def collect(self, items: Sequence[Item]) -> Cells:
        """Return nothing."""
        return Cells()

    def found(self, raw: RawRows) -> Self:
        """Return itself: whether fields are missing is told where features are made."""
        return self

    @property
    def wanted(self) -> tuple[str, ...]:
        """No column in particular."""
        return ()


@MODALITIES.register("events")
class EventModality(Modality):
    """Events, read as features."""

    noun = "events"
    inputs = ("features",)
    settings = TabularConfig
    content_specs = (EventFields,)
    hub_noun = "tabular"
    types_vary = True
    by_row = False
    baselines = {"boosting": Boosting}  # noqa: RUF012 -- as `Modality` declares it

    def checks(self, document: Document) -> Iterable[Finding]:
        """Return that adapters freeze a network, whose weights would stay random."""
        return frozen_from_nothing(document, str(document.value_at(("model", "backbone_type"))))

    def content(self, tasks: Sequence[TaskConfig], config: ExperimentConfig) -> EventFields:
        """Return the same for all tasks: they read the same features."""
        return EventFields()

    def reads(self, config: ExperimentConfig, specs: Sequence[SourceSpec]) -> ReadOnce[Any]:
        """Return what reads events, as the refinery's settings have it."""
        if not hasattr(config.model, "with_features"):
            kind = config.model.backbone_type
            raise ConfigError(
                f"model.backbone_type: '{kind}' reads features, but is registered without settings for them; register "
                "it with a config derived from jenga.modalities.events.settings.TabularConfig"
            )
        reader = _refinery(config)
        # Rows are told apart by a slice, which is no reason to make no feature of its column.
        columns = tuple(dict.fromkeys([*label_columns(specs), *(name for spec in specs for name in spec.slices)]))
        form = specs[0].form
        return ReadOnce(
            lambda path, *, split: read_events(path, columns=columns, refinery=reader, split=split, form=form)
        )

    def prepare(
        self, loaded: list[LoadedSource], files: Sequence[Any], config: ExperimentConfig, workdir: Path
    ) -> Prepared:
        """Fit one refinery on the training rows of all sources, or take what this run was begun with from `workdir`."""
        events, folder = {each.file: each for each in files}, workdir / "preset"
        begun = folder.exists() and not damage(folder)
        refinery, warnings = (_kept(folder), []) if begun else _fitted(config, loaded, events)
        encoder = EventEncoder(refinery, events, max_missing=config.model.refinery.max_missing)
        block = encoder.model_config(config.model)

        def features() -> np.ndarray:
            return _sample(encoder, _training_events(loaded, events), config.model.sample_rows)

        if begun:
            return Prepared(encoder, block.fitted(features, folder), warnings)
        with atomic_folder(folder) as staging:
            refinery.save(staging / REFINERY_FILE)
            block = block.fitted(features, staging)
        return Prepared(encoder, block, warnings)

    def load(self, folder: Path, config: ExperimentConfig) -> EventEncoder:
        """Read the refinery's state in `folder`."""
        return EventEncoder.load(folder, config)

    def quick(self, splits: Sequence[EncodedSplit], encoder: Encoder) -> Quick:
        """Return the features of the refinery for trees."""
        assert isinstance(encoder, EventEncoder)
        features = np.concatenate([split.encoded.features for split in splits if split.encoded.features is not None])
        return Quick(features, Trees(), "features of the refinery", names=tuple(encoder.refinery.feature_names_))

    def example(self, specs: Sequence[ContentSpec], described: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event with a value in each field."""
        event: dict[str, Any] = {}
        for path, kind in described["fields"]:
            put(event, path, _EXAMPLES.get(kind, 0))
        return event


def _refinery(config: Any, schema: Any = None) -> SecurityRefinery:
    """Return an unfitted refinery. Bad rows are judged by file, by `stop_if_many_bad`, not by its own limit."""
    from jenga.refinery import SecurityRefinery

    settings = config.model.refinery
    return tolerant_of(
        SecurityRefinery(schema=schema, validate=settings.validate, nan=settings.nan, duplicates=settings.duplicates)
    )


def _kept(folder: Path) -> SecurityRefinery:
    from jenga.refinery import SecurityRefinery

    return tolerant_of(SecurityRefinery.load(folder / REFINERY_FILE))


def _fitted(
    config: Any, loaded: Sequence[LoadedSource], files: Mapping[str, Events]
) -> tuple[SecurityRefinery, list[str]]:
    """Return the refinery fitted on all training rows, and warnings."""
    events = _training_events(loaded, files)
    schema, warnings = _schema(config, [source.spec for source in loaded], events, files)
    with unwarned():
        return _refinery(config, schema).fit(events), warnings


def _sample(encoder: EventEncoder, events: Sequence[Any], n_rows: int) -> np.ndarray:
    """Return features of training events: of up to `n_rows`, where those of a row do not depend on the one before."""
    step = 1 if encoder.ordered else -(-len(events) // n_rows)
    with unwarned():
        features: np.ndarray = encoder.refinery.transform(events[::step])
    return features


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
        step = -(-len(events) // SAMPLE_ROWS) or 1
        return _without(infer_schema(objects(events[::step])), specs)
    schema = load_preset(settings.preset) if settings.preset else read_schema(settings.schema)
    _check_answers(schema, specs, files)
    return schema, []


def _without(schema: RefinerySchema, specs: Sequence[SourceSpec]) -> tuple[RefinerySchema, list[str]]:
    """Return an inferred schema without the experiment's own columns, and a word on what else it leaves out."""
    ids = {spec.id for spec in specs}
    stages = {column for spec in specs for column in spec.marks}
    labels = set(label_columns(specs)) - ids - stages

    def own(path: str) -> str | None:
        if path in ids:
            return "the ids of the rows"
        whose = {"labels of the experiment": labels, "stages of the training": stages}
        return next((why for why, columns in whose.items() if _within(path, columns)), None)

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
        for path in field.all_paths:
            holds = [f"the labels of {where}" for where, column in labels.items() if _within(path, [column])]
            holds += [f"the ids of {name}" for name, column in ids.items() if path == column]
            if holds:
                raise ConfigError(
                    f"model.refinery: the schema makes a feature of '{path}', which holds {holds[0]}; take the field "
                    "out of the schema, or name another column in the task"
                )


def _within(path: str, columns: Iterable[str]) -> bool:
    return any(path == column or path.startswith((f"{column}.", f"{column}[")) for column in columns)
