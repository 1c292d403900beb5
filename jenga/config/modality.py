"""What a model's modalities mean for the other settings: what they have no use for, and who reads which rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jenga.config.backbones import blocks_of, of_task, unread, views
from jenga.config.checks import finding, of_backbone
from jenga.config.explain import Finding
from jenga.config.parts import ModalityChoices
from jenga.config.shape import Branch, entry_branches, item_branches
from jenga.config.strict import Strict
from jenga.config.yaml12 import Document, KeyPath

if TYPE_CHECKING:
    from jenga.config.schema import ExperimentConfig


@dataclass(frozen=True)
class _Kinds:
    """`own`: the modalities of the model, by the names of its backbones; `others`: those that none of these has."""

    own: Mapping[str, ModalityChoices]
    others: Sequence[ModalityChoices]

    def why(self, other: ModalityChoices, read: Sequence[ModalityChoices] | None = None) -> str:
        """Return that what is for `other` is not for what is read; read: default: by the whole model."""
        nouns = list(dict.fromkeys(each.noun for each in read or self.own.values()))
        subject = "this model reads" if read is None else "this task reads"
        return f"is for {other.noun}, and {subject} {' and '.join(nouns)}. Remove it"


def misplaced(document: Document, schema: type[ExperimentConfig]) -> list[Finding]:
    """Return the settings of `document` that its backbones have no use for, and what their modalities find.

    A setting that has its default's value says nothing, and may come from a resolved configuration.
    """
    own: dict[str, ModalityChoices] = {}
    for name, block in blocks_of(document.data).items():
        kind = schema.modality_of({"model": block})
        if kind is None:
            return []  # its type is unknown, which is told elsewhere
        own[name] = kind
    if not own:
        return of_backbone(document, schema.language_tasks)
    kinds = _Kinds(own, [each for each in schema.modalities.values() if type(each) not in map(type, own.values())])
    found = [*_keys(document, schema, kinds), *_baselines(document, kinds), *unread(document)]
    found += _tasks(document, schema, kinds, list(schema.modalities.values()))
    for view in views(document):
        told = [*own[view.name].checks(view.document), *of_backbone(view.document, schema.language_tasks)]
        found += [view.back(each) for each in told]
    return found


def _keys(document: Document, schema: type[Strict], kinds: _Kinds) -> Iterator[Finding]:
    used = frozenset[str]().union(*(each.keys for each in kinds.own.values()))
    for other in kinds.others:
        for key in sorted(other.keys - used):
            for path in _places(document, key):
                value = document.value_at(path)
                if value is not None and value != _default(schema, path):
                    yield finding(document, path, kinds.why(other))


def _places(document: Document, key: str) -> Iterator[KeyPath]:
    """Yield where the dotted `key` stands in a document; ``tasks[].x`` in each of its tasks."""
    head, dot, rest = key.partition("[].")
    if not dot:
        yield tuple(key.split("."))
        return
    items = document.value_at((head,))
    for index, _ in enumerate(items if isinstance(items, list) else ()):
        yield (head, index, *rest.split("."))


def _default(schema: type[Strict], path: KeyPath) -> Any:
    branches: list[Branch] = [Branch(schema)]
    for part in path[:-1]:
        branches = item_branches(branches) if isinstance(part, int) else entry_branches(branches, part)
    fields = [each.model.model_fields for each in branches if each.model]
    found = [each[str(path[-1])] for each in fields if path[-1] in each]
    return found[0].default if found else None


def _baselines(document: Document, kinds: _Kinds) -> Iterator[Finding]:
    baselines = document.value_at(("evaluation", "baselines"))
    known = {name for each in kinds.own.values() for name in each.baselines}
    for index, name in enumerate(baselines if isinstance(baselines, list) else ()):
        for other in kinds.others:
            if name in other.baselines and name not in known:
                yield finding(document, ("evaluation", "baselines", index), f"{name} {kinds.why(other)}")


def _tasks(
    document: Document, schema: type[ExperimentConfig], kinds: _Kinds, known: Sequence[ModalityChoices]
) -> Iterator[Finding]:
    tasks = document.value_at(("tasks",))
    for index, task in enumerate(tasks if isinstance(tasks, list) else ()):
        if not isinstance(task, dict):
            continue
        read = [kinds.own[name] for name in of_task(task, list(kinds.own)) if name in kinds.own]
        if not read:
            continue
        if task.get("type") in schema.token_tasks and not all(each.words for each in read):
            noun = next(each.noun for each in read if not each.words)
            message = f"'{task['type']}' labels words of a text, and {noun} have none; choose another type"
            yield finding(document, ("tasks", index, "type"), message)
        if task.get("type") in schema.frame_tasks and not all(each.frames for each in read):
            noun = next(each.noun for each in read if not each.frames)
            message = f"'{task['type']}' labels moments of a recording, and {noun} have none; choose another type"
            yield finding(document, ("tasks", index, "type"), message)
        if len(read) > 1:
            yield from _together(document, index, task, read, schema)
        yield from _columns(document, index, task, read, kinds, known)
        if len(kinds.own) > 1:
            yield from _task_keys(document, index, read, kinds)


def _together(
    document: Document,
    index: int,
    task: Mapping[str, Any],
    read: Sequence[ModalityChoices],
    schema: type[ExperimentConfig],
) -> Iterator[Finding]:
    """Yield what a task of several inputs cannot have."""
    of_one = {
        "labels words of one text": schema.token_tasks,
        "labels moments of one recording": schema.frame_tasks,
        "predicts tokens of one text": schema.language_tasks,
    }
    for what, types in of_one.items():
        if task.get("type") in types:
            message = f"'{task['type']}' {what}, and inputs names several; name its backbone alone"
            yield finding(document, ("tasks", index, "type"), message)
    for at, each in enumerate(read):
        if not each.by_row:
            message = (
                f"{each.noun} are read a file at a time, and no row of theirs beside another input; give a task of its "
                "own to that backbone, or write its fields into the text"
            )
            yield finding(document, ("tasks", index, "inputs", at), message)


def _columns(
    document: Document,
    index: int,
    task: Mapping[str, Any],
    read: Sequence[ModalityChoices],
    kinds: _Kinds,
    known: Sequence[ModalityChoices],
) -> Iterator[Finding]:
    own = {key for each in read for key in each.columns.model_fields}
    columns = task.get("columns")
    for key, value in columns.items() if isinstance(columns, dict) else ():
        other = next((each for each in known if key in each.columns.model_fields), None)
        if other is not None and key not in own and value is not None:
            why = kinds.why(other, read if len(kinds.own) > 1 else None)
            yield finding(document, ("tasks", index, "columns", key), why)


def _task_keys(document: Document, index: int, read: Sequence[ModalityChoices], kinds: _Kinds) -> Iterator[Finding]:
    """Yield keys of a task that another of the model's backbones has use for, and its own has none."""
    used = frozenset[str]().union(*(each.keys for each in read))
    for other in kinds.own.values():
        for key in sorted(each for each in other.keys - used if each.startswith("tasks[].")):
            path: KeyPath = ("tasks", index, *key.removeprefix("tasks[].").split("."))
            if document.value_at(path) is not None:
                yield finding(document, path, kinds.why(other, read))
