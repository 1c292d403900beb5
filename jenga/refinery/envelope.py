"""Rows in a list inside one JSON object, as services hand them out: {"Records": [...]}, {"hits": {"hits": [...]}}."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.refinery.packed import PackedRows

ENVELOPE_BYTES = 256 << 20
"""A larger object is no envelope: it is parsed at once."""
LISTS = ("Records", "records", "Events", "events", "value", "logs", "hits.hits")
"""Where the list of rows may stand: CloudTrail's files and its look-ups, Azure's answers, Elasticsearch's."""
_MOST_KEYS = 5
"""Keys of an envelope, the list's own among them; an event has more."""
_NAMES = [json.dumps(name.partition(".")[0]).encode() for name in LISTS]
_HEAD_BYTES = 500
_ROW = "_source"


def may_be_envelope(content: bytes) -> bool:
    """Whether bytes that begin with an object name one of `LISTS` near their begin, and no object ends their line."""
    head = content[:_HEAD_BYTES]
    if not any(name in head for name in _NAMES):
        return False
    first, line_break, rest = content.partition(b"\n")
    return not (line_break and rest.strip() and _is_object(first))


def wrapped_rows(data: NDArray[np.uint8]) -> PackedRows | None:
    """Return the rows in `data`, which is whole, where it is one object around a list of them; else None."""
    content = data.tobytes()
    if not may_be_envelope(content):
        return None
    try:
        found = _list_in(json.loads(content))
    except (ValueError, RecursionError):
        return None
    if found is None:
        return None
    from jenga.kernels.refinery import pack_rows

    packed, offsets = pack_rows([json.dumps(row, ensure_ascii=False) for row in found])
    return PackedRows(packed.numpy(), offsets.numpy())


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _list_in(document: Any) -> list[Any] | None:
    if not isinstance(document, Mapping) or len(document) > _MOST_KEYS:
        return None
    for path in LISTS:
        value: Any = document
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            # Elasticsearch wraps each row once more, beside its index and its score.
            return [row[_ROW] if isinstance(row.get(_ROW), Mapping) else row for row in value]
    return None
