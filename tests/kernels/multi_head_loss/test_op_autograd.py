"""What multi_head_loss hands to autograd: what it keeps, what it refuses, what runs under autocast."""

from collections.abc import Callable

import pytest
import seeds
import torch
from torch import Tensor

from jenga.kernels import HeadSpec, MultiHeadLoss, multi_head_loss
from jenga.kernels.multi_head_loss.reference import multi_head_loss_reference

HEADS = [HeadSpec("ce", 3), HeadSpec("soft", 2)]


def inputs(n_rows: int = 6) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    generator = seeds.generator(0)
    hidden = torch.randn(n_rows, 7, generator=generator)
    weight = torch.randn(5, 7, generator=generator)
    return hidden, weight, torch.zeros(5), [torch.arange(n_rows) % 3, torch.rand(n_rows, 2, generator=generator)]


def test_a_backward_pass_through_its_gradients_is_refused_by_name() -> None:
    hidden, weight, bias, targets = inputs()
    hidden.requires_grad_(), weight.requires_grad_()
    loss = multi_head_loss(hidden, weight, bias, targets, heads=HEADS).mean()
    (gradient,) = torch.autograd.grad(loss, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="multi_head_loss has no second derivative"):
        (loss + gradient.square().sum()).backward()


def test_a_graph_that_is_kept_gives_the_same_gradients() -> None:
    hidden, weight, bias, targets = inputs()
    leaves = [each.requires_grad_() for each in (hidden, weight, bias)]
    loss = multi_head_loss(*leaves, targets, heads=HEADS).mean()
    kept = torch.autograd.grad(loss, leaves, create_graph=True)
    for with_graph, plain in zip(kept, torch.autograd.grad(loss, leaves), strict=True):
        assert torch.equal(with_graph, plain)


def test_a_forward_mode_derivative_is_refused_and_not_zero() -> None:
    hidden, weight, bias, targets = inputs()
    with pytest.raises(Exception, match=r"forward mode AD|jvp|setup_context"):
        torch.func.jvp(lambda x: multi_head_loss(x, weight, bias, targets, heads=HEADS).loss_sum, (hidden,), (hidden,))


@pytest.mark.parametrize(("frozen", "changed"), [("weight", "hidden"), ("hidden", "weight")])
def test_what_no_gradient_needs_may_change_before_the_backward_pass(frozen: str, changed: str) -> None:
    hidden, weight, bias, targets = inputs()
    by_name = {"hidden": hidden, "weight": weight}
    learnt = by_name["hidden" if frozen == "weight" else "weight"].requires_grad_()
    loss = multi_head_loss(hidden * 1, weight, bias, targets, heads=HEADS).mean()
    (expected,) = torch.autograd.grad(loss, learnt, retain_graph=True)
    with torch.no_grad():
        by_name[changed].add_(1)
    (gradient,) = torch.autograd.grad(loss, learnt)
    assert torch.equal(gradient, expected)


def test_hidden_states_that_changed_before_the_backward_pass_are_an_error() -> None:
    hidden, weight, bias, targets = inputs()
    loss = multi_head_loss(hidden, weight.requires_grad_(), bias, targets, heads=HEADS).mean()
    hidden.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inference_tensors_are_taken_where_nothing_is_learnt() -> None:
    with torch.inference_mode():
        hidden, weight, bias, targets = inputs()
    assert multi_head_loss(hidden, weight, bias, targets, heads=HEADS).loss_sum.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_mean_is_float32_under_autocast_and_does_not_overflow(dtype: torch.dtype) -> None:
    hidden, weight, bias, targets = inputs(60_000)
    with torch.autocast("cpu", dtype=dtype):
        result = multi_head_loss(hidden, weight, bias, targets, heads=HEADS)
        mean = result.mean()
    assert mean.dtype == torch.float32
    assert result.loss_sum.max() > 65504  # the largest float16
    # Two quotients and their sum in float32.
    torch.testing.assert_close(mean, (result.loss_sum / result.count).sum(), rtol=1e-6, atol=0)


def test_the_mean_weighs_heads_and_leaves_out_those_without_labels() -> None:
    hidden, weight, bias, targets = inputs()
    targets[0].fill_(-100)
    result = multi_head_loss(hidden, weight, bias, targets, heads=HEADS)
    head_weight = torch.tensor([5.0, 0.5], requires_grad=True)
    mean = result.mean(head_weight)
    torch.testing.assert_close(mean, 0.5 * result.loss_sum[1] / 6)
    mean.backward()
    assert head_weight.grad is not None
    assert head_weight.grad[0] == 0


def test_meta_tensors_give_shapes() -> None:
    hidden, weight, bias, targets = inputs()
    result = multi_head_loss(
        hidden.to("meta"), weight.to("meta"), bias.to("meta"), [each.to("meta") for each in targets], heads=HEADS
    )
    assert result.loss_sum.shape == result.count.shape == (2,)
    assert [each.shape for each in result.predictions] == [(6,), (6,)]


@pytest.mark.parametrize("implementation", [multi_head_loss, multi_head_loss_reference])
def test_a_tensor_on_another_device_is_named(implementation: Callable[..., MultiHeadLoss]) -> None:
    hidden, weight, bias, targets = inputs()
    with pytest.raises(ValueError, match="weight: on meta; allowed: the device of hidden, cpu"):
        implementation(hidden, weight.to("meta"), bias, targets, heads=HEADS)
    with pytest.raises(ValueError, match=r"targets\[1\]: on meta"):
        implementation(hidden, weight, bias, [targets[0], targets[1].to("meta")], heads=HEADS)


@pytest.mark.parametrize("implementation", [multi_head_loss, multi_head_loss_reference])
def test_targets_get_no_gradient(implementation: Callable[..., MultiHeadLoss]) -> None:
    hidden, weight, bias, targets = inputs()
    targets[1].requires_grad_()
    implementation(hidden.requires_grad_(), weight, bias, targets, heads=HEADS).loss_sum.sum().backward()
    assert targets[1].grad is None


def test_the_first_nan_logit_is_predicted_as_by_argmax() -> None:
    nan = float("nan")
    logits = torch.tensor([[0.0, 1.0, nan], [nan, 2.0, nan], [3.0, nan, 4.0]])
    masked = torch.full((3,), -100)
    result = multi_head_loss(logits, torch.eye(3), None, [masked], heads=[HeadSpec("ce", 3)])
    # A product with a NaN spreads it over the row, so the logits themselves are checked through the op.
    direct = torch.ops.jenga.multi_head_loss(logits, [masked], [0], [3], [], [], [], None, [], False)[3]
    assert direct[0].tolist() == logits.argmax(1).tolist() == [2, 0, 1]
    assert result.loss_sum.tolist() == [0.0]
