"""Losses, counts, predictions and gradients: against the reference in float64, and against PyTorch's own losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jenga.kernels import HeadSpec, multi_head_loss
from jenga.kernels.multi_head_loss.reference import multi_head_loss_reference
from jenga.kernels.multi_head_loss.spec import KINDS

MakeCase = Callable[..., Any]
NAN, INF = float("nan"), float("inf")

# float32: a loss term carries a few roundings of 6e-8 and a sum of up to 10^4 terms of one sign keeps that relative
# error; a gradient passes one more GEMM of up to 1000 rows, whose terms cancel, hence the absolute part.
FLOAT32 = {"rtol": 2e-5, "atol": 2e-5}
# float64 on both sides: only the order of additions differs.
FLOAT64 = {"rtol": 1e-11, "atol": 1e-11}


def assert_matches_float64(case: Any, **tolerance: float) -> None:
    result, gradients = case.run(multi_head_loss)
    truth, true_gradients = case.run(multi_head_loss_reference, torch.float64)
    torch.testing.assert_close(result.loss_sum.double(), truth.loss_sum, **tolerance)
    assert torch.equal(result.count, truth.count)
    for gradient, true_gradient in zip(gradients, true_gradients, strict=True):
        torch.testing.assert_close(gradient.double(), true_gradient, **tolerance)


def test_the_mixed_heads_hold_every_kind(mixed_heads: Callable[[], list[HeadSpec]]) -> None:
    assert {head.kind for head in mixed_heads()} == set(KINDS)


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("n_rows", [0, 1, 7, 128, 129, 1000])
def test_float32_losses_and_every_gradient_match_float64(make_case: MakeCase, n_rows: int, routed: bool) -> None:
    assert_matches_float64(make_case(n_rows, routed=routed), **FLOAT32)


@pytest.mark.parametrize("n_rows", [0, 1, 300])
def test_float64_losses_and_gradients_are_computed_in_float64(make_case: MakeCase, n_rows: int) -> None:
    case = make_case(n_rows, dtype=torch.float64)
    assert case.run(multi_head_loss).result.loss_sum.dtype == torch.float64
    assert_matches_float64(case, **FLOAT64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_lose_only_the_rounding_of_the_stored_gradient(
    make_case: MakeCase, dtype: torch.dtype
) -> None:
    case = make_case(65)
    n_outputs = sum(head.size for head in case.heads)
    # The identity as weight hands `hidden` through unchanged: its gradient is the gradient of the logits.
    case.hidden = case.random_logits(dtype, scale=4.0)
    case.weight, case.bias = torch.eye(n_outputs, dtype=dtype), torch.zeros(n_outputs, dtype=dtype)
    result, gradients = case.run(multi_head_loss)
    truth, true_gradients = case.run(multi_head_loss_reference, torch.float64)
    assert result.loss_sum.dtype == torch.float32
    torch.testing.assert_close(result.loss_sum.double(), truth.loss_sum, **FLOAT32)
    # One rounding to nearest is half an eps, and float32 puts one of its own before it; atol covers float16 subnormals.
    torch.testing.assert_close(gradients[0].double(), true_gradients[0], rtol=torch.finfo(dtype).eps * 0.51, atol=4e-7)


@pytest.mark.parametrize("routed", [False, True])
def test_predictions_equal_those_of_the_reference(make_case: MakeCase, routed: bool) -> None:
    case = make_case(257, routed=routed)
    ours, theirs = (case.call(each).predictions for each in (multi_head_loss, multi_head_loss_reference))
    assert len(ours) == len(case.heads)
    for prediction, expected in zip(ours, theirs, strict=True):
        assert not prediction.requires_grad
        # Another GEMM may round the logits that mse hands on otherwise; no other prediction lies so near its edge.
        torch.testing.assert_close(prediction, expected, equal_nan=True, **FLOAT32)


@pytest.mark.parametrize("kind", ["ce", "focal", "soft"])
def test_argmax_of_tied_logits_is_the_first(kind: Any) -> None:
    target = torch.full((3, 4), 0.25) if kind == "soft" else torch.zeros(3).long()
    result = multi_head_loss(torch.zeros(3, 2), torch.zeros(4, 2), None, [target], heads=[HeadSpec(kind, 4)])
    assert result.predictions[0].tolist() == [0, 0, 0]


# ------------------------------------------------------------------------------------------- PyTorch's own losses


def loss_and_logits(case: Any) -> tuple[Tensor, Tensor]:
    return case.call(multi_head_loss).loss_sum[0], F.linear(case.hidden, case.weight, case.bias)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["ce", "soft"])
def test_ce_and_soft_equal_torch_cross_entropy(
    make_case: MakeCase, kind: Any, smoothing: float, weighted: bool
) -> None:
    class_weight = torch.tensor([0.2, 3.0, 1.0, 0.0]) if weighted else None
    case = make_case(50, heads=[HeadSpec(kind, 4, class_weight=class_weight, label_smoothing=smoothing)])
    loss_sum, logits = loss_and_logits(case)
    known = case.targets[0] != -100 if kind == "ce" else ~case.targets[0].isnan().any(dim=1)
    assert 0 < known.sum() < 50
    expected = F.cross_entropy(
        logits[known], case.targets[0][known], class_weight, reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(loss_sum, expected, **FLOAT32)


def test_soft_targets_are_taken_as_they_are_given(make_case: MakeCase) -> None:
    case = make_case(50, heads=[HeadSpec("soft", 4)], masked=0.0)
    once, _ = loss_and_logits(case)
    case.targets[0] = case.targets[0] * 3  # rows that sum to 3
    torch.testing.assert_close(loss_and_logits(case)[0], once * 3, **FLOAT32)


def test_one_hot_soft_targets_give_the_loss_and_gradient_of_their_labels(make_case: MakeCase) -> None:
    weights = torch.tensor([0.2, 3.0, 1.0])
    labels = make_case(50, heads=[HeadSpec("ce", 3, class_weight=weights)], masked=0.0)
    soft = make_case(50, heads=[HeadSpec("soft", 3, class_weight=weights)], masked=0.0)
    soft.targets = [F.one_hot(labels.targets[0], 3).float()]
    soft.hidden, soft.weight, soft.bias = labels.hidden, labels.weight, labels.bias
    ours, theirs = soft.run(multi_head_loss), labels.run(multi_head_loss)
    torch.testing.assert_close(ours.result.loss_sum, theirs.result.loss_sum, **FLOAT32)
    torch.testing.assert_close(ours.gradients, theirs.gradients, **FLOAT32)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, None, 5.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_is_cross_entropy_weighted_by_what_probability_the_label_misses(
    make_case: MakeCase, gamma: float | None, weighted: bool
) -> None:
    class_weight = torch.tensor([0.2, 3.0, 1.0, 0.0]) if weighted else None
    case = make_case(50, heads=[HeadSpec("focal", 4, class_weight=class_weight, gamma=gamma)])
    loss_sum, logits = loss_and_logits(case)
    known = case.targets[0] != -100
    assert 0 < known.sum() < 50
    losses = F.cross_entropy(logits[known], case.targets[0][known], class_weight, reduction="none")
    p = logits[known].softmax(1).gather(1, case.targets[0][known].unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(loss_sum, (losses * (1 - p) ** (2.0 if gamma is None else gamma)).sum(), **FLOAT32)


def test_bce_equals_torch_on_the_unmasked_elements(make_case: MakeCase) -> None:
    head = HeadSpec("bce", 4, pos_weight=torch.tensor([0.5, 1.0, 2.0, 9.0]))
    case = make_case(50, heads=[head])
    loss_sum, logits = loss_and_logits(case)
    unmasked = ~case.targets[0].isnan()
    losses = F.binary_cross_entropy_with_logits(
        logits, case.targets[0].nan_to_num(), pos_weight=head.pos_weight, reduction="none"
    )
    torch.testing.assert_close(loss_sum, losses[unmasked].sum(), **FLOAT32)


def test_mse_equals_torch_on_the_unmasked_elements(make_case: MakeCase) -> None:
    case = make_case(50, heads=[HeadSpec("mse", 4)])
    loss_sum, logits = loss_and_logits(case)
    unmasked = ~case.targets[0].isnan()
    torch.testing.assert_close(
        loss_sum, F.mse_loss(logits[unmasked], case.targets[0][unmasked], reduction="sum"), **FLOAT32
    )


# ---------------------------------------------------------------------------------------------------- the far ends


def test_extreme_logits_give_finite_losses_and_gradients() -> None:
    heads = [HeadSpec("ce", 2), HeadSpec("bce", 2), HeadSpec("focal", 2), HeadSpec("soft", 2)]
    hidden = torch.tensor([[1e4, -1e4] * 4], requires_grad=True)
    targets = [torch.tensor([1]), torch.tensor([[0.0, 1.0]]), torch.tensor([1]), torch.tensor([[0.0, 1.0]])]
    result = multi_head_loss(hidden, torch.eye(8), None, targets, heads=heads)
    result.loss_sum.sum().backward()
    assert result.loss_sum.tolist() == [2e4, 2e4, 2e4, 2e4]
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[1.0, -1.0] * 4]


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_a_certain_and_right_focal_row_has_neither_loss_nor_gradient(gamma: float) -> None:
    hidden = torch.tensor([[200.0, -200.0]], requires_grad=True)
    result = multi_head_loss(hidden, torch.eye(2), None, [torch.tensor([0])], heads=[HeadSpec("focal", 2, gamma=gamma)])
    result.loss_sum.sum().backward()
    # The true values are of the order of e^-400; 1 - p may be kept at the smallest normal number, 1.2e-38.
    assert result.loss_sum.item() == pytest.approx(0.0, abs=1e-37)
    assert hidden.grad is not None
    assert hidden.grad.abs().max().item() <= 1e-37


@pytest.mark.parametrize("junk", [NAN, INF, -INF])
def test_what_stands_in_the_hidden_state_of_a_masked_row_reaches_nothing(make_case: MakeCase, junk: float) -> None:
    heads = [HeadSpec("ce", 3), HeadSpec("focal", 3), HeadSpec("soft", 3), HeadSpec("bce", 2), HeadSpec("mse", 2)]
    case = make_case(6, heads=heads, masked=0.0)
    for target in case.targets:
        target[4] = -100 if target.dtype == torch.int64 else NAN
    n_outputs = len(case.weight)
    # Through the identity, since a product of the masked row's zeros with its own junk is not for us to prevent.
    case.hidden, case.weight = case.random_logits(), torch.eye(n_outputs)
    case.bias = torch.zeros(n_outputs)
    clean = case.run(multi_head_loss)
    logits = case.hidden.clone()
    logits[4] = junk
    loss_sum, count, slope, *_ = torch.ops.jenga.multi_head_loss(*case.op_arguments(logits))
    torch.testing.assert_close(loss_sum, clean.result.loss_sum)
    assert torch.equal(count, clean.result.count)
    assert torch.equal(slope[4], torch.zeros(n_outputs))
    assert slope[:4].isfinite().all()


# ---------------------------------------------------------------------------------------------------------- masks


def test_an_all_masked_head_has_zero_loss_and_zero_gradient_even_under_its_nan_mean(make_case: MakeCase) -> None:
    heads = [HeadSpec("ce", 3, label_smoothing=0.1), HeadSpec("bce", 2), HeadSpec("mse", 1), HeadSpec("focal", 2)]
    heads += [HeadSpec("soft", 3, label_smoothing=0.1), HeadSpec("ce", 2)]
    case = make_case(6, heads=heads)
    for target in case.targets[:5]:
        target.fill_(-100 if target.dtype == torch.int64 else NAN)
    case.weight.requires_grad_()
    result = case.call(multi_head_loss)
    assert result.loss_sum[:5].tolist() == result.count[:5].tolist() == [0.0] * 5
    (gradient,) = torch.autograd.grad((result.loss_sum / result.count).sum(), case.weight)
    assert torch.equal(gradient[:11], torch.zeros_like(gradient[:11]))
    assert gradient[11:].isfinite().all()
    assert gradient[11:].any()


def test_a_batch_without_any_label_has_zero_losses_and_zero_gradients(make_case: MakeCase) -> None:
    case = make_case(9, masked=1.0)
    result, gradients = case.run(multi_head_loss)
    assert not result.loss_sum.any()
    assert not result.count.any()
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


def test_ignored_labels_get_zero_gradient(make_case: MakeCase) -> None:
    case = make_case(40)
    for target in case.targets:
        target[11] = -100 if target.dtype == torch.int64 else NAN
    gradient = case.run(multi_head_loss).gradients[0]
    assert torch.equal(gradient[11], torch.zeros_like(gradient[11]))
    assert gradient.any()


def test_one_missing_probability_masks_a_soft_row_and_one_missing_item_only_itself(make_case: MakeCase) -> None:
    case = make_case(5, heads=[HeadSpec("soft", 3), HeadSpec("bce", 3)], masked=0.0)
    for target in case.targets:
        target[2, 1] = NAN
    assert case.call(multi_head_loss).count.tolist() == [4.0, 14.0]
