"""A document of several backbones as each of them sees it: as one that has no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from jenga.config.checks import finding
from jenga.config.explain import Finding
from jenga.config.yaml12 import Document, KeyPath, dotted
from jenga.types import SHARED

Found = TypeVar("Found")
_HERE: KeyPath = ("model", "backbones")


def blocks_of(data: Any) -> dict[str, Any]:
    """Return the block of each backbone by name, of the content of a document, which may be anything."""
    model = data.get("model") if isinstance(data, dict) else None
    several = model.get("backbones") if isinstance(model, dict) else None
    if isinstance(several, dict):
        return several
    return {SHARED: model} if isinstance(model, dict) else {}


def of_task(task: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the names of the backbones that a task reads, of those that there are; a wrong one stays."""
    inputs, backbone = task.get("inputs"), task.get("backbone")
    if isinstance(inputs, list):
        return [str(each) for each in inputs]
    if isinstance(backbone, str):
        return [backbone]
    return list(names) if len(names) == 1 else []


@dataclass(frozen=True)
class View:
    """What the backbone `name` sees of a document: in `document` its block is that of `model`."""

    name: str
    document: Document
    moved: tuple[tuple[KeyPath, KeyPath], ...] = ()

    def back(self, found: Finding) -> Finding:
        """Return what was found in `document` with the path that it has in the whole one."""
        path = self._there(found.path)
        return replace(found, path=path, problem=replace(found.problem, key=dotted(path)))

    def _there(self, path: KeyPath) -> KeyPath:
        for here, there in self.moved:
            if path[: len(here)] == here:
                return (*there, *path[len(here) :])
        return path


def views(document: Document) -> Iterator[View]:
    """Yield what each backbone sees."""
    blocks = blocks_of(document.data)
    if not isinstance(document.value_at(_HERE), dict):
        yield from (View(name, document) for name in blocks)
        return
    for name, block in blocks.items():
        if isinstance(block, dict):
            yield _view(document, name, block, list(blocks))


def _view(document: Document, name: str, block: dict[str, Any], names: Sequence[str]) -> View:
    place: KeyPath = (*_HERE, name)
    own = block.get("training")
    moved: list[tuple[KeyPath, KeyPath]] = [(("peft",), (*place, "peft"))]
    moved += [(("training", key), (*place, "training", key)) for key in (own if isinstance(own, dict) else ())]
    moved.append((("model",), place))
    common = document.data.get("training")
    # A common rate is for whichever backbone has such parameters, and so is its decay over layers.
    shared = ("learning_rate", "layer_decay")
    training = {key: each for key, each in common.items() if key not in shared} if isinstance(common, dict) else {}
    data = {
        **document.data,
        "model": {key: each for key, each in block.items() if key not in ("peft", "training")},
        "peft": block.get("peft"),
        "training": {**training, **(own if isinstance(own, dict) else {})},
        "tasks": _only(document.data.get("tasks"), name, names),
    }
    seen = Document(document.file, data=data)
    seen.keys, seen.values = _moved_keys(document.keys, moved), _moved_keys(document.values, moved)
    seen.texts = _moved_keys(document.texts, moved)
    return View(name, seen, tuple(moved))


def _moved_keys(found: Mapping[KeyPath, Found], moved: Sequence[tuple[KeyPath, KeyPath]]) -> dict[KeyPath, Found]:
    """Return what stands at each path of the whole document by the path in the view; the backbone's own wins."""
    paths = [(path, _moved(path, moved)) for path in found]
    return {seen: found[path] for path, seen in sorted(paths, key=lambda each: each[0] != each[1])}


def _moved(path: KeyPath, moved: Sequence[tuple[KeyPath, KeyPath]]) -> KeyPath:
    for here, there in moved:
        if path[: len(there)] == there:
            return (*here, *path[len(there) :])
    return path


def _only(tasks: Any, name: str, names: Sequence[str]) -> Any:
    """Return the tasks that `name` reads, None in the place of each other."""
    if not isinstance(tasks, list):
        return tasks
    return [task if isinstance(task, dict) and name in of_task(task, names) else None for task in tasks]


# ------------------------------------------------------------------------------------------------ who reads which rows


def unread(document: Document) -> Iterator[Finding]:
    """Yield tasks that name no backbone, or one that is not there, backbones that no task names, and blocks of one."""
    names = list(blocks_of(document.data))
    several = isinstance(document.value_at(_HERE), dict)
    read: set[str] = set()
    tasks = document.value_at(("tasks",))
    for index, task in enumerate(tasks if isinstance(tasks, list) else ()):
        if isinstance(task, dict):
            yield from _of_task(document, ("tasks", index), task, names, several)
            read |= set(of_task(task, names))
    if not several:
        return
    for name in names:
        if name == SHARED:
            yield finding(document, (*_HERE, name), "the name is that of a model's only backbone; choose another one")
        if name not in read and isinstance(tasks, list):
            message = "no task reads it; name it as the backbone of a task, or remove it"
            yield finding(document, (*_HERE, name), message)
    if document.value_at(("peft",)) is not None:
        message = "is for one backbone; move it into those of model.backbones that it is for"
        yield finding(document, ("peft",), message)


def _of_task(
    document: Document, path: KeyPath, task: Mapping[str, Any], names: Sequence[str], several: bool
) -> Iterator[Finding]:
    known = ", ".join(names)
    if not several:
        for key in ("backbone", "inputs"):
            if task.get(key) is not None:
                message = "is for a model of several backbones; remove it, or name them in model.backbones"
                yield finding(document, (*path, key), message)
        return
    if task.get("backbone") is not None and task.get("inputs") is not None:
        yield finding(document, (*path, "backbone"), "inputs names what the task reads already; remove one of them")
        return
    if not of_task(task, names):
        message = f"required key is missing: which of model.backbones reads the rows. Known: {known}"
        yield Finding(
            "contradiction", (*path, "backbone"), document.key_place(path).problem(dotted((*path, "backbone")), message)
        )
        return
    inputs = task.get("inputs")
    if isinstance(inputs, list) and len(set(map(str, inputs))) < len(inputs):
        yield finding(document, (*path, "inputs"), "a name is given twice; take it out")
    for at, name in enumerate(of_task(task, names)):
        if name not in names:
            place = (*path, "inputs", at) if isinstance(inputs, list) else (*path, "backbone")
            yield finding(document, place, f"unknown '{name}'. Known: {known}")
