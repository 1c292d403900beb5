"""Rows side by side in one buffer."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from jenga.refinery import SecurityRefinery
from jenga.refinery.chunks import RowChunk
from jenga.refinery.packed import PackedRows
from jenga.refinery.sources import chunks_of

LINES = [b'{"n": 1}', b'{"n": 22}', b'{"n": 3}', b"{", b'{"n": null}']


def packed(chunk_bytes: int = 12) -> PackedRows:
    chunks = [chunk for chunk in chunks_of(b"\n".join(LINES), chunk_bytes=chunk_bytes) if isinstance(chunk, RowChunk)]
    assert len(chunks) > 2
    return PackedRows.of(chunks)


def test_rows_of_several_chunks_are_a_sequence_of_bytes() -> None:
    rows = packed()
    assert list(rows) == LINES
    assert (len(rows), rows[-1], list(rows[1:3])) == (5, LINES[-1], LINES[1:3])
    assert list(rows.take(np.array([0, 4]))) == [LINES[0], LINES[4]]
    assert list(PackedRows.of([])) == []


@pytest.mark.parametrize("n_bytes", [0, 9, 10_000])
def test_rows_are_held_whatever_was_thought_of_their_size(n_bytes: int) -> None:
    source = b"  [" + b",\n ".join(LINES[:3]) + b" ]"
    chunks = [each for each in chunks_of(source, chunk_bytes=12) if isinstance(each, RowChunk)]
    assert len(chunks) > 2
    rows = PackedRows.of(chunks, n_bytes=n_bytes)
    assert list(rows) == LINES[:3]
    assert len(rows.data) <= len(source)


def test_packed_rows_are_refined_as_the_same_rows_in_a_list_are() -> None:
    refinery = SecurityRefinery(schema={"fields": [{"path": "n", "kind": "numeric"}]}, max_bad_fraction=1.0).fit(LINES)
    for at in (slice(None), slice(2, None)):
        one, other = refinery.refine(packed()[at]), refinery.refine(LINES[at])
        np.testing.assert_array_equal(one.features, other.features)
        assert one.numbers.tolist() == other.numbers.tolist()
        assert one.quarantine == other.quarantine != []


def test_rows_take_no_others_along_to_another_process() -> None:
    rows = packed()
    few = rows[1:4].take(np.array([0, 2]))
    sent = ForkingPickler.loads(ForkingPickler.dumps(few))
    assert list(sent) == [LINES[1], LINES[3]]
    assert len(sent.data) <= len(b"\n".join(LINES[1:4])) < len(rows.data)
    assert list(ForkingPickler.loads(ForkingPickler.dumps(rows[:0]))) == []
