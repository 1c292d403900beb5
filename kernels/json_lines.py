"""Python objects as JSON Lines."""

import importlib
import json
from typing import Any

from ._native import CPU

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    """Return each of `rows` as a line of JSON in UTF-8; half a character (a lone surrogate) becomes its JSON escape.

    Raises TypeError for a key that is no text and a value that JSON does not have, ValueError for NaN, an infinity, and
    what is nested deeper than 1000 levels.
    """
    if CPU.implementation == "native":
        written: bytes = importlib.import_module("jenga._C").json_lines(rows)
        return written
    return json_lines_reference(rows)


def json_lines_reference(rows: list[dict[str, Any]]) -> bytes:
    """Return the same by Python's own writer, line by line."""
    return "".join(f"{_ENCODER.encode(row)}\n" for row in rows).encode("utf-8", "backslashreplace")
