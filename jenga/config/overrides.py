"""`--set tasks[QA].heads[0].num_labels=5`: settings from the command line put into a document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jenga.config.shape import kind_of_value
from jenga.config.syntax import Place
from jenga.config.yaml12 import Document, KeyPath, dotted, read_value
from jenga.errors import ConfigError, Problem, suggest

_PART = r"[^.\[\]=]+(?:\[[^\[\]]+\])*"
_KEY = rf"{_PART}(?:\.{_PART})*"
_OVERRIDE = re.compile(rf"({_KEY})=(.*)", re.DOTALL)
_STEP = re.compile(r"\[([^\[\]]+)\]|([^.\[\]]+)")


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Set each ``key=value`` in `document`, the last one winning; what is wrong is added to its problems.

    List items are named by number or by their `name`. Mappings on the way are made where they are missing. The value
    is read as YAML.
    """
    for override in overrides:
        place = Place(f"--set {override}")
        found = _OVERRIDE.fullmatch(override)
        if not found:
            message = "not key=value; write it as --set training.epochs=5 or --set 'tasks[0].name=intent'"
            document.problems.append(place.problem("", message))
            continue
        try:
            path = _make_way(document, found[1], place)
            _put(document, path, found[2], place)
        except ConfigError as error:
            document.problems += error.problems


def put_value(document: Document, key: str, value: Any, place: Place) -> KeyPath:
    """Set what `key`, written as for `apply_overrides`, names in `document` and return its path. place: of `value`.

    Raises ConfigError where there is no such way, or `key` is not written so.
    """
    if not re.fullmatch(_KEY, key):
        raise ConfigError([place.problem(key, "no key; write it as training.batch_size or tasks[intent].weight")])
    path = _make_way(document, key, place)
    _set(document, path, value, place)
    return path


def _make_way(document: Document, key: str, place: Place) -> KeyPath:
    """Return the path that `key` names, with the mappings that lead to it in place."""
    path: KeyPath = ()
    holder = document.data
    for step in _STEP.finditer(key):
        item, name = step.groups()
        if holder is None and path and name is not None:
            holder = _set(document, path, {}, place)
        if item is not None:
            path = (*path, _index(holder, item, path, place))
        elif isinstance(holder, dict):
            path = (*path, name)
        else:
            advice = "; name an item, as in [0]" if isinstance(holder, list) else "; set the whole of it instead"
            raise ConfigError([place.problem(dotted(path), f"{_is(holder)} and has no key '{name}'{advice}")])
        holder = document.value_at(path)
    return path


def _index(holder: Any, item: str, path: KeyPath, place: Place) -> int:
    if not isinstance(holder, list):
        raise ConfigError([place.problem(dotted(path), f"{_is(holder)}, so there is no item [{item}]")])
    names = [each.get("name") if isinstance(each, dict) else None for each in holder]
    if item.isascii() and item.isdecimal() and int(item) < len(holder):
        return int(item)
    if item in names:
        return names.index(item)
    known = [f"[{number}]" + (f" {name}" if name is not None else "") for number, name in enumerate(names)]
    hint = suggest(item, [str(name) for name in names if name is not None]) or "."
    raise ConfigError([place.problem(dotted(path), f"no item [{item}]{hint} Known: {', '.join(known) or 'none'}")])


def _put(document: Document, path: KeyPath, text: str, place: Place) -> None:
    try:
        value = read_value(text, file=place.file, path=path)
    except ConfigError as error:
        raise ConfigError([_moved(each, place, dotted(path)) for each in error.problems]) from None
    document.problems += [_moved(each, place, each.key) for each in value.problems]
    _set(document, path, value.data, place)
    for below in value.values:
        document.values[below] = place
    for below in value.keys:
        document.keys[below] = place
    document.texts.update(value.texts)


def _set(document: Document, path: KeyPath, value: Any, place: Place) -> Any:
    document.forget(path)
    document.value_at(path[:-1])[path[-1]] = value
    document.values[path] = place
    if isinstance(path[-1], str):
        document.keys[path] = place
    return value


def _moved(problem: Problem, place: Place, key: str) -> Problem:
    return place.problem(key, problem.message)


def _is(value: Any) -> str:
    words = {"text": "is text", "number": "is a number", "flag": "is true or false", "list": "is a list"}
    return words.get(kind_of_value(value), "is not set" if value is None else "is a mapping")
