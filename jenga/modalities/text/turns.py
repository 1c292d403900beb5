"""Turns of a conversation as one text, with their speakers in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_TEXTS = ("text", "content", "value", "utterance", "message")
_SPEAKERS = ("speaker", "role", "from", "name", "channel")
"""What tools call the text of a turn, and who speaks."""


def turns_of(value: Any) -> list[Mapping[str, Any]] | None:
    """Return the turns that a cell holds, as a list or as JSON in a table; None where it holds none."""
    if isinstance(value, str) and value.lstrip()[:1] == "[" and value.lstrip()[1:].lstrip()[:1] == "{":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or not value or not all(isinstance(each, Mapping) for each in value):
        return None
    return value if all(_first(each, _TEXTS) is not None for each in value) else None


def written(turns: Sequence[Mapping[str, Any]]) -> str:
    """Return turns as lines of ``speaker: text``; those without a text are left out."""
    lines = []
    for turn in turns:
        text, speaker = _first(turn, _TEXTS), _first(turn, _SPEAKERS)
        if text and text.strip():
            lines.append(f"{speaker.strip()}: {text}" if speaker and speaker.strip() else text)
    return "\n".join(lines)


def _first(turn: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((turn[name] for name in names if isinstance(turn.get(name), str)), None)
