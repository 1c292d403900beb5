"""JSON schemas of answers: what programs that ask a served model are told of what they get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = dict[str, Any]
"""A JSON schema (2020-12)."""

ANYTHING: Shape = {}
TEXT: Shape = {"type": "string"}
NUMBER: Shape = {"type": "number"}
TRUTH: Shape = {"type": "boolean"}
SHARE: Shape = {"type": "number", "minimum": 0, "maximum": 1}


def one_of(names: tuple[str, ...]) -> Shape:
    """Return the schema of a text that is one of `names`."""
    return {"type": "string", "enum": list(dict.fromkeys(names))}


def list_of(item: Shape) -> Shape:
    """Return the schema of a list."""
    return {"type": "array", "items": item}


def record(always: Mapping[str, Shape], sometimes: Mapping[str, Shape] | None = None) -> Shape:
    """Return the schema of an object that has no other keys than these."""
    found: Shape = {"type": "object", "properties": {**always, **(sometimes or {})}, "additionalProperties": False}
    return found | {"required": list(always)} if always else found
