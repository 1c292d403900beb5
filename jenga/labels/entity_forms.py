"""Entities as tools write them: where each begins and ends, its type and its text.

spaCy and Prodigy write ``{"start", "end", "label"}`` or ``[start, end, label]``, doccano ``start_offset``, Label Studio
``"labels": ["PER"]``, pipelines of transformers ``entity_group``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_STARTS, _ENDS = ("start", "start_offset", "begin"), ("end", "end_offset")
_LABELS = ("label", "labels", "entity_group", "entity", "type")


class Entity(NamedTuple):
    """Where an entity begins and ends as the row counts, its type, and its text where the row gives it."""

    start: int
    end: int
    label: str
    said: Any = None


def is_entity(value: Any) -> bool:
    """Whether a part of a cell has the form of an entity, and not of a tag."""
    return isinstance(value, (Mapping, list, tuple))


def entity_of(value: Any) -> Entity | None:
    """Return the entity that a part of a cell is; None where it is none."""
    if isinstance(value, Mapping):
        start, end, label = (_first(value, names) for names in (_STARTS, _ENDS, _LABELS))
        said = value.get("text")
    elif isinstance(value, (list, tuple)) and len(value) == 3:
        (start, end, label), said = value, None
    else:
        return None
    if isinstance(label, list) and len(label) == 1:
        (label,) = label
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        return None
    return Entity(start, end, label.strip(), said)


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)
