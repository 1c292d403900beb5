"""What `lora_linear` refuses: the message says what it got and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jenga.kernels import Update, lora_linear, lora_linear_grouped, lora_linear_updates
from jenga.kernels.lora_linear.arguments import LoraArguments
from jenga.kernels.lora_linear.checks import check_op, check_op_biases, check_op_gradients

X, WEIGHT, BIAS = torch.ones(6, 19), torch.ones(11, 19), torch.ones(11)
A, B = torch.ones(4, 19), torch.ones(11, 4)
META = torch.device("meta")


def call(**changed: Any) -> Tensor:
    options = {"scale": 1.0, **{name: changed.pop(name) for name in ("dropout", "seed") if name in changed}}
    given = {"x": X, "weight": WEIGHT, "bias": BIAS, "lora_a": A, "lora_b": B, **changed}
    return lora_linear(given["x"], given["weight"], given["bias"], given["lora_a"], given["lora_b"], **options)


def test_the_unchanged_call_is_allowed() -> None:
    assert call().shape == (6, 11)
    assert call(dropout=0.5).shape == (6, 11)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": X.long()}, r"x: got torch.int64 of shape \(6, 19\); allowed: float32, float64, bfloat16, float16"),
        ({"x": X.cfloat()}, r"x: got torch.complex64"),
        ({"x": X.to(torch.float8_e5m2)}, r"x: got torch.float8_e5m2 of shape"),
        ({"x": X[0, 0]}, r"x: got torch.float32 of shape \(\); allowed: .* of at least one dimension"),
        ({"x": X[:, :18]}, r"weight 0: got shape \(11, 19\); allowed: \(N, 18\)"),
        ({"weight": WEIGHT[0]}, r"weight 0: got shape \(19,\); allowed: \(N, 19\)"),
        # As many rows as inputs and outputs: torch's own products would broadcast it.
        (
            {"x": X[:, :6], "weight": WEIGHT[0, :6], "bias": None, "lora_a": A[:, :6], "lora_b": B[:6]},
            r"weight 0: got shape \(6,\); allowed: \(N, 6\)",
        ),
        ({"weight": WEIGHT.t()}, r"weight 0: got shape \(19, 11\); allowed: \(N, 19\)"),
        ({"weight": WEIGHT.double()}, r"weight 0: is torch.float64, x torch.float32; cast one, or use torch.autocast"),
        ({"weight": WEIGHT.to(META)}, r"weight 0: is on meta, x on cpu"),
        ({"bias": BIAS[:10]}, r"bias 0: got torch.float32 of shape \(10,\); allowed: \(11,\)"),
        ({"bias": BIAS[:1]}, r"bias 0: got torch.float32 of shape \(1,\); allowed: \(11,\)"),
        ({"bias": BIAS[None]}, r"bias 0: got torch.float32 of shape \(1, 11\); allowed: \(11,\)"),
        ({"bias": BIAS.long()}, r"bias 0: got torch.int64 .*; allowed: \(11,\), float32, float64, bfloat16, float16"),
        ({"bias": BIAS.to(META)}, r"bias 0: is on meta, x on cpu"),
        ({"lora_a": A[0]}, r"lora_a 0: got shape \(19,\); allowed: \(R, 19\), R at least 1"),
        ({"lora_a": A[:, 1:]}, r"lora_a 0: got shape \(4, 18\); allowed: \(R, 19\), R at least 1"),
        ({"lora_a": A[:0], "lora_b": B[:, :0]}, r"lora_a 0: got shape \(0, 19\); allowed: \(R, 19\), R at least 1"),
        ({"lora_a": A.long()}, r"lora_a 0: got torch.int64; allowed: float32, float64, bfloat16, float16"),
        ({"lora_a": A.to(META)}, r"lora_a 0: is on meta, x on cpu"),
        ({"lora_b": B[:, :3]}, r"lora_b 0: got shape \(11, 3\); allowed: \(11, 4\)"),
        ({"lora_b": B.t()}, r"lora_b 0: got shape \(4, 11\); allowed: \(11, 4\)"),
        ({"lora_b": B[:, 0]}, r"lora_b 0: got shape \(11,\); allowed: \(11, 4\)"),
        ({"lora_b": B.cfloat()}, r"lora_b 0: got torch.complex64; allowed"),
        ({"lora_b": B.to(META)}, r"lora_b 0: is on meta, x on cpu"),
        ({"dropout": 1.0}, r"dropout: got 1.0; allowed: 0 <= dropout < 1"),
        ({"dropout": -0.1}, r"dropout: got -0.1; allowed: 0 <= dropout < 1"),
        ({"dropout": float("nan")}, r"dropout: got nan; allowed: 0 <= dropout < 1"),
        ({"dropout": 0.5, "seed": 1.5}, r"seed: got 1.5; allowed: an int of 64 bits"),
        ({"dropout": 0.5, "seed": 2**63}, r"seed: got 9223372036854775808; allowed: an int of 64 bits"),
        ({"dropout": 0.5, "seed": torch.tensor(3.0)}, r"seed: got torch.float32 of shape \(\); allowed: one int64"),
        ({"dropout": 0.5, "seed": torch.tensor([3, 4])}, r"seed: got torch.int64 of shape \(2,\); allowed: one int64"),
        ({"dropout": 0.5, "seed": torch.tensor(3, device=META)}, r"seed: is on meta, x on cpu"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(**changed)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (WEIGHT[:, 1:], r"weights\[0\]: got torch.float32|weights\[0\]: must be floating \(outputs, 19\)"),
        (WEIGHT.long(), r"weights\[0\]: must be floating \(outputs, 19\)"),
        (WEIGHT[1:], r"lora_a, lora_b of part 0: must have shapes \(R, 19\) and \(10, R\)"),
    ],
)
def test_a_function_that_gives_another_weight_is_refused(made: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(weight=lambda: made)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.zeros(6, dtype=torch.int32), r"rows: got torch.int32 of shape \(6,\); allowed: int64 \(6,\)"),
        (torch.zeros(6), r"rows: got torch.float32 of shape \(6,\); allowed: int64 \(6,\)"),
        (torch.zeros(5).long(), r"rows: got torch.int64 of shape \(5,\); allowed: int64 \(6,\)"),
        (torch.zeros(6, 1).long(), r"rows: got torch.int64 of shape \(6, 1\); allowed: int64 \(6,\)"),
        (torch.zeros(6, device=META).long(), r"rows: is on meta, x on cpu"),
    ],
)
def test_rows_of_another_form_are_refused(rows: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lora_linear_updates(X, [WEIGHT], [BIAS], [Update(A, B, 1.0)], rows=rows)


def test_an_update_of_a_layer_or_adapter_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="update 1: projection 2; allowed: 0 to 1"):
        lora_linear_updates(X, [WEIGHT] * 2, [None] * 2, [Update(A, B, 1.0), Update(A, B, 1.0, projection=2)])
    with pytest.raises(ValueError, match="update 0: adapter -1; allowed: 0 or more, since rows of -1 have none"):
        lora_linear_updates(X, [WEIGHT], [BIAS], [Update(A, B, 1.0, adapter=-1)])


def test_disagreeing_numbers_of_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="weights, biases: got 2 and 1; allowed: as many, 1 or more"):
        lora_linear_updates(X, [WEIGHT] * 2, [BIAS], [])
    with pytest.raises(ValueError, match="weights, biases: got 0 and 0; allowed: as many, 1 or more"):
        lora_linear_updates(X, [], [], [])
    with pytest.raises(ValueError, match="got 2 weights, 2 biases, 1 lora_as, 1 lora_bs, 1 scales; allowed: one of"):
        lora_linear_grouped(X, [WEIGHT] * 2, [BIAS] * 2, [A], [B], scales=[1.0])


# ------------------------------------------------------------------------------------------------- the dispatcher's ops


def op_call(op: Callable[..., Any] = torch.ops.jenga.lora_linear, **changed: Any) -> Any:
    given = {
        "x": X, "weights": [WEIGHT], "biases": [BIAS], "biased": [0], "lora_as": [A], "lora_bs": [B], "scales": [1.0],
        "projections": [0], "adapters": [0], "rows": None, "dropout": 0.0, "seed": None, **changed,
    }  # fmt: skip
    return op(*given.values())


def checks_on_cuda(
    x: torch.Tensor, weights: list[torch.Tensor], biases: list[torch.Tensor], biased: list[int], *updates: Any
) -> None:
    """What the op on CUDA asks of its arguments, whatever their device."""
    arguments = LoraArguments(x, weights, *updates)
    check_op(arguments)
    check_op_biases(arguments, biases, biased)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": X[None]}, "x: got .*3 dimensions; allowed: "),
        ({"weights": [], "biases": [], "biased": []}, "weights: got none; allowed: 1 or more"),
        ({"weights": [WEIGHT[:, 1:]]}, r"weights\[0\]: must be floating \(outputs, 19\)"),
        ({"biased": []}, "biases and biased differ in length"),
        ({"biased": [1]}, r"biases\[0\]: must be .*as many values as its weight has rows"),
        ({"biases": [BIAS[1:]]}, r"biases\[0\]: must be .*as many values as its weight has rows"),
        ({"scales": []}, "lora_as, lora_bs, scales, projections and adapters differ in length"),
        ({"projections": [1]}, r"projections\[0\]: got 1; allowed: 0 to 0"),
        ({"projections": [-1]}, r"projections\[0\]: got -1; allowed: 0 to 0"),
        ({"lora_as": [A[:, 1:]]}, r"lora_a, lora_b of part 0: must have shapes \(R, 19\) and \(11, R\), R >= 1"),
        ({"lora_bs": [B[1:]]}, r"lora_a, lora_b of part 0: must have shapes \(R, 19\) and \(11, R\), R >= 1"),
        ({"lora_as": [A.long()]}, "lora_a of part 0: got dtype .*; allowed: float32"),
        ({"lora_bs": [B.cfloat()]}, "lora_b of part 0: got dtype .*; allowed: float32"),
        ({"adapters": [-1]}, r"adapters\[0\]: got -1; allowed: 0 or more"),
        ({"rows": torch.zeros(5).long()}, r"rows: got .*\(5,\); allowed: .*\(6,\)"),
        ({"rows": torch.zeros(6).int()}, "rows: got .*[iI]nt.*; allowed: "),
        ({"dropout": 1.0}, r"dropout: got 1(\.0)?; allowed: 0 <= dropout < 1"),
        ({"dropout": 0.5}, "seed: dropout needs one int64"),
        ({"dropout": 0.5, "seed": torch.tensor([1, 2])}, "seed: dropout needs one int64"),
    ],
)
@pytest.mark.parametrize("op", [torch.ops.jenga.lora_linear, checks_on_cuda])
def test_the_op_itself_refuses_what_would_read_beyond_its_inputs(
    op: Callable[..., Any], changed: dict[str, Any], message: str
) -> None:
    op_call(op)
    with pytest.raises(ValueError, match=message):
        op_call(op, **changed)


def test_ranks_whose_sum_or_product_would_wrap_round_are_refused() -> None:
    # Nothing of these takes memory, and 4 * 2**62 is 0 in 64 bits.
    no_inputs = {"x": torch.ones(6, 0), "weights": [torch.ones(0, 0)], "biases": [], "biased": []}
    ranks = [2**62] * 4 + [3]
    parts = {
        "lora_as": [torch.ones(rank, 0) for rank in ranks], "lora_bs": [torch.ones(0, rank) for rank in ranks],
        "scales": [1.0] * 5, "projections": [0] * 5, "adapters": [0] * 5,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"ranks of all lora_as: .* is too large; allowed: up to 2\^63 - 1"):
        op_call(**no_inputs, **parts)


def test_sizes_without_elements_take_no_time() -> None:
    # Rows, outputs and ranks of which there are more than can be counted through.
    no_parts = {"lora_as": [], "lora_bs": [], "scales": [], "projections": [], "adapters": []}
    weight = torch.ones((), dtype=torch.bfloat16).expand(2**40, 19)
    outputs, _ = op_call(x=X[:0].bfloat16(), weights=[weight], biases=[], biased=[], **no_parts)
    assert outputs[0].shape == (0, 2**40)
    outputs, _ = op_call(x=torch.ones(2**62, 0), weights=[torch.ones(0, 0)], biases=[], biased=[], **no_parts)
    assert outputs[0].shape == (2**62, 0)
    *_, (db,) = torch.ops.jenga.lora_linear_backward(
        [torch.ones(0, 0)], torch.ones(0, 0), torch.ones(0, 2**62), [torch.ones(0, 0)], [torch.ones(2**62, 0)],
        [torch.ones(0, 2**62)], [1.0], [0], [0], None, 0.0, None, True, True, True,
    )  # fmt: skip
    assert db.shape == (0, 2**62)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grads": []}, "grads: got 0 for 1 weights"),
        ({"grads": [torch.ones(6, 10)]}, r"grads\[0\]: got shape \(6, 10\); allowed: \(6, 11\)"),
        ({"grads": [torch.ones(5, 11)]}, r"grads\[0\]: got shape \(5, 11\); allowed: \(6, 11\)"),
        ({"grads": [torch.ones(6, 11).cfloat()]}, r"grads\[0\]: got dtype ComplexFloat; allowed: float32"),
        ({"projected": torch.ones(6, 3)}, r"projected: got shape \(6, 3\); allowed: \(6, 4\)"),
        ({"projected": torch.ones(5, 4)}, r"projected: got shape \(5, 4\); allowed: \(6, 4\)"),
        ({"projected": torch.ones(24)}, r"projected: got shape \(24,\); allowed: \(6, 4\)"),
    ],
)
def test_the_backward_op_refuses_gradients_of_another_forward_pass(changed: dict[str, Any], message: str) -> None:
    given = {
        "grads": [torch.ones(6, 11)], "x": X, "projected": torch.ones(6, 4), "weights": [WEIGHT], "lora_as": [A],
        "lora_bs": [B], "scales": [1.0], "projections": [0], "adapters": [0], "rows": None, "dropout": 0.0,
        "seed": None, "wants_x": True, "wants_a": True, "wants_b": True, **changed,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        torch.ops.jenga.lora_linear_backward(*given.values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grads": [torch.ones(6, 10)]}, r"grads: got \[\(6, 10\)\]; allowed: floating \[\(6, 11\)\]"),
        ({"grads": [torch.ones(6, 11).long()]}, "grads: got"),
        ({"grads": []}, r"grads: got \[\]"),
        ({"projected": torch.ones(6, 3)}, r"projected: got \(6, 3\); allowed: floating \(6, 4\)"),
    ],
)
def test_the_backward_op_on_cuda_refuses_gradients_of_another_forward_pass(
    changed: dict[str, Any], message: str
) -> None:
    arguments = LoraArguments(X, [WEIGHT], [A], [B], [1.0], [0], [0], None, 0.0, None)
    given = {"grads": [torch.ones(6, 11)], "projected": torch.ones(6, 4)}
    check_op_gradients(arguments, **given)
    with pytest.raises(ValueError, match=message):
        check_op_gradients(arguments, **(given | changed))
