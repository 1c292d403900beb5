"""The refinery's ops: JSON rows to feature rows, and the raw columns between the two.

A plan (UTF-8 JSON, see `jenga.refinery.plan`) says which fields are read and which columns they make. Rows that are bad
are left out of every result and listed in `quarantine`.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .._native import CPU

MAX_ROW_BYTES = 16 << 20


class RefineResult(NamedTuple):
    """What `refine` gives for the M good rows among those it was given.

    `features` float32 (M, F); `states` uint8 (M, fields): 0 present, 1 absent, 2 null, 3 mismatch, 4 overflow, 5
    unknown category; `counters` int64 (fields, 8): rows by state, values coerced, keys given again; `quarantine` int64
    (Q, 3): row given, error code, byte in `data`; `last` float64: the last time of each inter-arrival field, NaN where
    there is none or the field counts by entity. Behind these are three numbers for each entity, by field the one that
    was heard of longest ago first: the place of its field among them, its key (53 bits of its name's hash), its last
    time.
    """

    features: Tensor
    states: Tensor
    counters: Tensor
    quarantine: Tensor
    last: Tensor


class ExtractResult(NamedTuple):
    """The raw columns of the M good rows.

    `numbers` float64 (M, N), NaN where missing; `text` uint8: the values of the T text slots of each row end to end,
    value i in `text[text_offsets[i]:text_offsets[i + 1]]`, `text_offsets` int64 (M * T + 1,); the rest as in
    `RefineResult`.
    """

    numbers: Tensor
    text: Tensor
    text_offsets: Tensor
    states: Tensor
    counters: Tensor
    quarantine: Tensor


class EncodeResult(NamedTuple):
    """What `encode` gives; see `RefineResult`."""

    features: Tensor
    states: Tensor
    counters: Tensor
    last: Tensor


class SplitResult(NamedTuple):
    """Where rows lie in a piece of a stream.

    `row_offsets` and `too_long` int64 (M, 2): [begin, end) of rows, and of rows beyond the allowed size; `consumed`:
    bytes that need not be given again; `n_blank` lines; `closed`: an array's end was seen; `broken_at`: where an array
    is broken, -1 where it is not.
    """

    row_offsets: Tensor
    too_long: Tensor
    consumed: int
    n_blank: int
    closed: bool
    broken_at: int


def refine(
    data: Tensor,
    row_offsets: Tensor,
    plan: Tensor,
    *,
    previous: Tensor | None = None,
    n_threads: int = 1,
    out: Tensor | None = None,
) -> RefineResult:
    """Features of rows of JSON.

    The result is the same, bit for bit, for every `n_threads` and for every way to cut rows into calls (given
    `previous`).

    Args:
        data: uint8 (bytes,), contiguous and on the CPU.
        row_offsets: int64 (M, 2), [begin, end) of each row in `data`, ascending and not overlapping.
        plan: uint8 (bytes,), the plan of a fitted refinery.
        previous: float64, `last` of the rows before the first; None: there are none.
        n_threads: threads that work on the rows.
        out: float32 (at least M, F), contiguous: where the features go; the result's `features` are its first rows.

    Raises:
        ValueError: arguments of another shape or type, or a plan that is none.
    """
    before = _previous(previous)
    if out is None:
        return RefineResult(*torch.ops.jenga.refine(data, row_offsets, plan, before, n_threads))
    rest = torch.ops.jenga.refine_out(data, row_offsets, plan, before, n_threads, out)
    return RefineResult(out[: rest[0].shape[0]], *rest)


def extract(data: Tensor, row_offsets: Tensor, plan: Tensor, *, n_threads: int = 1) -> ExtractResult:
    """Raw columns of rows of JSON; arguments as for `refine`, but the plan need not be fitted."""
    return ExtractResult(*torch.ops.jenga.refine_extract(data, row_offsets, plan, n_threads))


def encode(
    numbers: Tensor,
    text: Tensor,
    text_offsets: Tensor,
    states: Tensor,
    plan: Tensor,
    *,
    previous: Tensor | None = None,
    n_threads: int = 1,
) -> EncodeResult:
    """Features of raw columns such as `extract` gives; `states` of the result mark unknown categories too."""
    before = _previous(previous)
    return EncodeResult(*torch.ops.jenga.refine_encode(numbers, text, text_offsets, states, plan, before, n_threads))


def split_rows(
    data: Tensor,
    *,
    form: Literal["lines", "array"] = "lines",
    final: bool,
    opened: bool = False,
    max_row_bytes: int = MAX_ROW_BYTES,
    n_threads: int = 1,
) -> SplitResult:
    """Find the rows in a piece of a stream, uint8 (bytes,): lines, or elements of one JSON array.

    What was not consumed is given again, with more behind it. `final`: nothing comes behind. `opened`: rows of the
    array were found before, so its bracket is not expected again. `n_threads`: threads that find lines, some MiB or
    more of them; the result is the same for every number.
    """
    rows, long, consumed, n_blank, closed, broken_at = _native().split_rows(
        data.numpy(), form == "array", opened, final, max_row_bytes, n_threads
    )
    return SplitResult(_pairs(rows), _pairs(long), consumed, n_blank, closed, broken_at)


def pack_rows(rows: Iterable[bytes | str | dict[str, Any]], *, first: int = 0) -> tuple[Tensor, Tensor]:
    """Lay rows end to end as `data` uint8 and `row_offsets` int64 (M, 2); objects are written as JSON.

    `first`: what messages number the first row. Raises TypeError for a value that JSON has no form for, ValueError for
    one nested too deeply; both name the row.
    """
    data, offsets = _native().pack_rows(rows, first)
    return _bytes(data), _pairs(offsets)


def locate(row: bytes, plan: bytes) -> tuple[int, int, str]:
    """Return error code (0: none), byte and JSON pointer (RFC 6901) of what is wrong with `row`."""
    code, position, pointer = _native().locate(row, plan)
    return code, position, pointer.decode(errors="replace")


def error_codes() -> dict[int, tuple[str, str]]:
    """Return name and words of each error code."""
    codes: dict[int, tuple[str, str]] = _native().refinery_errors()
    return codes


def _native() -> Any:
    if CPU.implementation != "native":
        raise RuntimeError(f"jenga: {CPU.reason}; the refinery has no other implementation: run pip install .")
    import importlib

    return importlib.import_module("jenga._C")


def _previous(previous: Tensor | None) -> Tensor:
    return torch.empty(0, dtype=torch.float64) if previous is None else previous


def _bytes(data: bytearray) -> Tensor:
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _pairs(data: bytearray) -> Tensor:
    flat = torch.frombuffer(data, dtype=torch.int64) if data else torch.empty(0, dtype=torch.int64)
    return flat.view(-1, 2)


def _fake_refine(
    data: Tensor, row_offsets: Tensor, plan: Tensor, previous: Tensor, n_threads: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    n_rows, n_features = context.new_dynamic_size(), context.new_dynamic_size()
    states, counters, quarantine, last = _fake_rest(data, n_rows)
    return data.new_empty((n_rows, n_features), dtype=torch.float32), states, counters, quarantine, last


def _fake_refine_out(
    data: Tensor, row_offsets: Tensor, plan: Tensor, previous: Tensor, n_threads: int, features: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _fake_rest(data, torch.library.get_ctx().new_dynamic_size())


def _fake_rest(data: Tensor, n_rows: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    n_fields, n_bad, n_times = (context.new_dynamic_size() for _ in range(3))
    return (
        data.new_empty((n_rows, n_fields), dtype=torch.uint8),
        data.new_empty((n_fields, 8), dtype=torch.int64),
        data.new_empty((n_bad, 3), dtype=torch.int64),
        data.new_empty((n_times,), dtype=torch.float64),
    )


def _fake_extract(
    data: Tensor, row_offsets: Tensor, plan: Tensor, n_threads: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    n_rows, n_numbers, n_bytes, n_offsets = (context.new_dynamic_size() for _ in range(4))
    states, counters, quarantine, _ = _fake_rest(data, n_rows)
    return (
        data.new_empty((n_rows, n_numbers), dtype=torch.float64),
        data.new_empty((n_bytes,), dtype=torch.uint8),
        data.new_empty((n_offsets,), dtype=torch.int64),
        states,
        counters,
        quarantine,
    )


def _fake_encode(
    numbers: Tensor,
    text: Tensor,
    text_offsets: Tensor,
    states: Tensor,
    plan: Tensor,
    previous: Tensor,
    n_threads: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    n_rows, n_fields = states.shape
    return (
        numbers.new_empty((n_rows, context.new_dynamic_size()), dtype=torch.float32),
        states.new_empty((n_rows, n_fields)),
        numbers.new_empty((n_fields, 8), dtype=torch.int64),
        numbers.new_empty((context.new_dynamic_size(),), dtype=torch.float64),
    )


if CPU.implementation == "native":
    torch.library.register_fake("jenga::refine", _fake_refine)
    torch.library.register_fake("jenga::refine_out", _fake_refine_out)
    torch.library.register_fake("jenga::refine_extract", _fake_extract)
    torch.library.register_fake("jenga::refine_encode", _fake_encode)
