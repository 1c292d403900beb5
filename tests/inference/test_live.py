"""Lines of a stream that stays open."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from typing import BinaryIO, cast

import pytest

from jenga.errors import ConfigError
from jenga.inference import live
from jenga.inference.live import Limits, LineBatches


@pytest.fixture
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    """A pipe: where to write, and what reads."""
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as stream:
        yield writes, stream
        os.close(writes)


def test_a_line_comes_while_the_pipe_stays_open_and_waits_for_no_other(pipe: tuple[int, BinaryIO]) -> None:
    writes, stream = pipe
    os.write(writes, b'{"a": 1}\n{"a": ')
    batches = iter(LineBatches(stream, Limits(wait_s=0.0)))
    first = next(batches)
    assert (first.lines, first.first, first.json) == ([b'{"a": 1}'], 1, True)
    os.write(writes, b'2}\n{"a": 3}\n')
    second = next(batches)
    assert (second.lines, second.first) == ([b'{"a": 2}', b'{"a": 3}'], 2)


def test_lines_that_are_there_are_cut_by_the_row_limit() -> None:
    content = b"".join(b"text %d\n" % at for at in range(7)) + b"the last"
    batches = list(LineBatches(io.BytesIO(content), Limits(rows=3)))
    assert [(batch.first, len(batch.lines)) for batch in batches] == [(1, 3), (4, 3), (7, 2)]
    assert batches[-1].lines[-1] == b"the last"
    assert not batches[0].json


class Endless(io.RawIOBase):
    """Lines without end, which counts what was taken of them."""

    taken = 0

    def read(self, size: int = -1) -> bytes:
        self.taken += size
        return (b"{}\n" * size)[:size]

    def fileno(self) -> int:
        raise io.UnsupportedOperation


def test_a_stream_without_end_is_read_no_further_than_its_batches() -> None:
    stream = Endless()
    batches = iter(LineBatches(cast(BinaryIO, stream), Limits(rows=100)))
    seen = sum(len(b"\n".join(next(batches).lines)) + 1 for _ in range(1000))
    assert stream.taken - seen <= 2 * live._READ_BYTES
    assert seen > 4 * live._READ_BYTES


def test_a_line_that_is_too_long_is_cut_and_the_next_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_ROW_BYTES", 1000)
    long = b"x" * 200_000
    [batch] = LineBatches(io.BytesIO(b"a\n" + long + b"\nb\n"), Limits(rows=10))
    assert [len(line) for line in batch.lines] == [1, 500, 1]
    assert batch.too_long == {1}


@pytest.mark.parametrize("content", [b"  [1, 2]", gzip.compress(b"{}", mtime=0)])
def test_what_holds_no_lines_is_whole(content: bytes) -> None:
    lines = LineBatches(io.BytesIO(content))
    assert lines.whole
    assert lines.rest() == content


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbftext"])
def test_nothing_blanks_and_a_mark_of_the_encoding_are_lines(content: bytes) -> None:
    lines = LineBatches(io.BytesIO(content))
    assert not lines.whole
    found = [line for batch in lines for line in batch.lines]
    assert found == {b"": [], b"\n\n": [b"", b""]}.get(content, [b"text"])


@pytest.mark.parametrize("limits", [{"rows": 0}, {"wait_s": -1.0}, {"wait_s": float("nan")}])
def test_limits_that_hold_nothing_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="limits of a batch"):
        Limits(**limits)  # type: ignore[arg-type]
