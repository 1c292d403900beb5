"""Rows of lines and arrays are the same whatever the size of the windows."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jenga.refinery.cutting import window_chunks
from jenga.refinery.streams import memory_windows

SIZES = [1, 2, 3, 7, 16, 64, 10_000]
LIMIT = 60
pytestmark = pytest.mark.filterwarnings("ignore:f. the array is not closed")


def cut(content: bytes, size: int, limit: int = LIMIT) -> dict[str, Any]:
    """Cut `content` and gather rows as (number, offset, bytes), refused ones as (number, offset, code), and blanks."""
    rows, refused, blank = [], [], 0
    for chunk in window_chunks(memory_windows(content), "f", size, limit):
        assert chunk.byte_offset is not None
        numbers = chunk.numbers.tolist()
        begins = (chunk.row_offsets[:, 0] + chunk.byte_offset).tolist()
        rows += [(number, begin, chunk.row(at)) for at, (number, begin) in enumerate(zip(numbers, begins, strict=True))]
        refused += [(each.number, each.byte_offset, each.code) for each in chunk.refused]
        for each in chunk.refused:
            assert content[each.byte_offset :].startswith(each.head[:1])
        blank += chunk.n_blank
    return {"rows": rows, "refused": refused, "blank": blank}


def texts(found: dict[str, Any]) -> list[bytes]:
    return [row for _, _, row in found["rows"]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_keep_number_and_offset_across_blanks_breaks_and_marks(size: int, bom: bytes, end: bytes) -> None:
    content = bom + end.join([b'{"a": 1}', b"", b"  ", b'  {"b": 2} ', b"nonsense", b'{"c": 3}'])
    found = cut(content, size)
    assert [(number, row) for number, _, row in found["rows"]] == [
        (1, b'{"a": 1}'), (4, b'{"b": 2}'), (5, b"nonsense"), (6, b'{"c": 3}'),
    ]  # fmt: skip
    assert all(content[offset:].startswith(row) for _, offset, row in found["rows"])
    assert (found["blank"], found["refused"]) == (2, [])


@pytest.mark.parametrize("size", SIZES)
def test_array_elements_are_numbered_and_whole(size: int) -> None:
    elements = [b'{"a": "],[\\"}{"}', b'{"b": [1, {"c": []}]}', b"7", b"[]", b'{"d": 2}']
    content = b"\xef\xbb\xbf\n [" + b" ,\n".join(elements) + b" ]\n"
    found = cut(content, size)
    assert [(number, row) for number, _, row in found["rows"]] == list(enumerate(elements, start=1))
    assert all(content[offset:].startswith(row) for _, offset, row in found["rows"])
    assert (found["blank"], found["refused"]) == (0, [])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("content", "rows", "broken_at"),
    [
        (b"[]", 0, None), (b" [ ] ", 0, None), (b"[", 0, 1), (b'[{"a":1}', 1, 8), (b'[{"a":1},', 1, 9),
        (b'[{"a":1}, {"b"', 1, 10), (b'[{"a":1}] \n {"b":2}', 1, 12), (b'[{"a":1},,{"b":2}]', 1, 9),
    ],
)  # fmt: skip
def test_broken_arrays_say_where_and_keep_what_came_before(
    size: int, content: bytes, rows: int, broken_at: int | None
) -> None:
    found = cut(content, size)
    assert len(found["rows"]) == rows
    assert found["refused"] == ([] if broken_at is None else [(rows + 1, broken_at, "array_structure")])


@pytest.mark.parametrize("size", SIZES)
def test_row_beyond_the_limit_is_refused_and_the_next_one_read(size: int) -> None:
    long = json.dumps({"x": '"]},{[' * 30, "y": [1, 2]}).encode()
    edge = b'{"z": "' + b"z" * (LIMIT - 9) + b'"}'
    assert len(edge) == LIMIT
    lines = cut(b"\n".join([b'{"a":1}', b"", long, edge, long + b"  ", b'{"b":2}']), size)
    assert texts(lines) == [b'{"a":1}', edge, b'{"b":2}']
    assert [number for number, _, _ in lines["rows"]] == [1, 4, 6]
    assert lines["refused"] == [(3, 9, "row_too_long"), (5, 9 + len(long) + 1 + LIMIT + 1, "row_too_long")]
    array = cut(b"[" + b", ".join([long, b'{"a":1}', long, edge, b'{"b":2}']) + b"]", size)
    assert texts(array) == [b'{"a":1}', edge, b'{"b":2}']
    assert [number for number, _, _ in array["rows"]] == [2, 4, 5]
    assert [(number, code) for number, _, code in array["refused"]] == [(1, "row_too_long"), (3, "row_too_long")]


@pytest.mark.parametrize("content", [b'{"x": "' + b"y" * 500, b'[{"x": "' + b"y" * 500, b"[" + b"[" * 500])
def test_row_that_never_ends_is_one_bad_row(content: bytes) -> None:
    for size in SIZES:
        found = cut(content, size)
        assert found["rows"] == []
        assert len(found["refused"]) >= 1
        assert found["refused"][0][0] == 1


JSON = st.recursive(
    st.none() | st.integers(-99, 99) | st.text('ab"\\[]{},: é\n', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"[]', max_size=2), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(st.dictionaries(st.text("k", max_size=2), JSON, max_size=3), max_size=6), size=st.integers(1, 50))
@example(rows=[{}], size=1)
def test_rows_of_any_json_come_back_from_windows_of_any_size(rows: list[Any], size: int) -> None:
    written = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    assert texts(cut(b"\n".join(written), size, limit=10_000)) == written
    assert texts(cut(b"[" + b",".join(written) + b"]", size, limit=10_000)) == written


@settings(max_examples=150, deadline=None)
@given(content=st.text('[]{}",:\\ \n1a', max_size=60), size=st.integers(1, 30), limit=st.integers(4, 40))
def test_where_windows_end_changes_nothing_of_any_bytes(content: str, size: int, limit: int) -> None:
    assert cut(content.encode(), size, limit) == cut(content.encode(), 10_000, limit)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("content", [b"[", b'[{"a":1}', b'[{"a":1}, ', b'[{"a":1},{"b"', b'[{"a": "' + b"y" * 500])
def test_array_that_ends_too_early_is_warned_of(content: bytes, size: int) -> None:
    with pytest.warns(UserWarning, match=r"^f: the array is not closed; was it cut short\?$"):
        cut(content, size)


@pytest.mark.parametrize("content", [b'[{"a":1} {"b":2}]', b'[{"a":1}]x', b'[{"a":1},]', b"[]", b'{"a":[', b""])
@pytest.mark.filterwarnings("error")
def test_other_mistakes_are_not_told_as_a_cut(content: bytes) -> None:
    for size in SIZES:
        cut(content, size)
