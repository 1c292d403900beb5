"""The feature matrix grows without losing a row."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jenga.refinery.buffer import FeatureBuffer, likely_size, target_of
from jenga.refinery.chunks import RowChunk


def chunk_of(n_rows: int) -> RowChunk:
    return RowChunk(np.zeros(n_rows * 10, np.uint8), np.zeros((n_rows, 2), np.int64), np.arange(n_rows), 0, "")


@pytest.mark.parametrize("source", [iter([]), bytes(400), bytes(10), [None] * 40, [None]])
def test_rows_of_every_chunk_lie_behind_one_another(source: Any) -> None:
    buffer = FeatureBuffer(3, source, None)
    wanted = []
    for number, (n_rows, n_good) in enumerate([(5, 5), (0, 0), (20, 18), (15, 15)]):
        room = buffer.room(chunk_of(n_rows))
        assert room.shape == (n_rows, 3)
        room[:n_good] = number
        wanted += [number] * n_good
        del room
        buffer.add(n_good)
    rows = buffer.rows()
    assert rows.shape == (38, 3)
    assert rows[:, 1].tolist() == wanted


def test_memory_is_made_once_where_the_size_is_known() -> None:
    for source in (bytes(1000), [None] * 100):
        buffer = FeatureBuffer(2, source, None)
        first = buffer.room(chunk_of(10)).data_ptr()
        buffer.add(10)
        assert buffer.room(chunk_of(90)).data_ptr() == first + 10 * 2 * 4


def test_memory_that_is_given_is_used_and_must_suffice() -> None:
    out = np.zeros((12, 2), np.float32)
    buffer = FeatureBuffer(2, [], out)
    buffer.room(chunk_of(10))[:] = 1
    buffer.add(9)
    assert buffer.rows().numpy().ctypes.data == out.ctypes.data
    assert len(buffer.rows()) == 9
    with pytest.raises(ValueError, match="out: has 12 rows, X has at least 13"):
        buffer.room(chunk_of(4))


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.zeros((4, 3), np.float32), r"needs float32 of shape \(rows, 2\), got float32 of shape \(4, 3\)"),
        (np.zeros((4, 2)), "got float64"), (torch.zeros(4, 2, dtype=torch.half), r"got torch.float16"),
        (np.zeros(8, np.float32), r"of shape \(8,\)"), (np.zeros((2, 4), np.float32).T, "contiguous"),
    ],
)  # fmt: skip
def test_memory_of_another_form_is_refused(out: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        target_of(out, 2)


def test_likely_size_is_that_of_plain_files_and_of_what_has_a_length(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * 77)
    packed = path.rename(tmp_path / "b.jsonl.gz")
    assert likely_size(packed) == (None, None)
    assert likely_size(str(packed.rename(path))) == (None, 77)
    assert likely_size(b"12345") == (None, 5)
    assert likely_size([1, 2]) == (2, None)
    assert likely_size(iter([1])) == (None, None)
    assert likely_size("-") == (None, None)
