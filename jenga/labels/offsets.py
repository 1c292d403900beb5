"""Where characters stand when a tool counts UTF-16 units or bytes instead."""

from __future__ import annotations

from collections.abc import Callable

UNITS = {
    "characters": "characters",
    "utf16": "UTF-16 units, as JavaScript, Java and C# do",
    "bytes": "bytes of UTF-8, as Go and Rust do",
}
"""What offsets may count, and its name in messages."""

_WIDTH: dict[str, Callable[[str], int]] = {
    "utf16": lambda character: 2 if character > "\uffff" else 1,
    "bytes": lambda character: len(character.encode()),
}


def character_offsets(text: str, unit: str) -> dict[int, int] | None:
    """Return the character at each offset that `unit` counts and that is between characters, the end included.

    None where both are the same for all of `text`.
    """
    if unit == "characters" or text.isascii() or (unit == "utf16" and max(text) <= "\uffff"):
        return None
    width = _WIDTH[unit]
    offsets, at = {0: 0}, 0
    for number, character in enumerate(text, start=1):
        at += width(character)
        offsets[at] = number
    return offsets
