"""Rows in bulk: every bad one is found and harms no other; threads, cuts and places in memory change no byte."""

from __future__ import annotations

import datetime
import itertools
import json
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import seeds
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jenga.kernels import refinery
from jenga.kernels.refinery import reference
from jenga.kernels.refinery.reference import Code

Join = Callable[[Sequence[bytes]], tuple[bytes, np.ndarray]]

FIELDS = (
    ("ts", "timestamp", {"offset": 1.0, "scale": 0.5, "indicator": True}),
    ("n", "numeric", {"log1p": True, "scale": 0.5, "indicator": True}),
    ("id.h", "ip", {"prefix_bits": 8, "indicator": True}),
    ("c", "categorical", {"values": ["dns", "http"]}),
    ("q", "text", {"n_buckets": 8, "indicator": True}),
    ("end", "timestamp", {"unit": "s", "indicator": True}),
)

NO_FIELDS = b'{"fields":[],"nan":"quarantine","duplicates":"last"}'

BAD_ROWS = {
    b'{"n":1,"q":"a\xff"}': Code.INVALID_UTF8,
    b'{"n":1,"q":"\xed\xa0\x80"}': Code.INVALID_UTF8,
    b'{"n":1,"q":"a\tb"}': Code.CONTROL_CHARACTER,
    b'{"n":1,"q":"abc}': Code.UNCLOSED_STRING,
    b'{"n":1,"q":"abc\\"}': Code.UNCLOSED_STRING,
    b'{"n":1,"id":{"h":"::1"}': Code.TRUNCATED,
    b'{"n":1,"other":[1,2': Code.TRUNCATED,
    b'[{"n":1}]': Code.NOT_AN_OBJECT,
    b'"n"': Code.NOT_AN_OBJECT,
    b'{"n":1,}': Code.SYNTAX,
    b'{"n" 1}': Code.SYNTAX,
    b'{"n":1 "q":"x"}': Code.SYNTAX,
    b'{"n":01}': Code.BAD_NUMBER,
    b'{"other":[1.]}': Code.BAD_NUMBER,
    b'{"n":True}': Code.BAD_LITERAL,
    b'{"q":"\\x41"}': Code.BAD_ESCAPE,
    b'{"other":{"deep":"\\ud800"}}': Code.LONE_SURROGATE,
    b'{"n":NaN}': Code.NAN_TOKEN,
    b'{"other":' + b"[" * 64 + b"]" * 64 + b"}": Code.TOO_DEEP,
    b'{"n":1}{"n":2}': Code.TRAILING_BYTES,
    b'{"n":1,"n":2}': Code.DUPLICATE_KEY,
    b'{"id":{"h":"::1"},"id.h":"::2"}': Code.DUPLICATE_KEY,
}


def good_rows(count: int, seed: int = 0) -> list[bytes]:
    chance = random.Random(seeds.derived(seed))
    rows: list[dict[str, Any]] = []
    for i in range(count):
        row: dict[str, Any] = {
            "ts": 1704175260 + i + chance.random(), "n": chance.choice([0, 1, 2.5, 1e6, None, "7"]),
            "c": chance.choice(["dns", "http", "ssh"]), "other": [1, {"deep": chance.choice(["", 'a"\\b', "é"])}],
            "q": chance.choice(["www.example.com", "a", "", "\u4e2d\u6587 \"x\"", "\\\\", "x" * chance.randint(1, 90)]),
            "id": {"h": f"10.{chance.randrange(256)}.0.1"}, "end": chance.choice(["2024-01-02T03:04:05.5Z", None]),
        }  # fmt: skip
        if chance.random() < 0.2:
            row["id.h"] = row.pop("id")["h"]
        rows.append(dict(chance.sample(sorted(row.items()), k=len(row))))
    return [json.dumps(row, ensure_ascii=chance.random() < 0.5).encode() for row in rows]


@pytest.fixture(scope="module")
def plan(make_plan: Callable[..., bytes], as_tensor: Callable[[bytes], Tensor]) -> Tensor:
    return as_tensor(make_plan(*FIELDS, duplicates="quarantine"))


@pytest.fixture(scope="module")
def refine(join_rows: Join, as_tensor: Callable[[bytes], Tensor], plan: Tensor) -> Callable[..., refinery.RefineResult]:
    def run(rows: Sequence[bytes], **options: Any) -> refinery.RefineResult:
        data, offsets = join_rows(rows)
        return refinery.refine(as_tensor(data), torch.from_numpy(offsets), plan, **options)

    return run


def assert_identical(left: refinery.RefineResult, right: refinery.RefineResult) -> None:
    for name, one, other in zip(left._fields, left, right, strict=True):
        assert one.shape == other.shape, name
        assert one.numpy().tobytes() == other.numpy().tobytes(), name


# ------------------------------------------------------------------------------------------------------------ bad rows


def test_three_thousand_bad_rows_are_all_found_and_harm_no_good_one(
    refine: Callable[..., refinery.RefineResult], join_rows: Join, plan: Tensor
) -> None:
    chance = random.Random(seeds.derived(5))
    kinds = list(BAD_ROWS)
    good = good_rows(6000)
    marked = [(row, 0) for row in good] + [(kinds[i % len(kinds)], 1) for i in range(3000)]
    chance.shuffle(marked)
    order = iter(good)
    rows = [row if bad else next(order) for row, bad in marked]
    expected = [(i, BAD_ROWS[row].value) for i, (row, (_, bad)) in enumerate(zip(rows, marked, strict=True)) if bad]
    result = refine(rows, n_threads=2)
    assert [(row, code) for row, code, _ in result.quarantine.tolist()] == expected
    alone = refine(good)
    assert len(alone.quarantine) == 0
    for name in ("features", "states", "counters", "last"):
        assert getattr(result, name).numpy().tobytes() == getattr(alone, name).numpy().tobytes(), name
    data, offsets = join_rows(rows)
    plan_bytes = plan.numpy().tobytes()
    for row, code, position in result.quarantine[:200].tolist():
        begin, end = offsets[row]
        located = refinery.locate(data[begin:end], plan_bytes)
        assert located[:2] == (code, position - begin)
        assert located == reference.locate(data[begin:end], plan_bytes)


def test_every_kind_of_bad_row_is_covered() -> None:
    line_or_array_only = {Code.ROW_TOO_LONG, Code.ARRAY_STRUCTURE, Code.MISSING_FIELD}
    assert set(BAD_ROWS.values()) == set(Code) - line_or_array_only
    assert len(BAD_ROWS) >= 20


def test_a_required_field_that_is_missing_sets_the_row_aside(
    make_plan: Callable[..., bytes], agree: Callable[..., refinery.ExtractResult]
) -> None:
    plan = make_plan(("n", "numeric", {"required": True}), ("id.h", "ip", {"required": True}))
    rows = [b'{"n":1,"id":{"h":"::1"}}', b'{"n":1}', b'{"n":null,"id.h":"::1"}', b'{"n":"x","id.h":"::1"}', b"{}"]
    raw = agree(rows, plan)
    assert raw.quarantine[:, :2].tolist() == [[1, 17], [2, 17], [4, 17]]
    assert refinery.locate(rows[1], plan) == (17, 0, "/id.h")
    assert refinery.locate(rows[2], plan) == (17, 0, "/n")


# ----------------------------------------------------------------------------------------------- threads, cuts, memory


@pytest.mark.parametrize("n_threads", [2, 3, 4])
def test_threads_change_no_byte(refine: Callable[..., refinery.RefineResult], n_threads: int) -> None:
    rows = good_rows(3000, seed=1)
    rows[100::37] = [b"{"] * len(rows[100::37])
    assert_identical(refine(rows), refine(rows, n_threads=n_threads))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=6), st.integers(1, 4))
def test_cuts_into_calls_change_no_byte(
    refine: Callable[..., refinery.RefineResult], cuts: list[int], n_threads: int
) -> None:
    rows = good_rows(400, seed=2)
    rows[7::31] = [b'{"n":1,"n":2}'] * len(rows[7::31])
    whole = refine(rows, n_threads=n_threads)
    edges = [0, *sorted(cuts), len(rows)]
    previous = torch.full_like(whole.last, float("nan"))
    parts = []
    for begin, end in itertools.pairwise(edges):
        parts.append(refine(rows[begin:end], previous=previous, n_threads=n_threads))
        previous = parts[-1].last
    joined = torch.cat([part.features for part in parts])
    assert joined.numpy().tobytes() == whole.features.numpy().tobytes()
    assert torch.equal(torch.cat([part.states for part in parts]), whole.states)
    assert torch.equal(sum((part.counters for part in parts), torch.zeros_like(whole.counters)), whole.counters)
    assert torch.equal(previous, whole.last)


@pytest.mark.parametrize("shift", [1, 2, 3, 7, 8, 15, 31, 33, 63])
def test_where_a_buffer_begins_changes_no_byte(
    refine: Callable[..., refinery.RefineResult], join_rows: Join, as_tensor: Callable[[bytes], Tensor],
    plan: Tensor, shift: int,
) -> None:  # fmt: skip
    rows = good_rows(300, seed=3)
    data, offsets = join_rows(rows)
    around = as_tensor(b'"' * shift + data + b"\\" * 5)
    inside = around[shift : shift + len(data)]
    assert_identical(refine(rows), refinery.refine(inside, torch.from_numpy(offsets), plan))
    assert_identical(refine(rows), refinery.refine(around, torch.from_numpy(offsets + shift), plan))


PAGE_END = """
    import json, mmap, os, sys, tempfile
    import numpy as np, torch
    from jenga.kernels import refinery

    page = mmap.PAGESIZE
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * page)
        memory = mmap.mmap(file.fileno(), 2 * page)
        # Whoever reads the second page from now on is killed.
        os.ftruncate(file.fileno(), page)
    if sys.argv[1] == "touch":
        memory[page]
    plan = torch.frombuffer(bytearray(sys.argv[1].encode()), dtype=torch.uint8)
    pages = torch.frombuffer(memory, dtype=torch.uint8)
    row = b'{"n":12345,"c":"dns","id":{"h":"10.0.0.1"},"q":"abc\\\\u00e9","end":"2024-01-02T03:04:05Z","x":true}'
    ends = [b"", b'{"n":1', b'{"q":"abc', b'{"q":"\\\\u00', b'{"q":tru', b'{"id":{', b"[", b"{}", b"\\xc3"]
    for size in range(len(row) + 1):
        ends.append(row[:size])
    for end in ends:
        for rows in ([end], [row, end], [row] * 9 + [end]):
            data = b"\\n".join(rows)
            stops = np.cumsum([len(each) + 1 for each in rows]) - 1
            offsets = np.stack([stops - [len(each) for each in rows], stops], axis=1)
            memory[page - len(data) : page] = data
            offsets = torch.from_numpy(offsets)
            elsewhere = torch.frombuffer(bytearray(data + b" "), dtype=torch.uint8)[: len(data)]
            at_the_end = refinery.refine(pages[page - len(data) : page], offsets, plan)
            anywhere = refinery.refine(elsewhere, offsets, plan)
            for left, right in zip(at_the_end, anywhere):
                assert left.numpy().tobytes() == right.numpy().tobytes(), end
            for form in ("lines", "array"):
                refinery.split_rows(pages[page - len(data) : page], form=form, final=False)
    print("read", len(ends))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a mapping past its file's end is fatal on Linux only")
def test_no_byte_behind_a_buffer_is_read(plan: Tensor) -> None:
    def run(argument: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", textwrap.dedent(PAGE_END), argument]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("touch").returncode < 0, "the guard kills who reads it"
    done = run(plan.numpy().tobytes().decode())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("read 1")


# ------------------------------------------------------------------------------------------------ splitting and packing


PIECES = st.sampled_from(
    [b'{"a":1}', b'{"a":"],[\\"\\\\"}', b"[1,{}]", b'""', b"7", b"\n", b"\r\n", b" ", b"\t", b",", b"[", b"]", b"{",
     b"}", b'"', b"\\", b'"x,"', b"\xef\xbb\xbf", b"\x00", b"\x0b", b"nul"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(PIECES, max_size=12).map(b"".join), st.sampled_from(["lines", "array"]), st.booleans(), st.booleans(),
    st.sampled_from([3, 9, 1 << 20]),
)  # fmt: skip
def test_rows_are_split_as_in_the_reference(
    as_tensor: Callable[[bytes], Tensor], data: bytes, form: Any, final: bool, opened: bool, max_row_bytes: int
) -> None:
    options = {"form": form, "final": final, "opened": opened, "max_row_bytes": max_row_bytes}
    native, truth = refinery.split_rows(as_tensor(data), **options), reference.split_rows(data, **options)
    assert native.row_offsets.tolist() == truth.row_offsets.tolist()
    assert native.too_long.tolist() == truth.too_long.tolist()
    assert native[2:] == truth[2:]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(2, 4), st.booleans(), st.sampled_from([b"", b"\n", b" \r\n\n"]),
    st.sampled_from([20, 600, 1 << 22]),
)  # fmt: skip
def test_lines_found_by_several_threads_are_those_found_by_one(
    as_tensor: Callable[[bytes], Tensor], seed: int, n_threads: int, final: bool, end: bytes, max_row_bytes: int
) -> None:
    """Lines of up to 2.5 MiB: parts of 1 MiB end in the midst of them, and some have no line break at all."""
    rng = np.random.default_rng(seed)
    lines = []
    for size, kind in zip(rng.geometric(1 / rng.choice([300, 900]), 9000).tolist(), rng.random(9000), strict=True):
        lines.append(b"" if kind < 0.03 else b" \t\r" if kind < 0.06 else b" " * int(kind < 0.1) + b"x" * size)
    lines.insert(int(rng.integers(len(lines))), b"y" * int(rng.integers(5 << 19)))
    data = as_tensor(b"\r\n".join(lines[:4500]) + b"\n" + b"\n".join(lines[4500:]) + end)
    assert len(data) > 2 << 20
    one = refinery.split_rows(data, final=final, max_row_bytes=max_row_bytes)
    several = refinery.split_rows(data, final=final, max_row_bytes=max_row_bytes, n_threads=n_threads)
    assert torch.equal(several.row_offsets, one.row_offsets)
    assert torch.equal(several.too_long, one.too_long)
    assert several[2:] == one[2:]


def test_a_stream_cut_anywhere_gives_the_same_lines(as_tensor: Callable[[bytes], Tensor]) -> None:
    rows = good_rows(40, seed=4)
    data = b"\r\n".join(rows[:20]) + b"\n\n \n" + b"\n".join(rows[20:])
    for step in (1, 7, 64, 1000, len(data)):
        found, buffer, n_blank = [], b"", 0
        for start in range(0, len(data), step):
            buffer += data[start : start + step]
            result = refinery.split_rows(as_tensor(buffer), final=start + step >= len(data))
            found += [buffer[begin:end] for begin, end in result.row_offsets.tolist()]
            buffer, n_blank = buffer[result.consumed :], n_blank + result.n_blank
        assert found == rows
        assert (buffer, n_blank) == (b"", 2)


def test_objects_are_packed_as_json_says_them() -> None:
    rows: list[Any] = [
        {"a": 1, "b": [None, True, 1.5, {"c": "é\n\"\\"}], "": {}}, {"big": 2**70, "tiny": 5e-324, "negative": -0.0},
        {"numpy": np.float32(0.5), "int": np.int64(7), "flag": np.bool_(True)}, '{"text": 1}', b' {"bytes": 2} ', {},
    ]  # fmt: skip
    data, offsets = refinery.pack_rows(rows)
    texts = [data[begin:end].numpy().tobytes() for begin, end in offsets.tolist()]
    expected = [*rows[:2], {"numpy": 0.5, "int": 7, "flag": True}, {"text": 1}, {"bytes": 2}, {}]
    assert [json.loads(text) for text in texts] == expected
    assert all(
        reference.locate(text, b'{"fields":[],"nan":"quarantine","duplicates":"last"}')[0] == 0 for text in texts
    )


def test_what_json_has_no_form_for_is_packed_so_that_the_refinery_sees_it() -> None:
    when = datetime.datetime(2024, 1, 2, 3, 4, 5, 600000, tzinfo=datetime.UTC)
    data, offsets = refinery.pack_rows([{"x": float("nan")}, {"x": "\ud800"}, {"x": when}, {"x": float("-inf")}])
    texts = [data[begin:end].numpy().tobytes().replace(b" ", b"") for begin, end in offsets.tolist()]
    assert texts[0] == b'{"x":NaN}'
    assert texts[1].lower() == b'{"x":"\\ud800"}'
    assert datetime.datetime.fromisoformat(json.loads(texts[2])["x"]) == when
    assert texts[3] == b'{"x":-Infinity}'
    with pytest.raises(TypeError, match="object"):
        refinery.pack_rows([{}, {"x": object()}])
