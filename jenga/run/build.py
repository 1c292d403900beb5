"""From a configuration to objects. The only user of all registries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jenga.ahead import worker_count
from jenga.bundle import Bundle, join, model_block, schema
from jenga.config.schema import ExperimentConfig
from jenga.config.tasks import Columns, SplitPaths
from jenga.distillation import RunningTeacher, make_teacher
from jenga.errors import ConfigError
from jenga.labels import kind_named
from jenga.labels.cells import NO, WHOLE, YES, CellReading
from jenga.labels.column import NORMAL_NAMES, HeadColumn, usual_normal
from jenga.labels.joined import joined_names
from jenga.modalities import BackboneManager, modality_of
from jenga.rows.batches import Source
from jenga.rows.fingerprint import Fingerprint, fingerprint
from jenga.rows.load import LoadedSource
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import BadRow
from jenga.rows.readers import FileForm
from jenga.rows.split import TRAIN
from jenga.tasks import TASK_REGISTRY
from jenga.trainer.optim import trained_groups
from jenga.trainer.recipe import resolve
from jenga.types import SHARED

__all__ = ["Bundle", "Experiment", "build", "schema", "source_specs"]

logger = logging.getLogger(__name__)


@dataclass
class Experiment:
    """Everything that a trainer needs, and what was seen while it was made."""

    bundle: Bundle
    sources: list[Source]
    bad: list[BadRow]
    warnings: list[str]
    teacher: RunningTeacher | None
    fingerprint: Fingerprint

    @property
    def workers(self) -> int:
        """The processes that make batches ahead."""
        return max(encoder.workers for encoder in self.bundle.inputs.values())


def build(
    config: ExperimentConfig,
    workdir: Path,
    *,
    device: torch.device | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Experiment:
    """Read the data, make the model and its inputs. `workdir` keeps what is made of the training rows, once a run.

    device: where the model is to be trained, and a teacher asked about the training rows; default: the CPU. tell:
    called with a line on how far that is.

    Raises ConfigError, DataError or SetupError, each with what is wrong and how to mend it.
    """
    from accelerate.utils import set_seed

    set_seed(config.training.seed)
    if torch.are_deterministic_algorithms_enabled() != config.training.deterministic:
        # It imports the compiler, a second of processor time, whatever it is told.
        torch.use_deterministic_algorithms(config.training.deterministic)
    config = config.model_copy(update={"model": model_block(config, config.model)})
    modality = modality_of(config.model.backbone_type)
    prepared = modality.prepare(config, source_specs(config), workdir, lambda source: _taught(config, source))
    loaded, block = prepared.loaded, prepared.model_config
    on_gpu = device is not None and device.type != "cpu"
    prepared.encoder.workers = worker_count(config.data.workers, worth_it=prepared.encoder.decodes and on_gpu)
    prepared.encoder.progress = tell
    spaces = {key: space for source in loaded for key, space in source.spaces.items()}
    backbone = BackboneManager.create(block.backbone_type, block.base_model, block)
    if config.peft is not None:
        backbone.adapt(config.peft)
    if config.training.gradient_checkpointing:
        backbone.checkpoint_activations()
    config = config.model_copy(update={"tasks": [_resolve(task, loaded) for task in config.tasks]})
    _check_judged(config, loaded)
    rows = fingerprint(loaded)
    sources, warnings = prepared.encoder.sources(loaded, config, backbone)
    model = join(config, {SHARED: backbone})
    n_rows = [len(source.splits[TRAIN]) for source in sources]
    training = resolve(config.training, backbone.recipe, n_rows, trained_groups(model))
    config = config.model_copy(update={"training": training})
    for source in loaded:
        for (name, head), targets in source.splits[TRAIN].labels.items():
            model.tasks[name].fit_targets(head, targets)
    bundle = Bundle(config, model, {SHARED: prepared.encoder}, [source.spec for source in loaded], spaces)
    bad = dict.fromkeys(row for source in loaded for row in source.bad)
    told = [warning for source in loaded for warning in source.warnings]
    teacher, lessons = make_teacher(bundle, sources, device or torch.device("cpu"), tell)
    return Experiment(bundle, sources, list(bad), [*told, *prepared.warnings, *warnings, *lessons], teacher, rows)


def source_specs(config: ExperimentConfig) -> list[SourceSpec]:
    """Group the tasks that read the same rows alike, in the order of their first tasks."""
    modality = modality_of(config.model.backbone_type)
    groups: dict[tuple[Hashable, ...], list[Any]] = {}
    for task in config.tasks:
        key = (_paths(task.data_path), task.columns.id, modality.group(task, config))
        groups.setdefault(key, []).append(task)
    specs = []
    for tasks in groups.values():
        train, valid, test = _paths(tasks[0].data_path)
        specs.append(
            SourceSpec(
                name="+".join(task.name for task in tasks),
                train=train,
                valid=valid,
                test=test,
                id=tasks[0].columns.id or "id",
                heads=tuple(column for task in tasks for column in _head_columns(task)),
                content=modality.content(tasks, config),
                form=FileForm(config.data.format, config.data.delimiter),
                skip_blank=config.data.blank_rows == "skip",
            )
        )
    return specs


def _paths(data_path: Any) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    def several(value: str | list[str] | None) -> tuple[str, ...]:
        return () if value is None else (value,) if isinstance(value, str) else tuple(value)

    if isinstance(data_path, SplitPaths):
        return several(data_path.train), several(data_path.valid), several(data_path.test)
    return several(data_path), (), ()


def _head_columns(task: Any) -> Iterator[HeadColumn]:
    task_class, columns = TASK_REGISTRY[task.type], task.columns
    only = len(task.heads) == 1
    for head in task.heads:
        kind = task_class.kind_of(head)
        joined = getattr(head, "columns", None)
        yield HeadColumn(
            task=task.name,
            head=head.name,
            kind=kind,
            candidates=_candidates(head, columns, kind, only),
            size=head.num_labels,
            labels=None if head.labels is None else tuple(head.labels),
            absent=None if task_class.needs_labels(task) else _normal_label(head),
            cells=_cell_reading(head),
            joined=joined_names(joined, head.labels) if joined else (),
            written=bool(head.column or joined or _given(columns, "labels") or (only and _given(columns, "label"))),
        )


def _cell_reading(head: Any) -> CellReading:
    """Return how the cells of a head are read, as far as the configuration says; a kind of head has its own keys."""

    def given(key: str) -> Any:
        value = getattr(head, key, None)
        return tuple(value) if isinstance(value, list) else value

    separator = given("label_separator")
    return CellReading(
        missing=given("missing_values"),
        true=given("true_values") or YES,
        false=given("false_values") or NO,
        separator=WHOLE if separator == "none" else separator,
        unit=given("offset_unit") or "characters",
        partial_words=given("partial_words") or "refuse",
    )


def _normal_label(head: Any) -> str:
    given: str | None = getattr(head, "normal", None)
    if given is not None or not head.labels:
        return given or NORMAL_NAMES[0]
    label: str = head.labels[usual_normal(head.labels) or 0]
    return label


def _given(columns: Columns, key: str) -> str | None:
    # A kind of task has only those keys that it reads.
    name: str | None = getattr(columns, key, None)
    return name


def _taught(config: ExperimentConfig, source: LoadedSource) -> np.ndarray:
    """Return which training rows, bool (M,), teach some head; the others would only shift the scales of features."""
    rows = source.splits[TRAIN]
    found = np.zeros(len(rows), bool)
    blocks = {task.name: task for task in config.tasks}
    for (name, _), space in source.spaces.items():
        if kind_named(space.kind).from_text:
            return np.ones(len(rows), bool)
        taught = TASK_REGISTRY[blocks[name].type].training_rows(blocks[name], rows.labels[name, space.head], space)
        if taught is None:
            return np.ones(len(rows), bool)
        found |= taught
    return found


def _candidates(head: Any, columns: Columns, kind: str, only: bool) -> tuple[str, ...]:
    """Return where to look for a head's labels, the likeliest place first."""
    if joined := getattr(head, "columns", None):
        return tuple(joined)
    if head.column:
        return (head.column,)
    if own := kind_named(kind).columns(head.name):
        named = tuple(filter(None, (_given(columns, name) for name in own)))
        return named or (*own, f"labels.{head.name}")
    if only and (label := _given(columns, "label")):
        return (label,)
    labels = _given(columns, "labels") or "labels"
    return (f"{labels}.{head.name}", "label", labels, head.name) if only else (f"{labels}.{head.name}", head.name)


def _resolve(task: Any, loaded: Sequence[LoadedSource]) -> Any:
    """Fill in what the training rows decide: label names and counts, balanced weights."""
    source = next(each for each in loaded if any(key[0] == task.name for key in each.spaces))
    heads = []
    for head in task.heads:
        space = source.spaces[task.name, head.name]
        if kind_named(space.kind).from_text:
            return task
        update: dict[str, Any] = {"num_labels": space.size, "labels": list(space.labels)}
        targets = source.splits[TRAIN].labels[task.name, head.name]
        asked = [name for name in ("class_weight", "pos_weight") if getattr(head, name, None) == "balanced"]
        if asked:
            weights = kind_named(space.kind).balanced(space, targets)
            update |= {name: weights[name] for name in asked}
        for name in ("class_weight", "pos_weight", "item_weights"):
            given = update.get(name, getattr(head, name, None))
            if given is not None and len(given) != space.size:
                raise ConfigError(
                    f"tasks[{task.name}].heads[{head.name}].{name}: {len(given)} values for {space.size} labels: "
                    f"{', '.join(space.labels)}"
                )
        heads.append(head.model_copy(update=update))
    return task.model_copy(update={"heads": heads})


def _check_judged(config: ExperimentConfig, loaded: Sequence[LoadedSource]) -> None:
    """Let tasks that generate answers refuse rows that have none to compare them with."""
    blocks = {task.name: task for task in config.tasks}
    for source in loaded:
        for name in dict.fromkeys(task for task, _ in source.spaces):
            TASK_REGISTRY[blocks[name].type].check_rows(blocks[name], source.splits[TRAIN])
