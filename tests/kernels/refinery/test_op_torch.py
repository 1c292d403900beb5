"""The refinery's ops as torch ops: schema, fake tensors, compilation, given outputs, refused arguments."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import seeds
import torch
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from jenga.kernels import refinery
from jenga.kernels.refinery import reference

DATA = b'{"n":1,"t":1704175260,"x":"abc"}\n{"n":2,"t":1704175265,"x":"abcd"}\n{"n":tru}\n{"n":"4","x":"b"}'
N_GOOD = 3
NUMBERS = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 2.0, 80.5, 443.0, 65536.0, -1.0, 1704175260.0, 1e300, -1e300]
TEXTS = [b"", b"a", b"b", b"abc", b"10.0.0.1", b"::1", b"1.2.3", b"\xff\xfe"]


@pytest.fixture(scope="module")
def given(make_plan: Callable[..., bytes], as_tensor: Callable[[bytes], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Data, offsets of its rows and a plan."""
    data = as_tensor(DATA)
    plan = make_plan(("n", "numeric", {"indicator": True}), ("t", "timestamp"), ("x", "text", {"n_buckets": 4}))
    return data, refinery.split_rows(data, final=True).row_offsets, as_tensor(plan)


NOTHING = torch.full((1,), float("nan"), dtype=torch.float64)
CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")


def test_the_ops_pass_opcheck(given: tuple[Tensor, Tensor, Tensor]) -> None:
    data, offsets, plan = given
    ops = torch.ops.jenga
    out = torch.empty(len(offsets), json.loads(plan.numpy().tobytes())["n_features"])
    raw = refinery.extract(*given)
    torch.library.opcheck(ops.refine, (data, offsets, plan, NOTHING, 2), test_utils=CHECKS)
    torch.library.opcheck(ops.refine_out, (data, offsets, plan, NOTHING, 2, out), test_utils=CHECKS)
    torch.library.opcheck(ops.refine_extract, (data, offsets, plan, 2), test_utils=CHECKS)
    arguments = (raw.numbers, raw.text, raw.text_offsets, raw.states, plan, NOTHING, 2)
    torch.library.opcheck(ops.refine_encode, arguments, test_utils=CHECKS)


def test_a_compiled_function_gives_what_the_plain_one_gives(given: tuple[Tensor, Tensor, Tensor]) -> None:
    def total(data: Tensor, offsets: Tensor, plan: Tensor) -> Tensor:
        return refinery.refine(data, offsets, plan).features.square().sum(dim=1)

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*given), total(*given))


def test_features_go_where_they_are_told_to(given: tuple[Tensor, Tensor, Tensor]) -> None:
    plain = refinery.refine(*given)
    out = torch.full((9, plain.features.shape[1]), 7.0)
    result = refinery.refine(*given, out=out)
    assert result.features.data_ptr() == out.data_ptr()
    assert result.features.shape == (N_GOOD, out.shape[1])
    assert torch.equal(result.features, plain.features)
    assert (out[len(given[1]) :] == 7.0).all()


def test_no_rows_and_no_good_rows_give_empty_results(given: tuple[Tensor, Tensor, Tensor]) -> None:
    data, _, plan = given
    for offsets in (torch.empty(0, 2, dtype=torch.int64), torch.tensor([[0, 5], [8, 9]])):
        result = refinery.refine(data, offsets, plan)
        assert result.features.shape[0] == result.states.shape[0] == 0
        assert result.features.shape[1] == json.loads(plan.numpy().tobytes())["n_features"]
        assert len(result.quarantine) == len(offsets)
        assert result.last.isnan().all()
    empty = refinery.extract(torch.empty(0, dtype=torch.uint8), torch.empty(0, 2, dtype=torch.int64), plan)
    assert empty.numbers.shape == (0, 2)
    assert empty.text_offsets.tolist() == [0]


def test_the_time_before_is_carried_from_call_to_call(given: tuple[Tensor, Tensor, Tensor]) -> None:
    data, offsets, plan = given
    whole = refinery.refine(*given)
    first = refinery.refine(data, offsets[:1], plan)
    second = refinery.refine(data, offsets[1:], plan, previous=first.last)
    assert torch.equal(torch.cat([first.features, second.features]), whole.features)
    assert first.last.tolist() == [1704175260.0]
    assert not torch.equal(refinery.refine(data, offsets[1:], plan).features, second.features)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": torch.zeros(4)}, "data"),
        ({"data": torch.zeros(2, 2, dtype=torch.uint8)}, "data"),
        ({"row_offsets": torch.zeros(2, 3, dtype=torch.int64)}, "row_offsets"),
        ({"row_offsets": torch.tensor([[0, 10_000]])}, "row_offsets"),
        ({"row_offsets": torch.tensor([[-1, 4]])}, "row_offsets"),
        ({"row_offsets": torch.tensor([[4, 2]])}, "row_offsets"),
        ({"row_offsets": torch.tensor([[0, 8], [4, 9]])}, "row_offsets"),
        ({"row_offsets": torch.zeros(2, 2, dtype=torch.int32)}, "row_offsets"),
        ({"plan": torch.zeros(3, dtype=torch.uint8)}, "plan"),
        ({"n_threads": 0}, "n_threads"),
        ({"previous": torch.zeros(5, dtype=torch.float64)}, "previous"),
        ({"previous": torch.zeros(1)}, "previous"),
        ({"out": torch.zeros(1, 2)}, "out"),
        ({"out": torch.zeros(4, 2, dtype=torch.float64)}, "out"),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    given: tuple[Tensor, Tensor, Tensor], changes: dict[str, Any], words: str
) -> None:
    arguments: dict[str, Any] = dict(zip(("data", "row_offsets", "plan"), given, strict=True)) | changes
    with pytest.raises(ValueError, match=words):
        refinery.refine(**arguments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 1}, "version"),
        ({"nan": "keep"}, "nan"),
        ({"fields": []}, "fields"),
        ({"fields": [{"path": "n", "kind": "number", "required": False, "column": 0, "indicator": -1}]}, "kind"),
        ({"n_features": 1}, "column|n_features"),
        ({"n_features": -3}, "n_features"),
    ],
)
def test_a_plan_that_is_none_is_refused(
    given: tuple[Tensor, Tensor, Tensor], as_tensor: Callable[[bytes], Tensor], changes: dict[str, Any], words: str
) -> None:
    data, offsets, plan = given
    content = json.loads(plan.numpy().tobytes()) | changes
    with pytest.raises(ValueError, match=words):
        refinery.refine(data, offsets, as_tensor(json.dumps(content).encode()))


def test_encode_takes_only_columns_of_one_shape(given: tuple[Tensor, Tensor, Tensor]) -> None:
    raw = refinery.extract(*given)
    good: dict[str, Any] = {
        "numbers": raw.numbers, "text": raw.text, "text_offsets": raw.text_offsets, "states": raw.states,
        "plan": given[2],
    }  # fmt: skip
    assert refinery.encode(**good).features.shape[0] == N_GOOD
    falling = raw.text_offsets.flip(0)
    for name, wrong in (
        ("numbers", raw.numbers[:, :1]), ("text_offsets", raw.text_offsets[1:]), ("text_offsets", falling),
        ("states", raw.states[1:]), ("states", raw.states + 6), ("text", raw.text[1:]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            refinery.encode(**good | {name: wrong})


def test_encode_makes_no_feature_of_what_is_not_there(
    make_plan: Callable[..., bytes], as_tensor: Callable[[bytes], Tensor]
) -> None:
    """Columns may come from elsewhere: a state that says present does not make NaN a number."""
    fields = ("n", "numeric", {"offset": 5.0, "indicator": True}), ("p", "port"), ("b", "boolean"), ("t", "timestamp")
    plan = as_tensor(make_plan(*fields, ("i", "ip")))
    numbers = torch.tensor([[float("nan"), 70000.0, 2.0, 1e300], [1e300, 80.5, float("nan"), float("nan")]]).double()
    text = as_tensor(b"nonsense")
    states = torch.zeros(2, 5, dtype=torch.uint8)
    result = refinery.encode(numbers, text, torch.tensor([0, 8, 8]), states, plan)
    assert torch.isfinite(result.features).all()
    assert (result.features[:, 2:] == 0).all()
    assert (result.states[0] != 0).all()
    assert result.features[0, :2].tolist() == [0.0, 1.0]


@settings(max_examples=100, deadline=None)
@given_by(st.integers(1, 6), st.integers(0, 2**48))
def test_columns_from_elsewhere_are_encoded_as_by_the_reference(
    make_plan: Callable[..., bytes], as_tensor: Callable[[bytes], Tensor], n_rows: int, seed: int
) -> None:
    chance = random.Random(seeds.derived(seed))
    plan = make_plan(
        ("n", "numeric", {"log1p": True, "indicator": True}), ("p", "port", {"indicator": True}), ("b", "boolean"),
        ("t", "timestamp", {"indicator": True}), ("i", "ip", {"indicator": True, "prefix_bits": 9}),
        ("c", "categorical", {"values": ["a", "b"], "indicator": True}), ("x", "text"), ("r", "raw"),
    )  # fmt: skip
    numbers = [[chance.choice(NUMBERS) for _ in range(4)] for _ in range(n_rows)]
    texts = [chance.choice(TEXTS) for _ in range(4 * n_rows)]
    states = [[chance.choice([0, 0, 0, 1, 2, 3, 4, 5]) for _ in range(8)] for _ in range(n_rows)]
    ends = np.cumsum([0, *map(len, texts)])
    truth = reference.encode(numbers, b"".join(texts), ends, states, plan)
    native = refinery.encode(
        torch.tensor(numbers, dtype=torch.float64), as_tensor(b"".join(texts)), torch.from_numpy(ends),
        torch.tensor(states, dtype=torch.uint8), as_tensor(plan),
    )  # fmt: skip
    np.testing.assert_array_equal(native.states, truth.states)
    np.testing.assert_array_equal(native.counters, truth.counters)
    np.testing.assert_allclose(native.features, truth.features, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(native.last, truth.last)
