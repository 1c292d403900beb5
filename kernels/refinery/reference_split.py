"""Where the rows of a stream begin and end: lines, or the elements of one JSON array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .reference_parse import WHITESPACE


class SplitResult(NamedTuple):
    row_offsets: NDArray[np.int64]
    too_long: NDArray[np.int64]
    consumed: int
    n_blank: int
    closed: bool
    broken_at: int


def split_rows(
    data: bytes | ArrayLike,
    *,
    form: Literal["lines", "array"] = "lines",
    final: bool,
    opened: bool = False,
    max_row_bytes: int = 16 << 20,
    n_threads: int = 1,
) -> SplitResult:
    """Cut a buffer into rows; what follows `consumed` has to come again, with more after it.

    `n_threads` is taken as the op takes it, and changes nothing.
    """
    content = bytes_of(data)
    pieces = _Pieces()
    if form == "lines":
        _cut_lines(content, final, pieces)
    else:
        _cut_array(content, opened, final, pieces)
    rows: list[tuple[int, int]] = []
    long: list[tuple[int, int]] = []
    n_blank = 0
    for begin, end in pieces.places:
        piece = content[begin:end]
        begin += len(piece) - len(piece.lstrip(WHITESPACE))
        size = len(piece.strip(WHITESPACE))
        n_blank += not size
        if size:
            (long if size > max_row_bytes else rows).append((begin, begin + size))
    return SplitResult(_pairs(rows), _pairs(long), pieces.consumed, n_blank, pieces.closed, pieces.broken_at)


@dataclass
class _Pieces:
    places: list[tuple[int, int]] = field(default_factory=list)
    consumed: int = 0
    closed: bool = False
    broken_at: int = -1


def _cut_lines(content: bytes, final: bool, pieces: _Pieces) -> None:
    while (newline := content.find(b"\n", pieces.consumed)) >= 0:
        pieces.places.append((pieces.consumed, newline))
        pieces.consumed = newline + 1
    if final and pieces.consumed < len(content):
        pieces.places.append((pieces.consumed, len(content)))
        pieces.consumed = len(content)


def _cut_array(content: bytes, opened: bool, final: bool, pieces: _Pieces) -> None:
    """Take `[` or `,` and an element, again and again, then `]` and nothing more."""
    while True:
        at = pieces.consumed = _behind_whitespace(content, pieces.consumed)
        begin = _behind_whitespace(content, at + 1)
        sign, is_due = content[at : at + 1], content[at : at + 1] == (b"," if opened else b"[")
        if not opened and is_due and content[begin : begin + 1] == b"]":
            opened, pieces.consumed = True, begin
            continue
        if opened and sign == b"]":
            pieces.closed, pieces.consumed = begin == len(content), len(content)
            pieces.broken_at = -1 if pieces.closed else begin
            return
        end = _element_end(content, begin) if is_due else -1
        if end > begin:
            pieces.places.append((begin, end))
            opened, pieces.consumed = True, end
            continue
        may_go_on = not sign or (is_due and end < 0)
        if final or not may_go_on:
            pieces.broken_at, pieces.consumed = begin if is_due else at, len(content)
        return


def _behind_whitespace(content: bytes, at: int) -> int:
    while at < len(content) and content[at] in WHITESPACE:
        at += 1
    return min(at, len(content))


def _element_end(content: bytes, at: int) -> int:
    """Return the end of an element: behind its last bracket, or before what ends a scalar; -1 if it isn't there yet."""
    depth = 0
    while at < len(content):
        byte = content[at : at + 1]
        if depth == 0 and byte in (b",", b"]", b"}"):
            return at
        if byte == b'"':
            at = _string_end(content, at)
            continue
        at += 1
        depth += (byte in (b"{", b"[")) - (byte in (b"}", b"]"))
        if depth == 0 and byte in (b"}", b"]"):
            return at
    return -1


def _string_end(content: bytes, at: int) -> int:
    at += 1
    while at < len(content) and content[at : at + 1] != b'"':
        at += 2 if content[at : at + 1] == b"\\" else 1
    return at + 1


def _pairs(pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def bytes_of(data: bytes | ArrayLike) -> bytes:
    """Return the bytes of a uint8 array or tensor."""
    return data if isinstance(data, bytes) else np.asarray(data, dtype=np.uint8).tobytes()
