"""jenga.kernels.linear_cross_entropy against its reference in float64, and against PyTorch's own loss."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import seeds
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jenga.kernels import linear_cross_entropy
from jenga.kernels.linear_cross_entropy.reference import linear_cross_entropy_reference

EPS = torch.finfo(torch.float32).eps
# float64 on both sides: only the order of additions differs.
FLOAT64 = {"rtol": 1e-11, "atol": 1e-12}
# A float32 loss carries a few roundings of 6e-8, a gradient those of one more GEMM, whose terms cancel.
FLOAT32 = {"rtol": 2e-5, "atol": 2e-6}


class Case(NamedTuple):
    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor

    def to(self, dtype: torch.dtype) -> "Case":
        return Case(*(part if part is None or not part.is_floating_point() else part.to(dtype) for part in self))

    @property
    def leaves(self) -> list[Tensor]:
        return [leaf for leaf in self[:3] if leaf is not None]


def make_case(
    n_rows: int, vocabulary: int, hidden_size: int = 19, *, bias: bool = True, ignored: float = 0.2, seed: int = 0
) -> Case:
    generator = seeds.generator(seed)
    hidden = torch.randn(n_rows, hidden_size, generator=generator)
    weight = 2 * torch.randn(vocabulary, hidden_size, generator=generator) / hidden_size**0.5
    targets = torch.randint(0, vocabulary, (n_rows,), generator=generator)
    targets[torch.rand(n_rows, generator=generator) < ignored] = -100
    return Case(hidden, weight, torch.randn(vocabulary, generator=generator) if bias else None, targets)


def run(function: Callable[..., Tensor], case: Case, **options: object) -> tuple[Tensor, list[Tensor]]:
    """The loss, and the gradients of hidden, weight and bias under an upstream gradient of 3."""
    hidden, weight, bias = (None if part is None else part.detach().requires_grad_() for part in case[:3])
    loss = function(hidden, weight, case.targets, bias=bias, **options)
    leaves = [leaf for leaf in (hidden, weight, bias) if leaf is not None]
    return loss.detach(), list(torch.autograd.grad(loss * 3, leaves))


def error(gradient: Tensor, truth: Tensor) -> float:
    """The largest difference, as a share of the largest true element."""
    return (
        float((gradient.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-300)) if truth.numel() else 0.0
    )


@settings(max_examples=60, deadline=None)
@given(
    n_rows=st.integers(0, 70),
    vocabulary=st.integers(1, 700),
    hidden_size=st.integers(1, 40),
    bias=st.booleans(),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    label_smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    reduction=st.sampled_from(["mean", "sum"]),
    chunk_size=st.sampled_from(["auto", 1, 7, 64]),
    seed=st.integers(0, 1000),
)
def test_errors_stay_within_twice_those_of_eager_for_any_shape(
    n_rows: int, vocabulary: int, hidden_size: int, bias: bool, ignored: float, seed: int,
    label_smoothing: float, reduction: str, chunk_size: int | str,
) -> None:  # fmt: skip
    case = make_case(n_rows, vocabulary, hidden_size, bias=bias, ignored=ignored, seed=seed)
    options = {"label_smoothing": label_smoothing, "reduction": reduction}
    loss, gradients = run(linear_cross_entropy, case, chunk_size=chunk_size, **options)
    _, eager = run(linear_cross_entropy_reference, case, **options)
    truth, true_gradients = run(linear_cross_entropy_reference, case.to(torch.float64), **options)
    torch.testing.assert_close(loss.double(), truth, **FLOAT32)
    for ours, theirs, true_gradient in zip(gradients, eager, true_gradients, strict=True):
        # With few terms eager may be exact by luck: 8 eps of the largest element are always allowed, and four times as
        # much, since the terms of one gradient alone may cancel but for a quarter of their size.
        assert error(ours, true_gradient) <= 2 * error(theirs, true_gradient) + 32 * EPS


@pytest.mark.parametrize("n_rows", [0, 1, 33])
def test_float64_is_computed_in_float64(n_rows: int) -> None:
    case = make_case(n_rows, 501).to(torch.float64)
    ours = run(linear_cross_entropy, case, label_smoothing=0.1, chunk_size=16)
    truth = run(linear_cross_entropy_reference, case, label_smoothing=0.1)
    assert ours[0].dtype == torch.float64
    torch.testing.assert_close(ours, truth, **FLOAT64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_lose_only_the_rounding_of_their_gradients(dtype: torch.dtype) -> None:
    case = make_case(33, 9001).to(dtype)  # more than the rows of the weight that are widened at a time
    loss, gradients = run(linear_cross_entropy, case, chunk_size=16)
    truth, true_gradients = run(linear_cross_entropy_reference, case.to(torch.float64))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), truth, **FLOAT32)
    for gradient, true_gradient in zip(gradients, true_gradients, strict=True):
        assert gradient.dtype == dtype
        # Rounded as it is stored and as it is multiplied by 3; float16 has a smallest number of 6e-8.
        torch.testing.assert_close(gradient.double(), true_gradient, rtol=1.1 * torch.finfo(dtype).eps, atol=5e-7)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_it_equals_torch_cross_entropy(label_smoothing: float, reduction: str) -> None:
    case = make_case(50, 211)
    loss, _ = run(linear_cross_entropy, case, label_smoothing=label_smoothing, reduction=reduction)
    logits = F.linear(case.hidden, case.weight, case.bias)
    expected = F.cross_entropy(logits, case.targets, label_smoothing=label_smoothing, reduction=reduction)
    torch.testing.assert_close(loss, expected, **FLOAT32)


def test_another_ignore_index_may_be_a_token() -> None:
    case = make_case(40, 7, ignored=0.0)
    ours = run(linear_cross_entropy, case, ignore_index=3)
    torch.testing.assert_close(ours, run(linear_cross_entropy_reference, case, ignore_index=3), **FLOAT32)
    assert not ours[1][0][case.targets == 3].any()


def test_all_rows_ignored_give_zero_loss_and_zero_gradients() -> None:
    loss, gradients = run(linear_cross_entropy, make_case(9, 50, ignored=1.0), label_smoothing=0.1)
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)


def test_one_class_has_zero_loss_and_zero_gradients() -> None:
    loss, gradients = run(linear_cross_entropy, make_case(9, 1))
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)


def test_non_contiguous_inputs_match_contiguous_ones() -> None:
    case = make_case(33, 101)
    strided = Case(*(torch.stack([part, part], dim=-1)[..., 0] for part in case if part is not None))
    assert not any(part.is_contiguous() for part in strided if part is not None)
    ours = run(linear_cross_entropy, strided, chunk_size=16)
    # The GEMM may take another path for strided inputs.
    torch.testing.assert_close(ours, run(linear_cross_entropy, case, chunk_size=16), **FLOAT32)
    transposed = case._replace(weight=case.weight.t().contiguous().t())
    torch.testing.assert_close(run(linear_cross_entropy, transposed), run(linear_cross_entropy, case), **FLOAT32)


def test_extreme_logits_give_finite_losses_and_gradients() -> None:
    hidden = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.eye(2), torch.tensor([1]))
    loss.backward()
    assert loss == 2e4
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[1.0, -1.0]]


def test_nan_inputs_reach_loss_and_gradients() -> None:
    case = make_case(5, 300, ignored=0.0)
    case.hidden[2, 3] = torch.nan
    loss, gradients = run(linear_cross_entropy, case)
    assert loss.isnan()
    assert gradients[0][2].isnan().all()


def test_gradcheck_passes() -> None:
    hidden, weight, bias, targets = make_case(5, 11, 3).to(torch.float64)
    assert bias is not None

    def loss(*leaves: Tensor) -> Tensor:
        return linear_cross_entropy(*leaves[:2], targets, bias=leaves[2], label_smoothing=0.1, chunk_size=2)

    assert torch.autograd.gradcheck(loss, [leaf.requires_grad_() for leaf in (hidden, weight, bias)])


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_wanted_gradients_are_computed(wanted: tuple[bool, bool, bool]) -> None:
    case = make_case(9, 31)
    _, expected = run(linear_cross_entropy, case)
    hidden, weight, bias = (leaf.requires_grad_(want) for leaf, want in zip(case.leaves, wanted, strict=True))
    (linear_cross_entropy(hidden, weight, case.targets, bias=bias) * 3).backward()
    for leaf, want, gradient in zip((hidden, weight, bias), wanted, expected, strict=True):
        assert (leaf.grad is not None) == want
        if want:
            torch.testing.assert_close(leaf.grad, gradient)


def test_no_graph_is_kept_when_no_gradient_is_wanted() -> None:
    case = make_case(9, 31)
    assert not linear_cross_entropy(case.hidden, case.weight, case.targets).requires_grad
    case.weight.requires_grad_()
    with torch.no_grad():
        assert not linear_cross_entropy(case.hidden, case.weight, case.targets).requires_grad


def test_a_second_backward_pass_recomputes_and_does_not_read_what_was_given_away() -> None:
    case = make_case(9, 31)
    weight = case.weight.requires_grad_()
    loss = linear_cross_entropy(case.hidden, weight, case.targets)
    (first,) = torch.autograd.grad(loss, weight, retain_graph=True)
    expected = first.clone()
    first.fill_(torch.nan)  # its owner may do as he likes
    (second,) = torch.autograd.grad(loss * 2, weight, retain_graph=True)
    torch.testing.assert_close(second, 2 * expected)


def test_gradients_accumulate_over_two_batches() -> None:
    cases = [make_case(9, 31, seed=seed) for seed in (1, 1)]
    weight = cases[0].weight.requires_grad_()
    for case in cases:
        linear_cross_entropy(case.hidden, weight, case.targets).backward()
    (once,) = torch.autograd.grad(linear_cross_entropy(cases[0].hidden, weight, cases[0].targets), weight)
    torch.testing.assert_close(weight.grad, 2 * once)


def test_a_gradient_penalty_is_refused_and_create_graph_alone_is_not() -> None:
    case = make_case(5, 11)
    hidden, weight = case.hidden.requires_grad_(), case.weight.requires_grad_()
    (expected,) = torch.autograd.grad(linear_cross_entropy(hidden, weight, case.targets), hidden)
    loss = linear_cross_entropy(hidden, weight, case.targets)
    (gradient,) = torch.autograd.grad(loss, hidden, create_graph=True)
    assert torch.equal(gradient, expected)
    with pytest.raises(RuntimeError, match="linear_cross_entropy has no second derivative"):
        (loss + gradient.square().sum()).backward()


def test_a_batch_of_upstream_gradients_leaves_the_saved_ones_as_they_are() -> None:
    case = make_case(5, 11)
    weight = case.weight.requires_grad_()
    (expected,) = torch.autograd.grad(linear_cross_entropy(case.hidden, weight, case.targets), weight)
    loss = linear_cross_entropy(case.hidden, weight, case.targets)
    upstream = torch.tensor([1.0, 2.0, -4.0])
    for _ in range(2):
        (batch,) = torch.autograd.grad(loss, weight, upstream, is_grads_batched=True, retain_graph=True)
        assert torch.equal(batch, expected * upstream[:, None, None])


def test_inputs_made_in_inference_mode_are_taken_where_they_need_no_gradient() -> None:
    case = make_case(9, 31)
    weight = case.weight.requires_grad_()
    (expected,) = torch.autograd.grad(linear_cross_entropy(case.hidden, weight, case.targets), weight)
    with torch.inference_mode():
        hidden, targets = case.hidden.clone(), case.targets.clone()
    loss = linear_cross_entropy(hidden, weight, targets)
    for _ in range(2):  # handed out, then recomputed
        torch.testing.assert_close(torch.autograd.grad(loss, weight, retain_graph=True)[0], expected)


def test_meta_tensors_give_shapes_and_dtypes() -> None:
    hidden, weight, bias, targets = make_case(9, 31)
    assert bias is not None
    leaves = [leaf.to("meta").requires_grad_() for leaf in (hidden, weight, bias)]
    for function in (linear_cross_entropy, linear_cross_entropy_reference):
        loss = function(*leaves[:2], targets.to("meta"), bias=leaves[2])
        assert (loss.shape, loss.dtype, loss.device.type) == ((), torch.float32, "meta")
        for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
            assert (gradient.shape, gradient.dtype, gradient.is_meta) == (leaf.shape, leaf.dtype, True)


def test_two_runs_give_the_same_bits() -> None:
    case = make_case(600, 5003)
    first, second = (run(linear_cross_entropy, case) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(*pair) for pair in zip(first[1], second[1], strict=True))


def test_the_kernel_gives_the_same_bits_on_any_number_of_threads() -> None:
    logits, targets = torch.randn(64, 5003), torch.randint(0, 5003, (64,))
    n_threads = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            slope = logits.clone()
            losses = torch.ops.jenga.vocabulary_cross_entropy_(slope, targets, -100, 0.1, 0.5, True)
            results.append((losses, slope))
    finally:
        torch.set_num_threads(n_threads)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
