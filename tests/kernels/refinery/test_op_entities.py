"""The time since the row before of the same entity: as the reference has it, whatever the threads, cuts and limits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jenga.kernels import refinery
from jenga.kernels.refinery import reference

WAITED = 4
"""The column of the time since the row before, of the first field."""

NAMES = st.sampled_from(
    ["alice", "bob", "carol", "dave", "-", " ", "", "10.0.0.1", "::ffff:10.0.0.1", "1", 1, None, {}]
)
ROWS = st.lists(
    st.fixed_dictionaries({}, optional={"t": st.sampled_from([*range(0, 60, 7), "x", None]), "who": NAMES}), max_size=25
)


@pytest.fixture(scope="module")
def plan_by(make_plan: Callable[..., bytes]) -> Callable[..., bytes]:
    def make(kind: str = "categorical", limit: int = 1000) -> bytes:
        by = {"by": "who", "max_entities": limit, "unit": "s", "offset": 1.0, "scale": 0.5}
        # The second one counts all rows.
        return make_plan(("t", "timestamp", by), ("t2", "timestamp"), ("who", kind), missing=("-",))

    return make


def refine(rows: Sequence[Any], plan: bytes, join: Any, **options: Any) -> refinery.RefineResult:
    data, offsets = join([json.dumps(row).encode() for row in rows])
    content = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    encoded = torch.frombuffer(bytearray(plan), dtype=torch.uint8)
    return refinery.refine(content, torch.from_numpy(offsets), encoded, **options)


def waited(gap: float | None) -> float:
    return 0.0 if gap is None else (math.log1p(gap) - 1.0) * 0.5


@given(rows=ROWS, kind=st.sampled_from(["categorical", "ip", "text"]), limit=st.integers(1, 4), cut=st.integers(0, 25))
def test_native_and_reference_agree_row_by_row_and_in_any_pieces(
    plan_by: Callable[..., bytes], join_rows: Any, rows: list[Any], kind: str, limit: int, cut: int
) -> None:
    plan = plan_by(kind, limit)
    whole = refine(rows, plan, join_rows)
    data, offsets = join_rows([json.dumps(row).encode() for row in rows])
    wanted = reference.refine(data, offsets, plan)
    np.testing.assert_allclose(whole.features.numpy(), wanted.features, atol=1e-6)
    np.testing.assert_array_equal(whole.last.numpy(), wanted.last)
    first = refine(rows[:cut], plan, join_rows)
    second = refine(rows[cut:], plan, join_rows, previous=first.last)
    assert torch.equal(torch.cat([first.features, second.features]), whole.features)
    np.testing.assert_array_equal(second.last.numpy(), whole.last.numpy())
    half = reference.refine(data, offsets[cut:], plan, previous=first.last.numpy())
    np.testing.assert_array_equal(half.last, wanted.last)


def test_each_entity_has_a_time_of_its_own_and_rows_of_nobody_have_none(
    plan_by: Callable[..., bytes], join_rows: Any
) -> None:
    rows = [("a", 0), ("b", 3), ("a", 10), ("-", 11), (None, 12), ("", 13), ("b", 20), ("a", 5), ("a", 6)]
    found = refine([{"who": who, "t": t} for who, t in rows], plan_by(), join_rows).features[:, WAITED]
    # A time that lies before the last one counts as none passed.
    gaps = [None, None, 10, None, None, None, 17, 0, 1]
    np.testing.assert_allclose(found.numpy(), [waited(gap) for gap in gaps], rtol=1e-6)


def test_who_was_heard_of_longest_ago_is_forgotten_first(plan_by: Callable[..., bytes], join_rows: Any) -> None:
    rows = [("a", 0), ("b", 1), ("a", 2), ("c", 3), ("a", 4), ("b", 5), ("c", 6)]
    found = refine([{"who": who, "t": t} for who, t in rows], plan_by(limit=2), join_rows)
    # c takes the place of b, and b that of c.
    gaps = [None, None, 2, None, 2, None, None]
    np.testing.assert_allclose(found.features[:, WAITED].numpy(), [waited(gap) for gap in gaps], rtol=1e-6)
    assert found.last[2:].view(-1, 3)[:, 2].tolist() == [5.0, 6.0]


def test_threads_change_nothing_and_memory_has_a_bound(plan_by: Callable[..., bytes], join_rows: Any) -> None:
    draw = np.random.default_rng(0)
    rows = [{"who": f"host-{who}", "t": at} for at, who in enumerate(draw.integers(0, 3000, 20_000).tolist())]
    one, four = (refine(rows, plan_by(limit=2000), join_rows, n_threads=n) for n in (1, 4))
    assert torch.equal(one.features, four.features)
    assert torch.equal(one.last[2:], four.last[2:])
    assert len(one.last) == 2 + 3 * 2000


@pytest.mark.parametrize(
    ("previous", "words"),
    [
        ([math.nan, math.nan, 0.0, 1.0], "got 4 numbers"),
        ([math.nan], "got 1 numbers"),
        ([math.nan, math.nan, 1.0, 1.0, 1.0], "the place of a field that counts by entity"),
        ([math.nan, math.nan, -1.0, 1.0, 1.0], "the place of a field"),
        ([math.nan, math.nan, math.nan, 1.0, 1.0], "the place of a field"),
        ([math.nan, math.nan, 0.0, 2.0**53, 1.0], "a key below 2"),
        ([math.nan, math.nan, 0.0, 0.5, 1.0], "a key below 2"),
        ([math.nan, math.nan, 0.0, 1.0, math.nan], "and a time"),
    ],
)
def test_what_is_no_state_is_refused(
    plan_by: Callable[..., bytes], join_rows: Any, previous: list[float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        refine([{"t": 1, "who": "a"}], plan_by(), join_rows, previous=torch.tensor(previous, dtype=torch.float64))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([("t", "timestamp", {"by": "nobody", "max_entities": 1})], "must be the path of"),
        ([("t", "timestamp", {"by": "n", "max_entities": 1}), ("n", "numeric")], "must be the path of"),
        ([("t", "timestamp", {"by": "r", "max_entities": 1}), ("r", "raw")], "must be the path of"),
        (
            [("t", "timestamp", {"by": "w[*]", "max_entities": 1}), ("w[*]", "categorical", {"encoding": "hash"})],
            "must be the path of",
        ),
        ([("t", "timestamp", {"by": "w", "max_entities": 0}), ("w", "categorical")], "max_entities"),
        ([("t", "timestamp", {"by": "w", "inter_arrival": False}), ("w", "categorical")], "goes with inter_arrival"),
    ],
)
def test_plans_that_name_no_entity_are_refused(
    make_plan: Callable[..., bytes], join_rows: Any, fields: list[Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        refine([], make_plan(*fields), join_rows)
