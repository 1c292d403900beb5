"""What a call of the refinery counts."""

import warnings

import numpy as np
import pytest

from jenga.errors import DataError
from jenga.refinery.calls import Call
from jenga.refinery.engine import Engine, RawChunk
from jenga.refinery.estimator import SecurityRefinery
from jenga.refinery.plan import extraction_plan
from jenga.refinery.quarantine import QuarantineRecord
from jenga.refinery.result import Counters
from jenga.refinery.sources import chunks_of
from jenga.refinery.statistics import RawBlock


def part(n_kept: int, n_bad: int, absent: int) -> RawChunk:
    """A chunk of one field, which is absent from some of the rows kept."""
    counts = np.zeros((1, 8), np.int64)
    counts[0, :2] = n_kept - absent, absent
    states = np.empty((n_kept, 1), np.uint8)
    block = RawBlock(np.empty((n_kept, 0)), np.empty(0, np.uint8), np.zeros(1, np.int64), states)
    bad = [QuarantineRecord(at + 1, 0, "syntax", "", b"{", "") for at in range(n_bad)]
    return RawChunk(block, np.arange(n_kept), Counters(("a.b",), counts), bad, 0)


def test_counts_add_up_and_only_the_first_records_are_kept() -> None:
    call = Call(("a.b",), 1.0, 3)
    call.count(part(10, 2, 5))
    call.count(part(10, 4, 0))
    assert (call.n_bad, len(call.records)) == (6, 3)
    assert call.counters["a.b"] == {"present": 15, "absent": 5, **dict.fromkeys(list(call.counters["a.b"])[2:], 0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call.end()


def test_field_that_no_row_has_is_warned_of_with_names_of_the_first_row() -> None:
    call = Call(("a.b",), 0.0, None)
    engine = Engine(extraction_plan(["a.b"]), n_threads=1, redact=False)
    list(call.watched(engine, chunks_of([b"{", {"a": {"bb": 1}}, {"q": 1}], chunk_bytes=100)))
    call.count(part(3, 0, 3))
    with pytest.warns(UserWarning, match=r"none of 3 rows has the field 'a\.b' \(did you mean 'a\.bb'\?\)$"):
        call.end()


def test_file_without_any_field_is_refused_and_rows_one_by_one_are_not() -> None:
    engine = Engine(extraction_plan(["a.b"]), n_threads=1, redact=False)
    call = Call(("a.b",), 0.0, None)
    list(call.watched(engine, chunks_of(b'{"flows": [{"a": {"b": 1}}]}', chunk_bytes=100)))
    call.count(part(1, 0, 1))
    with pytest.raises(DataError) as error:
        call.end()
    assert str(error.value).splitlines() == [
        "the only row has none of the fields: 'a.b'",
        "The rows seem to be in 'flows' of one object: write the rows as an array or one a line",
    ]


def test_fit_needs_a_usable_row() -> None:
    call = Call(("a.b",), 1.0, None)
    call.count(part(0, 2, 0))
    call.end()
    with pytest.raises(DataError, match="there is no row to fit on: all 2 rows are bad\n  row 1: syntax"):
        call.end(fitted=True)


def test_too_many_bad_rows_end_a_call_when_it_ends_or_from_a_thousand_rows_on() -> None:
    call = Call(("a.b",), 0.1, 0)
    call.count(part(800, 190, 0))
    with pytest.raises(DataError, match="190 of 990 rows are bad"):
        call.end()
    with pytest.raises(DataError, match="200 of 1,000 rows are bad"):
        call.count(part(0, 10, 0))


def test_values_of_another_type_are_told_above_a_share() -> None:
    refinery = SecurityRefinery(schema={"fields": [{"path": "n", "kind": "numeric"}]})
    with pytest.warns(UserWarning, match=r"'n': 2 of 30 values are of another type and count as missing"):
        refinery.fit([{"n": at if at > 1 else "odd"} for at in range(30)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refinery.fit([{"n": at if at > 0 else "odd"} for at in range(30)])
