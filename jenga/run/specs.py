"""How the rows of an experiment's tasks are read: which of them share their rows, and where labels stand."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from jenga.bundle import modality_for
from jenga.config.schema import ExperimentConfig
from jenga.config.tasks import Columns, SplitPaths
from jenga.labels import kind_named
from jenga.labels.cells import NO, WHOLE, YES, CellReading
from jenga.labels.column import NORMAL_NAMES, HeadColumn, usual_normal
from jenga.labels.joined import joined_names
from jenga.rows.parse import SourceSpec
from jenga.rows.readers import FileForm
from jenga.tasks import TASK_REGISTRY
from jenga.trainer.slices import slice_columns


def source_specs(config: ExperimentConfig) -> list[SourceSpec]:
    """Group the tasks that read the same rows alike, in the order of their first tasks."""
    groups: dict[tuple[Hashable, ...], list[Any]] = {}
    for task in config.tasks:
        encoder = config.encoder_of(task)
        alike = modality_for(config, encoder).group(task, config.seen_by(encoder))
        groups.setdefault((encoder, _paths(task.data_path), task.columns.id, alike), []).append(task)
    specs = []
    for tasks in groups.values():
        encoder = config.encoder_of(tasks[0])
        train, valid, test = _paths(tasks[0].data_path)
        specs.append(
            SourceSpec(
                name="+".join(task.name for task in tasks),
                train=train,
                valid=valid,
                test=test,
                id=tasks[0].columns.id or "id",
                heads=tuple(column for task in tasks for column in _head_columns(task)),
                content=modality_for(config, encoder).content(tasks, config.seen_by(encoder)),
                form=FileForm(config.data.format, config.data.delimiter, config.data.records),
                skip_blank=config.data.blank_rows == "skip",
                encoder=encoder,
                marks=_marks(config, [task.name for task in tasks]),
                slices=tuple(slice_columns(config.evaluation)),
            )
        )
    return specs


def _marks(config: ExperimentConfig, tasks: list[str]) -> tuple[str, ...]:
    """Return the columns that tell the rows of stages apart, of those stages in which one of `tasks` learns."""
    own = [stage for stage in config.stages if stage.tasks is None or set(stage.tasks) & set(tasks)]
    return tuple(dict.fromkeys(column for stage in own for column in stage.where))


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
        lowercase=bool(given("lowercase")),
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
