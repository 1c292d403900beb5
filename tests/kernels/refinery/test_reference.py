"""The refinery's Python reference against libraries that others keep: json, ipaddress, datetime and scikit-learn."""

from __future__ import annotations

import ipaddress
import json
import math
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.kernels.refinery import reference
from jenga.kernels.refinery.reference import Code, State

MakePlan = Callable[..., bytes]

NO_FIELDS = b'{"version":2,"validate":"strict","nan":"quarantine","duplicates":"last","n_features":0,"fields":[]}'

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
objects = st.dictionaries(st.text(max_size=5), values, max_size=6)
rows = st.builds(lambda content, ascii: json.dumps(content, ensure_ascii=ascii).encode(), objects, st.booleans())


def accepted_by_json(row: bytes) -> bool:
    """Whether the standard library takes a row, and none of the refinery's own rules forbids it."""

    def refuse(token: str) -> None:
        raise ValueError(token)

    if row[:3] == b"\xef\xbb\xbf":
        return False
    try:
        content = json.loads(row.decode("utf-8"), parse_constant=refuse)
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict)


def one(make_plan: MakePlan, field: tuple[object, ...], value: str) -> tuple[int, np.ndarray]:
    """Return the state and the columns of one JSON value."""
    data = b'{"x":' + value.encode() + b"}"
    result = reference.refine(data, [[0, len(data)]], make_plan(("x", *field)))
    return int(result.states[0, 0]), result.features[0]


# ---------------------------------------------------------------------------------------------------------------- rows


@settings(max_examples=60, deadline=None)
@given(rows)
def test_what_json_writes_is_read(row: bytes) -> None:
    assert reference.locate(row, NO_FIELDS) == (0, -1, "")


@settings(max_examples=400, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_a_damaged_row_is_refused_exactly_where_json_refuses_it(row: bytes, chance: random.Random) -> None:
    damaged = bytearray(row)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(damaged) + 1)
        damaged[at : at + chance.randint(0, 2)] = chance.choice(
            [b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b"\x00", b"\x1f", b"\xff",
             b" ", b"\xed\xa0\x80", b"\\ud800", b"\\u00e9", b"\\x", b"true", b"NaN", b"1e5"]
        )  # fmt: skip
    code, position, _ = reference.locate(bytes(damaged), NO_FIELDS)
    assert (code == 0) == accepted_by_json(bytes(damaged))
    assert code == 0 or 0 <= position <= len(damaged)


@settings(max_examples=60, deadline=None)
@given(rows, st.data())
def test_every_row_that_ends_early_is_truncated_or_lacks_a_quote(row: bytes, data: st.DataObject) -> None:
    row = row.strip()
    cut = row[: data.draw(st.integers(1, len(row) - 1))]
    code, position, _ = reference.locate(cut, NO_FIELDS)
    assert code in (Code.INVALID_UTF8, Code.UNCLOSED_STRING, Code.TRUNCATED)
    assert code != Code.TRUNCATED or position == len(cut.rstrip())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b'{"a":"\xc3("}', (Code.INVALID_UTF8, 6, "/a")),
        (b'{"a":"\xed\xa0\x80"}', (Code.INVALID_UTF8, 6, "/a")),
        (b'{"a":[1,"x\ty"]}', (Code.CONTROL_CHARACTER, 10, "/a/1")),
        (b'{"a":1,"b":"x', (Code.UNCLOSED_STRING, 11, "/b")),
        (b'{"a":"x}', (Code.UNCLOSED_STRING, 5, "/a")),
        (b'{"a":{"b":[1,', (Code.TRUNCATED, 13, "/a/b/1")),
        (b'{"a":tru', (Code.TRUNCATED, 8, "/a")),
        (b'{"a":1.', (Code.TRUNCATED, 7, "/a")),
        (b"[1]", (Code.NOT_AN_OBJECT, 0, "")),
        (b"  7", (Code.NOT_AN_OBJECT, 2, "")),
        (b"", (Code.NOT_AN_OBJECT, 0, "")),
        (b'\xef\xbb\xbf{"a":1}', (Code.NOT_AN_OBJECT, 0, "")),
        (b'{"a":1,}', (Code.SYNTAX, 7, "")),
        (b'{"a" 1}', (Code.SYNTAX, 5, "")),
        (b'{"a":[1 2]}', (Code.SYNTAX, 8, "/a")),
        (b"{'a':1}", (Code.SYNTAX, 1, "")),
        (b'{"a":01}', (Code.BAD_NUMBER, 5, "/a")),
        (b'{"a":+1}', (Code.BAD_NUMBER, 5, "/a")),
        (b'{"a":.5}', (Code.BAD_NUMBER, 5, "/a")),
        (b'{"a":1.e5}', (Code.BAD_NUMBER, 5, "/a")),
        (b'{"a":True}', (Code.BAD_LITERAL, 5, "/a")),
        (b'{"a":[null,nul]}', (Code.BAD_LITERAL, 11, "/a/1")),
        (b'{"a":"\\x41"}', (Code.BAD_ESCAPE, 6, "/a")),
        (b'{"a":"\\u12G4"}', (Code.BAD_ESCAPE, 6, "/a")),
        (b'{"a~/":{"b":"x\\ud800"}}', (Code.LONE_SURROGATE, 14, "/a~0~1/b")),
        (b'{"a":"\\udc00"}', (Code.LONE_SURROGATE, 6, "/a")),
        (b'{"a":"\\ud83d\\u0041"}', (Code.LONE_SURROGATE, 6, "/a")),
        (b'{"a":NaN}', (Code.NAN_TOKEN, 5, "/a")),
        (b'{"a":-Infinity}', (Code.NAN_TOKEN, 5, "/a")),
        (b'{"a":1} x', (Code.TRAILING_BYTES, 8, "")),
        (b'{"a":1}{"a":2}', (Code.TRAILING_BYTES, 7, "")),
    ],
)
def test_an_error_has_code_place_and_pointer(row: bytes, expected: tuple[Code, int, str]) -> None:
    assert reference.locate(row, NO_FIELDS) == expected


def test_byte_errors_come_before_earlier_grammar_errors() -> None:
    assert reference.locate(b'{"a":01,"b":"\x01","c":"\xff"}', NO_FIELDS)[:2] == (Code.INVALID_UTF8, 21)
    assert reference.locate(b'{"a":01,"b":"\x01","c":"', NO_FIELDS)[:2] == (Code.CONTROL_CHARACTER, 13)
    assert reference.locate(b'{"a":01,"c":"', NO_FIELDS)[:2] == (Code.UNCLOSED_STRING, 12)
    assert reference.locate(b'[01,"\xff"]', NO_FIELDS)[:2] == (Code.INVALID_UTF8, 5)


def test_the_sixty_fifth_bracket_is_too_deep() -> None:
    allowed = b'{"a":' + b"[" * 63 + b"]" * 63 + b"}"
    assert reference.locate(allowed, NO_FIELDS) == (0, -1, "")
    code, position, pointer = reference.locate(allowed.replace(b"[]", b"[{}]"), NO_FIELDS)
    assert (code, position, pointer) == (Code.TOO_DEEP, 68, "/a" + "/0" * 63)


def test_repeated_keys_and_missing_fields_follow_the_plan(make_plan: MakePlan) -> None:
    row = b' {"a":1,"id":{"h":2},"id.h":3,"a":null,"a":7}'
    fields = ("a", "numeric"), ("id.h", "numeric"), ("gone", "numeric")
    result = reference.extract(row, [[0, len(row)]], make_plan(*fields))
    assert result.numbers[0, :2].tolist() == [7.0, 3.0]
    assert result.states.tolist() == [[0, 0, 1]]
    assert result.counters[:, 7].tolist() == [2, 1, 0]
    assert reference.locate(row, make_plan(*fields, duplicates="quarantine")) == (14, 21, "/id.h")
    required = make_plan(*fields[:2], ("gone", "numeric", {"required": True}))
    assert reference.locate(row, required) == (17, 1, "/gone")


# -------------------------------------------------------------------------------------------------------------- values


@settings(max_examples=60, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_numbers_are_read_as_python_reads_them(make_plan: MakePlan, number: float) -> None:
    data = json.dumps({"x": number, "y": f" +{abs(number)!r} "}).encode()
    result = reference.extract(data, [[0, len(data)]], make_plan(("x", "numeric"), ("y", "numeric")))
    try:
        expected = float(number)
    except OverflowError:
        assert result.states.tolist() == [[4, 4]]
    else:
        assert result.numbers.tolist() == [[expected, abs(expected)]]
        assert result.counters[:, 6].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("kind", "value", "state"),
    [
        ("numeric", "1e999", 4), ("numeric", '"1e999"', 4), ("numeric", '""', 2), ("numeric", "null", 2),
        ("numeric", '" "', 3), ("numeric", '"abc"', 3), ("numeric", '"1_0"', 3), ("numeric", '"+-1"', 3),
        ("numeric", '"nan"', 3), ("numeric", "[]", 3), ("numeric", "{}", 3), ("numeric", "true", 0),
        ("numeric", "18446744073709551616", 0), ("boolean", '" TRUE "', 0), ("boolean", "1.0", 0), ("boolean", "2", 3),
        ("boolean", '"y"', 3), ("boolean", '""', 2), ("port", "65535", 0), ("port", "65536", 3), ("port", "-1", 3),
        ("port", '"80"', 0), ("port", "80.5", 3), ("port", "true", 3), ("port", "1e999", 3), ("timestamp", "true", 3),
        ("timestamp", '"2024-02-30"', 3), ("timestamp", '"2024-02-29"', 0), ("timestamp", '"-"', 3),
        ("timestamp", "1e999", 4), ("ip", '"::1%lo"', 0), ("ip", '"::1%"', 3), ("ip", '"10.0.0.1%lo"', 3),
        ("ip", "7", 3),
        ("ip", '"010.0.0.1"', 3), ("ip", '""', 2), ("categorical", '""', 5), ("categorical", "[1]", 3),
        ("text", '""', 0), ("text", "{}", 3), ("text", "12.50", 0), ("raw", '{"a":[1]}', 0), ("raw", "null", 2),
    ],
)  # fmt: skip
def test_a_value_has_this_state(make_plan: MakePlan, kind: str, value: str, state: int) -> None:
    assert one(make_plan, (kind,), value)[0] == State(state)


@settings(max_examples=60, deadline=None)
@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-1439, 1439))
def test_iso_dates_are_those_of_datetime(make_plan: MakePlan, when: datetime, minutes: int) -> None:
    aware = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    texts = [aware.isoformat(), aware.isoformat(" "), aware.strftime("%Y-%m-%dT%H:%M:%S.%f%z").zfill(31)]
    rows = [json.dumps({"x": text.rjust(len(text), "0")}).encode() for text in texts]
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    for row in rows:
        result = reference.extract(row, [[0, len(row)]], make_plan(("x", "timestamp")))
        assert result.states.tolist() == [[0]], row
        assert result.numbers[0, 0] == pytest.approx(expected, abs=1e-4)


def test_time_columns_are_hour_weekday_and_the_wait(make_plan: MakePlan) -> None:
    # Tuesday, six in the morning; then a minute later; then a minute before the first, whose wait counts as none.
    data = b'{"t":"2024-01-02T06:00:00Z"}\n{"t":1704175260000}\n{"t":null}\n{"t":"1704175140"}'
    offsets = reference.split_rows(data, form="lines", final=True, max_row_bytes=99).row_offsets
    plan = make_plan(("t", "timestamp", {"offset": 1.0, "scale": 2.0, "indicator": True}))
    result = reference.refine(data, offsets, plan)
    monday = 2 * math.pi / 7
    np.testing.assert_allclose(result.features[0], [1, 0, math.sin(monday), math.cos(monday), 0, 0], atol=1e-6)
    assert result.features[1, 4] == pytest.approx(2 * (math.log1p(60) - 1))
    assert result.features[2].tolist() == [0, 0, 0, 0, 0, 1]
    assert result.features[3, 4] == pytest.approx(-2.0)
    assert result.last.tolist() == [1704175140.0]
    assert result.counters[0].tolist() == [3, 0, 1, 0, 0, 0, 1, 0]
    again = reference.refine(data, offsets[:1], plan, previous=[1704175199.0])
    assert again.features[0, 4] == pytest.approx(2 * (math.log1p(1) - 1))


# ----------------------------------------------------------------------------------------------------------- transforms


@pytest.mark.skipif(sys.version_info >= (3, 11, 10), reason="later tables of ipaddress differ; format 1 froze these")
@settings(max_examples=60, deadline=None)
@given(st.ip_addresses() | st.integers(0, 0xFFFFFFFF).map(lambda low: ipaddress.ip_address("::ffff:0:0") + low))
def test_addresses_have_the_flags_of_ipaddress(
    make_plan: MakePlan, address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    bits = 40
    state, columns = one(make_plan, ("ip", {"prefix_bits": bits}), f'"{address}"')
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    flags = "private", "loopback", "multicast", "link_local", "reserved", "global"
    assert state == 0
    assert columns[:7].tolist() == [address.version == 6, *(getattr(address, f"is_{flag}") for flag in flags)]
    expected = [
        int(address) >> (address.max_prefixlen - 1 - bit) & 1 for bit in range(min(bits, address.max_prefixlen))
    ]
    assert columns[7:].tolist() == expected + [0] * (bits - len(expected))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=8))
def test_murmur3_hashes_as_feature_hasher_does(make_plan: MakePlan, texts: list[str]) -> None:
    from sklearn.feature_extraction import FeatureHasher

    expected = FeatureHasher(23, input_type="string").transform([[text] for text in texts]).toarray()
    plan = make_plan(("x", "categorical", {"encoding": "hash", "n_buckets": 23, "hash": "murmur3"}))
    rows = [json.dumps({"x": text}).encode() for text in texts]
    found = [reference.refine(row, [[0, len(row)]], plan).features[0] for row in rows]
    np.testing.assert_array_equal(found, expected)


def test_the_own_hash_is_frozen() -> None:
    texts = [b"", b"a", b"http", b"12345678", b"123456789", bytes(range(256))]
    assert [f"{reference.hash64(text):016x}" for text in texts] == [
        "4d0a2bbe78b92ab1", "db701d9a2c9401b3", "f72a2698de28db9b", "6ad4fe90ce5be177", "4da08dd9e74730bf",
        "7b1b31aa3c399057",
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.floats(-1e6, 1e6).map(lambda value: round(value, 2)) | st.sampled_from([0.0, 1.0]), min_size=2, max_size=60
    ),
    st.integers(2, 20),
)
def test_quantiles_are_those_of_sklearn(make_plan: MakePlan, training: list[float], n_knots: int) -> None:
    from sklearn.preprocessing import QuantileTransformer

    fitted = QuantileTransformer(n_quantiles=min(n_knots, len(training)), subsample=None)
    column = np.array(training)[:, None]
    fitted.fit(column)
    asked = np.concatenate([column, column + 0.5, [[-2e6], [2e6]]])
    plan = make_plan(
        ("x", "numeric", {"knots": fitted.quantiles_[:, 0].tolist(), "references": fitted.references_.tolist()})
    )
    rows = [json.dumps({"x": value}).encode() for value in asked[:, 0].tolist()]
    found = [reference.refine(row, [[0, len(row)]], plan).features[0, 0] for row in rows]
    # float32 results of values in [0, 1].
    np.testing.assert_allclose(found, fitted.transform(asked)[:, 0], atol=1e-6)


def test_text_columns_are_what_one_counts_by_hand(make_plan: MakePlan) -> None:
    _, columns = one(make_plan, ("text", {"n_buckets": 0}), '"aA1-"')
    np.testing.assert_allclose(columns, [math.log1p(4), 2.0, 0.25, 0.25, 0.25, 0.0], rtol=1e-6)
    _, columns = one(make_plan, ("text", {"n_buckets": 0}), '"\u00e9\u00e9"')
    np.testing.assert_allclose(columns, [math.log1p(4), 1.0, 0, 0, 0, 1.0], rtol=1e-6)
    _, columns = one(make_plan, ("text", {"n_buckets": 8, "ngram": 2, "norm": "none", "signed": False}), '"abAB"')
    assert columns[6:].sum() == 3.0
    assert columns[6 + (reference.hash64(b"ab") % 2**32 * 8 >> 32)] >= 2.0
    _, columns = one(make_plan, ("text",), '"ab"')
    assert columns[6:].tolist() == [0.0] * 32
    assert np.linalg.norm(one(make_plan, ("text",), '"abcdef"')[1][6:]) == pytest.approx(1.0)


def test_no_number_leaves_float32(make_plan: MakePlan) -> None:
    for options in ({"scale": 1e300}, {"offset": -1.7e308}, {"offset": -1.7e308, "scale": 0.0}):
        for value in ("1.7e308", "-1e300", "1e39"):
            state, columns = one(make_plan, ("numeric", options), value)
            assert state == 0
            assert np.isfinite(columns).all()


# ----------------------------------------------------------------------------------------------------------- splitting


def test_lines_are_cut_at_newlines_and_trimmed() -> None:
    data = b'   {"a":1}\r\n\r\n \t\n  {"b":2} \n{"c":3}'
    result = reference.split_rows(data, form="lines", final=False, max_row_bytes=100)
    assert [data[begin:end] for begin, end in result.row_offsets] == [b'{"a":1}', b'{"b":2}']
    assert (result.consumed, result.n_blank) == (len(data) - 7, 2)
    result = reference.split_rows(data, form="lines", final=True, max_row_bytes=6)
    assert result.row_offsets.shape == (0, 2)
    assert result.too_long.tolist() == [[3, 10], [19, 26], [28, 35]]
    assert result.consumed == len(data)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, max_size=5), st.integers(1, 40))
def test_an_array_gives_its_elements_however_it_is_cut(texts: list[bytes], step: int) -> None:
    data = b" [" + b" , ".join(texts) + b"]\n"
    found, buffer, opened = [], b"", False
    for start in range(0, len(data), step):
        buffer += data[start : start + step]
        final = start + step >= len(data)
        result = reference.split_rows(buffer, form="array", final=final, opened=opened)
        found += [buffer[begin:end] for begin, end in result.row_offsets]
        buffer = buffer[result.consumed :]
        opened = bool(found)
        assert result.broken_at == -1
        if result.closed:
            break
    assert found == [text.strip() for text in texts]
    assert (buffer + data[start + step :]).strip() == b""


@pytest.mark.parametrize(
    ("data", "n_rows", "broken_at"),
    [
        (b"[]", 0, -1), (b"[1,2]", 2, -1), (b"[1,,2]", 1, 3), (b"[1,2", 1, 3), (b"[1]x", 1, 3), (b"1,2", 0, 0),
        (b"[{} {}]", 1, 4), (b"[,]", 0, 1), (b'["]', 0, 1), (b"", 0, 0), (b"[1,]", 1, 3), (b"[[1,2],{}]", 2, -1),
    ],
)  # fmt: skip
def test_an_array_is_broken_at_this_byte(data: bytes, n_rows: int, broken_at: int) -> None:
    result = reference.split_rows(data, form="array", final=True)
    assert (len(result.row_offsets), result.broken_at, result.closed) == (n_rows, broken_at, broken_at < 0)
