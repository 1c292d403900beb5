from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jenga.refinery.result import COUNTS, Counters, RawColumns
from jenga.refinery.schema import read_schema


def test_counters_have_names_and_add_up() -> None:
    counts = np.arange(16).reshape(2, 8)
    counters = Counters(("a", "b"), counts) + Counters(("a", "b"), counts)
    assert counters["b"] == dict(zip(COUNTS, range(16, 32, 2), strict=True))
    assert list(counters.to_dict()) == ["a", "b"]
    assert Counters.zero(["a"]).counts.sum() == 0
    with pytest.raises(KeyError):
        counters["c"]


def test_raw_columns_give_each_field_its_own_values(raw_block: Callable[..., Any]) -> None:
    fields = [
        {"path": "s", "kind": "text"}, {"path": "n", "kind": "numeric"}, {"path": "c", "kind": "categorical"},
        {"path": "p", "kind": "port"},
    ]  # fmt: skip
    rows = [{"s": "é", "n": 1.5, "c": 7, "p": 80}, {"s": "", "p": 99_999}, {"n": None, "c": "x", "p": "22"}]
    block = raw_block(read_schema({"fields": fields}), rows)
    paths, kinds = ("s", "n", "c", "p"), ("text", "numeric", "categorical", "port")
    raw = RawColumns(paths, kinds, block, Counters.zero(paths), np.array([1, 2, 3]))
    assert len(raw) == 3
    assert raw.values("s") == ["é".encode(), b"", None]
    assert raw.values("n") == [1.5, None, None]
    assert raw.values("c") == [b"7", None, b"x"]
    assert raw.values("p") == [80.0, None, 22.0]
    with pytest.raises(KeyError):
        raw.values("q")
