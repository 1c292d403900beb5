"""What a model's modality means for the other settings: what it has no use for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jenga.config.checks import finding
from jenga.config.explain import Finding
from jenga.config.parts import ModalityChoices
from jenga.config.shape import Branch, entry_branches, item_branches
from jenga.config.strict import Strict
from jenga.config.yaml12 import Document, KeyPath


def misplaced(
    document: Document,
    schema: type[Strict],
    own: ModalityChoices | None,
    others: Sequence[ModalityChoices],
    *,
    token_tasks: frozenset[str],
    frame_tasks: frozenset[str],
) -> list[Finding]:
    """Return the settings of `document` that only models of `others` have, and what the model's own modality finds.

    A setting that has its default's value says nothing, and may come from a resolved configuration.
    """
    if own is None:
        return []
    foreign = [each for each in others if each is not own]
    return [
        *_keys(document, schema, own, foreign),
        *_baselines(document, own, foreign),
        *_tasks(document, own, foreign, token_tasks, frame_tasks),
        *own.checks(document),
    ]


def _why(own: ModalityChoices, other: ModalityChoices) -> str:
    return f"is for {other.noun}, and this model reads {own.noun}. Remove it"


def _keys(
    document: Document, schema: type[Strict], own: ModalityChoices, foreign: Sequence[ModalityChoices]
) -> Iterator[Finding]:
    for other in foreign:
        for key in sorted(other.keys - own.keys):
            for path in _places(document, key):
                value = document.value_at(path)
                if value is not None and value != _default(schema, path):
                    yield finding(document, path, _why(own, other))


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


def _baselines(document: Document, own: ModalityChoices, foreign: Sequence[ModalityChoices]) -> Iterator[Finding]:
    baselines = document.value_at(("evaluation", "baselines"))
    for index, name in enumerate(baselines if isinstance(baselines, list) else ()):
        for other in foreign:
            if name in other.baselines and name not in own.baselines:
                yield finding(document, ("evaluation", "baselines", index), f"{name} {_why(own, other)}")


def _tasks(
    document: Document,
    own: ModalityChoices,
    foreign: Sequence[ModalityChoices],
    token_tasks: frozenset[str],
    frame_tasks: frozenset[str],
) -> Iterator[Finding]:
    tasks = document.value_at(("tasks",))
    for index, task in enumerate(tasks if isinstance(tasks, list) else ()):
        if not isinstance(task, dict):
            continue
        if not own.words and task.get("type") in token_tasks:
            message = f"'{task['type']}' labels words of a text, and {own.noun} have none; choose another type"
            yield finding(document, ("tasks", index, "type"), message)
        if task.get("type") in frame_tasks and not own.frames:
            message = f"'{task['type']}' labels moments of a recording, and {own.noun} have none; choose another type"
            yield finding(document, ("tasks", index, "type"), message)
        columns = task.get("columns")
        for key, value in columns.items() if isinstance(columns, dict) else ():
            other = next((each for each in foreign if key in each.columns.model_fields), None)
            if other is not None and key not in own.columns.model_fields and value is not None:
                yield finding(document, ("tasks", index, "columns", key), _why(own, other))
