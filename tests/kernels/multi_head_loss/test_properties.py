"""Gradients over random shapes: their error against float64 is at most twice that of eager PyTorch in the same dtype.

Eager is the reference, one PyTorch loss a head. Truth is the reference in float64 on the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import seeds
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jenga.kernels import HeadSpec, multi_head_loss
from jenga.kernels.multi_head_loss.reference import multi_head_loss_reference
from jenga.kernels.multi_head_loss.spec import KINDS

MakeCase = Callable[..., Any]
Drawn = dict[str, Any]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ROUNDINGS = 2.0
"""Eager's error over a handful of numbers may be 0 by luck, and then twice of it allows nothing. This many eps of what
was added up are allowed on top: a gradient is a product of three roundings (slope, upstream, storage) of half an eps,
then summed."""


@st.composite
def drawn_heads(draw: st.DrawFn) -> list[HeadSpec]:
    heads = []
    for _ in range(draw(st.integers(1, 5))):
        kind, size = draw(st.sampled_from(KINDS)), draw(st.integers(1, 40))
        options: Drawn = {}
        if kind != "mse" and draw(st.booleans()):
            values = draw(st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.5]), min_size=size, max_size=size))
            options["pos_weight" if kind == "bce" else "class_weight"] = torch.tensor(values)
        if kind in ("ce", "soft"):
            options["label_smoothing"] = draw(st.sampled_from([0.0, 0.1, 1.0]))
        if kind == "focal":
            options["gamma"] = draw(st.sampled_from([None, 0.0, 0.5, 1.0, 3.7]))
        heads.append(HeadSpec(kind, size, **options))
    return heads


@st.composite
def drawn_cases(draw: st.DrawFn) -> Drawn:
    """What `build` makes a case of: hypothesis shrinks shapes and options, a seed stands for the numbers."""
    heads = draw(drawn_heads())
    return {
        "heads": heads,
        "n_rows": draw(st.integers(0, 70)),
        "hidden_size": draw(st.integers(1, 33)),
        "seed": draw(st.integers(0, 2**32)),
        "masked": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "routed": draw(st.booleans()),
        "inactive": draw(st.sets(st.integers(0, len(heads) - 1))),
        "bias": draw(st.booleans()),
        "strided": draw(st.booleans()),
        "dtype": draw(st.sampled_from(DTYPES)),
    }


def strided(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, torch.full_like(tensor, 7)], dim=-1)[..., 0]


def build(make_case: MakeCase, drawn: Drawn) -> Any:
    shape = {name: drawn[name] for name in ("heads", "hidden_size", "seed", "masked", "routed")}
    case = make_case(drawn["n_rows"], **shape).to(drawn["dtype"])
    for place in drawn["inactive"]:
        target = case.targets[place]
        target.fill_(float("nan") if target.is_floating_point() else -100)
    if not drawn["bias"]:
        case.bias = None
    if drawn["strided"]:
        case.hidden, case.weight = strided(case.hidden), strided(case.weight)
        case.targets = [strided(target) for target in case.targets]
    return case


def largest(tensor: Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0


def scales(case: Any) -> list[float]:
    """The largest sum of absolute terms in each gradient: what its roundings are to be measured by.

    A slope is at most the upstream gradient times the label's weight times 2 (1 + gamma), and passes on the rounding of
    its logit, which is as large as the terms that the logit was added up from.
    """
    hidden, weight = case.hidden.double().abs(), case.weight.double().abs()
    logits = hidden @ weight.T + (0 if case.bias is None else case.bias.double().abs())
    bounds = []
    for head, upstream in zip(case.heads, case.upstream(torch.float64).abs(), strict=True):
        label_weight = 1.0 if head.label_weight is None else max(1.0, head.label_weight.max().item())
        bounds.append(
            (upstream * label_weight * 2 * (1 + (head.parameter if head.kind == "focal" else 0.0))).expand(head.size)
        )
    slopes = torch.cat(bounds) * (1 + logits)
    return [largest(slopes @ weight), largest(slopes.T @ hidden), largest(slopes.sum(dim=0))]


def refuse_worse_than_twice_eager(case: Any, dtype: torch.dtype, ours: Any, eager: Any, truth: Any) -> None:
    """Raises AssertionError where a gradient of `ours` is further from the truth than twice eager's."""
    limits = torch.finfo(dtype)
    # smallest_normal: below it a float16 keeps fewer digits than its eps says.
    floors = [ROUNDINGS * (limits.eps * scale + limits.smallest_normal) for scale in scales(case)]
    names = ("hidden", "weight", "bias")
    for name, floor, gradient, theirs, true in zip(names, floors, ours, eager, truth, strict=False):
        assert gradient.dtype == dtype
        error, allowed = largest(gradient.double() - true), 2 * largest(theirs.double() - true) + floor
        assert error <= allowed, (
            f"gradient of {name}: error {error:.3g}, allowed {allowed:.3g} of which {floor:.3g} floor"
        )


def check(make_case: MakeCase, drawn: Drawn) -> None:
    case = build(make_case, drawn)
    ours, eager = case.run(multi_head_loss), case.run(multi_head_loss_reference)
    truth = case.run(multi_head_loss_reference, torch.float64)
    assert torch.equal(ours.result.count, truth.result.count)
    if drawn["dtype"] == torch.float32:
        # Sums of terms of one sign keep the terms' relative error: a few eps of the logits they were made of.
        torch.testing.assert_close(ours.result.loss_sum.double(), truth.result.loss_sum, rtol=2e-5, atol=2e-5)
    refuse_worse_than_twice_eager(case, drawn["dtype"], ours.gradients, eager.gradients, truth.gradients)
    weight_gradients = ours.gradients[1].split([head.size for head in case.heads])
    for count, gradient in zip(ours.result.count, weight_gradients, strict=True):
        assert count > 0 or torch.equal(gradient, torch.zeros_like(gradient))


@settings(max_examples=150, deadline=None)
@given(drawn=drawn_cases())
def test_gradients_err_at_most_twice_as_much_as_eager_over_random_shapes(make_case: MakeCase, drawn: Drawn) -> None:
    check(make_case, drawn)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(drawn=drawn_cases())
def test_gradients_err_at_most_twice_as_much_as_eager_over_thousands_of_shapes(
    make_case: MakeCase, drawn: Drawn
) -> None:
    check(make_case, drawn)


def test_a_slightly_wrong_gradient_would_be_refused(make_case: MakeCase) -> None:
    case = make_case(40, hidden_size=8, heads=[HeadSpec("ce", 5), HeadSpec("mse", 2)])
    eager = case.run(multi_head_loss_reference).gradients
    truth = case.run(multi_head_loss_reference, torch.float64).gradients
    refuse_worse_than_twice_eager(case, torch.float32, eager, eager, truth)
    wrong = [gradient * (1 + 1e-4) for gradient in eager]
    with pytest.raises(AssertionError, match="gradient of hidden"):
        refuse_worse_than_twice_eager(case, torch.float32, wrong, eager, truth)
    half = [gradient.bfloat16().float() for gradient in eager]
    with pytest.raises(AssertionError, match="gradient of hidden"):
        refuse_worse_than_twice_eager(case, torch.float32, half, eager, truth)


# --------------------------------------------------------------------------- many numbers, so that luck needs no floor

MANY = [
    HeadSpec("ce", 7), HeadSpec("ce", 50, label_smoothing=0.1), HeadSpec("ce", 50, label_smoothing=1.0),
    HeadSpec("focal", 7), HeadSpec("focal", 50, gamma=0.5), HeadSpec("focal", 50, gamma=5.0), HeadSpec("soft", 7),
    HeadSpec("soft", 50, label_smoothing=0.1), HeadSpec("bce", 20), HeadSpec("mse", 20),
]  # fmt: skip


def name_of(head: HeadSpec) -> str:
    return f"{head.kind}{head.size}-{head.parameter}"


def root_mean_square(tensor: Tensor) -> float:
    return tensor.double().square().mean().sqrt().item()


def slopes(case: Any, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """d loss_sum / d logits: ours, eager's and the true one. The identity as weight hands the logits through."""
    case.hidden, case.weight, case.bias = logits, torch.eye(logits.shape[1]), None
    ones = torch.ones(len(case.heads))

    def slope(dtype: torch.dtype) -> Tensor:
        leaf = logits.to(dtype).requires_grad_()
        eye = torch.eye(logits.shape[1], dtype=dtype)
        result = multi_head_loss_reference(leaf, eye, None, case.targets, heads=case.heads, rows=case.rows)
        (gradient,) = torch.autograd.grad(result.loss_sum, leaf, ones.to(result.loss_sum.dtype))
        return gradient

    ours = torch.ops.jenga.multi_head_loss(*case.op_arguments(logits))[2]
    return ours, slope(logits.dtype), slope(torch.float64)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("head", MANY, ids=name_of)
def test_slopes_of_many_logits_err_at_most_twice_as_much_as_eager(
    make_case: MakeCase, head: HeadSpec, scale: float
) -> None:
    case = make_case(3000, heads=[head])
    ours, eager, truth = slopes(case, case.random_logits(scale=scale))
    allowed = 2 * root_mean_square(eager - truth)
    assert root_mean_square(ours - truth) <= allowed
    # Not vacuous: float32 leaves eager an error, and four eps of the largest slope more would be over the limit.
    noise = torch.randn(ours.shape, generator=seeds.generator(0))
    worse = ours + 4 * torch.finfo(torch.float32).eps * largest(truth) * noise
    assert root_mean_square(worse - truth) > allowed > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head", MANY, ids=name_of)
def test_gradients_of_many_rows_err_at_most_twice_as_much_as_eager(
    make_case: MakeCase, head: HeadSpec, dtype: torch.dtype
) -> None:
    case = make_case(999, hidden_size=48, heads=[head, head]).to(dtype)
    ours, eager = case.run(multi_head_loss), case.run(multi_head_loss_reference)
    truth = case.run(multi_head_loss_reference, torch.float64)
    for gradient, theirs, true in zip(ours.gradients, eager.gradients, truth.gradients, strict=True):
        error, allowed = root_mean_square(gradient - true), 2 * root_mean_square(theirs - true)
        assert 0 < error <= allowed
