"""Paths into lists, sets of values and fields with several paths: the native reader against the reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jenga.kernels import refinery
from jenga.kernels.refinery import reference
from jenga.kernels.refinery.reference_paths import EVERY, parts_of

MakePlan = Callable[..., bytes]
Agree = Callable[..., refinery.ExtractResult]

KNOWN = ["", "1", "é", "true", "x"]
keys = st.sampled_from(["a", "b", "a.b", "a[0]", "[*]", "b\\", "\\"])
scalars = st.sampled_from([
    "null", "true", "1", "2.5", "-0", "1e400", "1e308", '"x"', '"1"', '"\\u0001"', '"n/a"', '""', '"é"', "NaN"
])  # fmt: skip


def _object(members: list[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{json.dumps(key)}:{value}" for key, value in members) + "}"


values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda each: f"[{' ,'.join(each)}]")
        | st.lists(st.tuples(keys, inner), max_size=3).map(_object)
    ),
    max_leaves=12,
)
rows = st.lists(st.tuples(keys, values), max_size=4).map(_object)
paths = st.lists(
    st.sampled_from([
        "a", "b", "a.b", "b.a", "a[0]", "a[1]", "a[*]", "b[*]", "a\\[0]", "a[*][*]", "a[0][*]", "\\[*]", "b\\\\[0]",
    ]),
    min_size=1, max_size=3,
).map(".".join)  # fmt: skip
kinds = st.sampled_from([
    ("raw", {}), ("categorical", {"encoding": "hash", "n_buckets": 4}), ("categorical", {"values": KNOWN}),
    *[("numeric", {"reduce": how}) for how in ("count", "sum", "mean", "min", "max")],
])  # fmt: skip


@st.composite
def fields(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Draw fields of different paths, some with alternatives that hold sets where their own path does."""
    left = draw(st.lists(paths, min_size=1, max_size=6, unique_by=parts_of))
    found = []
    while left:
        own, *left = left
        is_set = EVERY in parts_of(own)
        alike = [path for path in left if (EVERY in parts_of(path)) == is_set]
        others = draw(st.lists(st.sampled_from(alike), max_size=2, unique=True)) if alike else []
        left = [path for path in left if path not in others]
        kind, options = draw(kinds)
        required = draw(st.sampled_from([False, False, False, True]))
        found.append((own, kind, {**options, "alternatives": others, "required": required, "indicator": True}))
    return found


@settings(max_examples=400, deadline=None)
@given(fields(), st.lists(rows, min_size=1, max_size=4), st.sampled_from(["last", "quarantine"]))
def test_native_reads_paths_as_the_reference_does(
    make_plan: MakePlan, agree: Agree, fields: list[tuple[Any, ...]], rows: list[str], duplicates: str
) -> None:
    plan = make_plan(*fields, duplicates=duplicates, nan="missing", missing=["n/a"])
    written = [row.encode() for row in rows]
    agree(written, plan)
    for row in written:
        assert refinery.locate(row, plan) == reference.locate(row, plan)


def test_a_short_number_is_a_value_and_a_list_of_one(make_plan: MakePlan, agree: Agree) -> None:
    plan = make_plan(("a", "numeric"), ("a[0]", "raw"), ("a[*]", "numeric", {"reduce": "sum"}))
    raw = agree([b'{"a":7}', b'{"a":8 }'], plan)
    assert raw.numbers.tolist() == [[7.0, 7.0], [8.0, 8.0]]
    assert bytes(raw.text.tolist()) == b"78"


def _values(raw: refinery.ExtractResult, slot: int, n_texts: int) -> bytes:
    offsets = raw.text_offsets
    return bytes(raw.text[offsets[slot] : offsets[slot + 1]].tolist())


@pytest.mark.parametrize(
    ("path", "row", "text"),
    [
        ("a[0]", {"a": ["x", "y"]}, b"x"),
        ("a[1]", {"a": ["x", "y"]}, b"y"),
        ("a[0]", {"a": "x"}, b"x"),
        ("a[1]", {"a": "x"}, None),
        ("a[2]", {"a": ["x", "y"]}, None),
        ("dns.queries[0].rrname", {"dns": {"queries": [{"rrname": "x.org"}]}}, b"x.org"),
        ("dns.queries[0].rrname", {"dns.queries": [{"rrname": "x.org"}]}, b"x.org"),
        ("dns.queries[*].rrname", {"dns": {"queries": [{"rrname": "z"}, {"rrname": "y"}, {}]}}, b"y\xffz\xff"),
        ("a[*]", {"a": ["y", "x", "y", None]}, b"x\xffy\xff"),
        ("a[*]", {"a": "x"}, b"x\xff"),
        ("a[*]", {"a": []}, b""),
        ("a[*]", {"a": [""]}, b"\xff"),
        ("a[*]", {"a": None}, None),
        ("a[*]", {}, None),
        ("a[*]", {"a": [{}]}, None),
        ("a[*][*]", {"a": [["x"], ["y", "z"], "w"]}, b"w\xffx\xffy\xffz\xff"),
        ("a\\[0]", {"a[0]": "key", "a": ["element"]}, b"key"),
        ("a\\\\[0]", {"a\\[0]": "key", "a\\": ["element"]}, b"element"),
        ("[0]", {"[0]": "key"}, b"key"),
        ("a[0]b", {"a[0]b": "key"}, b"key"),
        ("a[x]", {"a[x]": "key"}, b"key"),
        ("a[x][0]", {"a[x]": ["element"]}, b"element"),
        ("a[0]\\[1]", {"a[0][1]": "key"}, b"key"),
        ("a\\[0][1]", {"a[0]": ["x", "element"]}, b"element"),
    ],
)
def test_a_path_leads_to_elements_sets_and_keys_with_brackets(
    make_plan: MakePlan, agree: Agree, path: str, row: dict[str, Any], text: bytes | None
) -> None:
    raw = agree([json.dumps(row).encode()], make_plan((path, "categorical", {"values": ["x"]})))
    assert (int(raw.states[0, 0]) == 0) == (text is not None)
    assert _values(raw, 0, 1) == (text or b"")


@pytest.mark.parametrize(
    ("how", "elements", "number"),
    [
        ("count", "[1, 2, \"x\", {}, null]", 4.0), ("count", "[]", 0.0), ("count", "[null]", None),
        ("sum", "[1, \"2\", 4]", 7.0), ("sum", "[]", 0.0), ("sum", "[1e308, 1e308]", None),
        ("mean", "[1, 2]", 1.5), ("mean", "[]", None), ("min", "[3, -1, 2]", -1.0), ("max", "[3, -1, \"x\"]", 3.0),
    ],
)  # fmt: skip
def test_numbers_of_a_list_become_one(
    make_plan: MakePlan, agree: Agree, how: str, elements: str, number: float | None
) -> None:
    raw = agree([b'{"a":' + elements.encode() + b"}"], make_plan(("a[*]", "numeric", {"reduce": how})))
    assert raw.numbers[0].tolist() == ([number] if number is not None else pytest.approx([float("nan")], nan_ok=True))


def test_the_first_path_that_has_a_value_wins_wherever_it_stands(make_plan: MakePlan, agree: Agree) -> None:
    plan = make_plan(("a", "numeric", {"alternatives": ["b", "c.d"]}), duplicates="quarantine")
    rows = [
        b'{"b":2,"a":1}',
        b'{"c":{"d":3},"a":null}',
        b'{"b":"x","c.d":3}',
        b'{"b":"x"}',
        b'{"a":"-","b":1e999}',
        b"{}",
    ]
    raw = agree(rows, plan)
    assert raw.numbers[:3, 0].tolist() == [1.0, 3.0, 3.0]
    assert raw.states[:, 0].tolist() == [0, 0, 0, 3, 3, 1]


def test_elements_that_give_a_key_twice_do_not_touch_each_other(make_plan: MakePlan, agree: Agree) -> None:
    row = b'{"a":[{"b":"x"},{"b":"y","b":"z"},{"c":["p"],"c":["q"]}]}'
    raw = agree([row], make_plan(("a[*].b", "categorical", {"values": []}), ("a[*].c[*]", "raw")))
    assert bytes(raw.text.tolist()) == b'x\xffz\xff["q"]'
    assert raw.counters[:, 7].tolist() == [1, 1]


def test_a_set_is_encoded_as_many_hot_columns(
    make_plan: MakePlan, as_tensor: Callable[[bytes], Tensor], agree: Agree
) -> None:
    plan = make_plan(("a[*]", "categorical", {"values": ["x", "y"]}))
    rows = [b'{"a":["y","x"]}', b'{"a":["y"]}', b'{"a":["y","new"]}', b'{"a":[]}', b'{"a":["y"]}', b"{}"]
    agree(rows, plan)
    data = b"".join(rows)
    ends = [sum(map(len, rows[: at + 1])) for at in range(len(rows))]
    offsets = [[end - len(row), end] for row, end in zip(rows, ends, strict=True)]
    import torch

    found = refinery.refine(as_tensor(data), torch.tensor(offsets), as_tensor(plan))
    assert found.features.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert found.states[:, 0].tolist() == [0, 0, 5, 0, 0, 1]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (("a[*]", "text"), "leads to many values"),
        (("a[*]", "ip"), "leads to many values"),
        (("a[*]", "categorical", {"encoding": "frequency"}), "leads to many values"),
        (("a[*]", "numeric", {"reduce": "median"}), "unknown 'median'"),
        (("a[0].", "raw"), "names no key behind its brackets"),
        (("a[*]" + "[0]" * 8, "raw"), "more than 8 brackets"),
        (("a[0]", "raw", {"alternatives": ["b[*]"]}), "must both have"),
        (("a[0]", "raw", {"alternatives": ["a[0]"]}), "given twice"),
    ],
)
def test_a_plan_with_a_path_that_cannot_be_is_refused(
    make_plan: MakePlan, as_tensor: Callable[[bytes], Tensor], field: tuple[Any, ...], words: str
) -> None:
    import torch

    with pytest.raises(ValueError, match=words):
        refinery.extract(as_tensor(b""), torch.empty((0, 2), dtype=torch.int64), as_tensor(make_plan(field)))
