import numpy as np

from jenga.refinery.chunks import Refused, RowChunk, TableChunk


def test_a_chunk_gives_the_bytes_of_a_row_and_owns_its_refused_ones() -> None:
    data = np.frombuffer(b'{"a":1}\n{"b":2}', np.uint8)
    chunk = RowChunk(data, np.array([[0, 7], [8, 15]]), np.array([1, 2]), 0, "f")
    assert [chunk.row(0), chunk.row(1)] == [b'{"a":1}', b'{"b":2}']
    chunk.refused.append(Refused(3, 9, b"x"))
    assert RowChunk(data, chunk.row_offsets, chunk.numbers, 0, "f").refused == []
    assert TableChunk({}, np.array([1]), "f").typed
