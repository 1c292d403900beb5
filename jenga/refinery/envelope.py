"""Rows in a list inside one JSON object, as services hand them out: {"Records": [...]}, {"hits": {"hits": [...]}}."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.errors import DataError, printable
from jenga.refinery.packed import PackedRows
from jenga.refinery.paths import parts_of, values_in

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
    return None if found is None else _packed(found)


def rows_at(data: NDArray[np.uint8], records: str, file: str) -> PackedRows:
    """Return the rows of the list at the path `records` of the object in `data`, which is whole.

    Raises DataError where `data` is no JSON or has no list there.
    """
    return _packed(list_at(data.tobytes(), records, file))


def list_at(content: bytes | str, records: str, file: str) -> list[Any]:
    """Return the list at the path `records` of a JSON object, or a document that is a list itself.

    Raises DataError where there is none.
    """
    place = f"{file}: " if file else ""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place}is no single JSON object ({error}), in which records ('{records}') could name the list of rows"
        ) from None
    found = [document] if isinstance(document, list) else values_in(document, parts_of(records))
    lists = [each for each in found if isinstance(each, list)]
    if len(lists) != len(found) or not found:
        keys = printable(", ".join(map(str, document))) if isinstance(document, Mapping) else "no keys"
        raise DataError(f"{place}records: there is no list at '{records}'; the document has {keys}")
    return [_inner(row) for each in lists for row in each]


def _packed(rows: list[Any]) -> PackedRows:
    from jenga.kernels.refinery import pack_rows

    packed, offsets = pack_rows([json.dumps(row, ensure_ascii=False) for row in rows])
    return PackedRows(packed.numpy(), offsets.numpy())


def _inner(row: Any) -> Any:
    """Return what Elasticsearch wraps once more, beside its index and its score."""
    return row[_ROW] if isinstance(row, Mapping) and isinstance(row.get(_ROW), Mapping) else row


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
            return [_inner(row) for row in value]
    return None
