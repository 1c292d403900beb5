"""Rows are written as Python's own JSON writer writes them, byte for byte, and what JSON does not have is refused."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import seeds
from hypothesis import given
from hypothesis import strategies as st

from jenga.kernels.json_lines import json_lines, json_lines_reference

# Half a character among them, and all that has an escape.
TEXTS = st.text(st.one_of(st.characters(codec=None), st.sampled_from('"\\\b\f\n\r\t\x00\x1f\x7f\u2028\ud800\udfff')))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(TEXTS, VALUES)))
def test_any_rows_are_written_as_python_writes_them(rows: list[dict[str, Any]]) -> None:
    assert json_lines(rows) == json_lines_reference(rows)


def numbers() -> Iterator[float]:
    draw = random.Random(seeds.derived(0))
    for _ in range(20_000):
        yield struct.unpack("d", draw.randbytes(8))[0]
        yield round(draw.uniform(-1, 1) * 10 ** draw.randint(-8, 18), draw.randint(0, 8))
    for exponent in range(-1074, 1024):
        yield from (2.0**exponent, math.nextafter(2.0**exponent, math.inf))
    for text in ("1e-5", "1e-4", "0.00012", "1e15", "1e16", "123456789012345680", "9007199254740993", "-0.0"):
        yield from (float(text), math.nextafter(float(text), 0.0))


def test_numbers_have_the_digits_of_their_repr() -> None:
    rows = [{"n": number} for number in numbers() if math.isfinite(number)]
    assert len(rows) > 40_000
    for found, wanted in zip(json_lines(rows).splitlines(), json_lines_reference(rows).splitlines(), strict=True):
        assert found == wanted


@pytest.mark.parametrize("write", [json_lines, json_lines_reference])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (math.nan, ValueError), (-math.inf, ValueError), (np.float32(1), TypeError), (np.int64(1), TypeError),
        (b"x", TypeError), ({1, 2}, TypeError), ({(1, 2): 3}, TypeError), (object(), TypeError),
    ],
)  # fmt: skip
def test_what_json_does_not_have_is_refused(write: Any, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        write([{"a": 1}, {"a": [value]}])


def test_what_holds_itself_ends_in_an_error() -> None:
    row: dict[str, Any] = {}
    row["itself"] = [row]
    with pytest.raises(ValueError, match="holds itself"):
        json_lines([row])


def test_no_rows_are_no_bytes() -> None:
    assert json_lines([]) == json_lines_reference([]) == b""
