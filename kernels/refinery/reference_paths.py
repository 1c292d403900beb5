"""What a plan's paths mean, as plain Python: the truth of the grammar that the native reader follows."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

EVERY = -1
"""The selector ``[*]``."""

_RUN = re.compile(r"(?:\\*\[(?:[0-9]{1,9}|\*)\])+(?=\.|\Z)")
_BRACKETS = re.compile(r"(\\*)\[([0-9]+|\*)\]")

Part: TypeAlias = "bytes | int"
"""Dotted keys, or which element of a list."""


class Way(NamedTuple):
    """What is left of the path of field number `field`, and the elements that its ``[*]`` so far stood for."""

    field: int
    parts: tuple[Part, ...]
    element: tuple[int, ...] = ()


def parts_of(path: str) -> tuple[Part, ...]:
    """Return keys and selectors in turn: ``a.b[0].c[*]`` is ``(b"a.b", 0, b"c", EVERY)``.

    Brackets select where a key stands before and a dot or the end behind them. Backslashes before such brackets count
    double, and one more makes the brackets part of the key.
    """
    parts: list[Part] = []
    text, at = "", 0
    for run in _RUN.finditer(path):
        text += path[at : run.start()]
        at = run.end()
        brackets = [(len(each[1]), each[2]) for each in _BRACKETS.finditer(run[0])]
        first = len(brackets)
        while first and not brackets[first - 1][0]:
            first -= 1
        if first and brackets[first - 1][0] % 2 == 0:
            first -= 1
        selectors: list[int] = []
        for number, (n_backslashes, inside) in enumerate(brackets):
            text += "\\" * (n_backslashes // 2)
            if number >= first and (selectors or (text and text[-1] != ".")):
                selectors.append(EVERY if inside == "*" else int(inside))
            else:
                text += f"[{inside}]"
        if selectors:
            parts += [text.encode(), *selectors]
            text, at = "", at + 1
    return (*parts, text.encode() + path[at:].encode()) if text or at < len(path) else tuple(parts)


def inside_object(ways: list[Way], key: bytes) -> list[Way]:
    """Return the ways that go on within the value of `key`, or end with it (those have no parts left)."""
    found = []
    for way in ways:
        keys, *rest = way.parts or (EVERY,)
        if isinstance(keys, int):
            continue
        if keys == key:
            found.append(way._replace(parts=tuple(rest)))
        elif keys.startswith(key + b"."):
            found.append(way._replace(parts=(keys[len(key) + 1 :], *rest)))
    return found


def inside_list(ways: list[Way], number: int) -> list[Way]:
    """Return the ways that go on within, or end with, the element `number`."""
    found = []
    for way in ways:
        if way.parts[0] == EVERY:
            found.append(way._replace(parts=way.parts[1:], element=(*way.element, number)))
        elif way.parts[0] == number:
            found.append(way._replace(parts=way.parts[1:]))
    return found
