"""Paths of fields: keys, and which elements of the lists that they lead to.

``a.b[0].c[*]``: brackets select where a key stands before and a dot or the end behind them. Backslashes before such
brackets count double, and one more makes the brackets part of the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

EVERY = -1
"""The selector ``[*]``."""
MOST_SELECTORS = 8
_BRACKETS = re.compile(r"(\\*)\[([0-9]{1,9}|\*)\]")
_RUN = re.compile(rf"(?:{_BRACKETS.pattern})+(?=\.|\Z)")

Part: TypeAlias = "str | int"
"""Dotted keys, or which element of a list."""


def parts_of(path: str) -> tuple[Part, ...]:
    """Return keys and selectors in turn: ``a.b[0].c[*]`` is ``("a.b", 0, "c", EVERY)``."""
    parts: list[Part] = []
    keys, at = "", 0
    for run in _RUN.finditer(path):
        keys += path[at : run.start()]
        at = run.end()
        brackets = [(len(each[1]), each[2]) for each in _BRACKETS.finditer(run[0])]
        selectors: list[int] = []
        for number, (n_backslashes, inside) in enumerate(brackets):
            keys += "\\" * (n_backslashes // 2)
            is_key = n_backslashes % 2 or any(slashes for slashes, _ in brackets[number + 1 :])
            if is_key or not (selectors or (keys and keys[-1] != ".")):
                keys += f"[{inside}]"
            else:
                selectors.append(EVERY if inside == "*" else int(inside))
        if selectors:
            parts += [keys, *selectors]
            keys, at = "", at + 1
    rest = keys + path[at:]
    return (*parts, rest) if rest else tuple(parts)


def path_of_key(key: str) -> str:
    """Return the path of a key, whose brackets select nothing."""

    def written(run: re.Match[str]) -> str:
        brackets = [(2 * each[1], f"[{each[2]}]") for each in _BRACKETS.finditer(run[0])]
        before, inside = brackets.pop()
        return "".join(map("".join, brackets)) + f"{before}\\{inside}"

    return _RUN.sub(written, key)


def is_set(path: str) -> bool:
    """Whether a path leads to any number of values."""
    return EVERY in parts_of(path)


def values_in(value: Any, parts: Sequence[Part]) -> list[Any]:
    """Return what `parts` lead to within a value; what is no list counts as a list of one."""
    if not parts:
        return [value]
    first, rest = parts[0], parts[1:]
    if isinstance(first, str):
        return [each for found, left in _under(value, first) for each in values_in(found, (*left, *rest))]
    elements = list(value) if isinstance(value, (list, tuple)) else [value]
    if first != EVERY:
        elements = elements[first : first + 1]
    return [found for element in elements for found in values_in(element, rest)]


def _under(value: Any, keys: str) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield the value of the longest of dotted `keys` that there is, and the keys behind it."""
    if not isinstance(value, Mapping):
        return
    if keys in value:
        yield value[keys], ()
        return
    for dot in [at for at, letter in enumerate(keys) if letter == "."][::-1]:
        if keys[:dot] in value:
            yield value[keys[:dot]], (keys[dot + 1 :],)
            return


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """Return the first value that `path` leads to, or what `row` has under the path as a whole; None without any."""
    if path in row:
        return row[path]
    found = values_in(row, parts_of(path))
    return found[0] if found else None


def put(row: dict[str, Any], path: str, value: Any) -> None:
    """Make `path` lead to `value` in `row`, of lists to one element."""
    key, *rest = parts_of(path)
    row[str(key)] = _with(row.get(str(key)), rest, value)


def _with(outer: Any, parts: Sequence[Part], value: Any) -> Any:
    if not parts:
        return value
    first, rest = parts[0], parts[1:]
    if isinstance(first, str):
        inner = dict(outer) if isinstance(outer, Mapping) else {}
        inner[first] = _with(inner.get(first), rest, value)
        return inner
    at = max(first, 0)
    elements = [*(outer if isinstance(outer, list) else []), *[None] * (at + 1)]
    elements = elements[: max(at + 1, len(elements) - at - 1)]
    elements[at] = _with(elements[at], rest, value)
    return elements
