"""Values and gradients over random shapes: their error against float64 is at most twice that of eager PyTorch.

Eager is what PEFT's layers compute in the same dtypes, with the same dropped elements. Truth is the reference in
float64 on the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

MakeCase = Callable[..., Any]
Layers = Callable[..., list[Tensor]]
Drawn = dict[str, Any]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
MIXED = [(dtype, None) for dtype in DTYPES] + [
    (torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float32, torch.bfloat16),
]  # fmt: skip
"""The dtype of x and base, and that of the adapters where it is another."""
ROUNDINGS = 2.0
"""Eager's error over a handful of numbers may be 0 by luck, and then twice of it allows nothing. This many eps of what
was added up are allowed on top: a result is a product of two or three factors that were rounded by half an eps each,
and is rounded once more when stored."""


# ------------------------------------------------------------------------------------------------------ random cases

LAYOUTS = ["contiguous", "columns apart", "rows apart", "transposed", "expanded"]


def laid_out(tensor: Tensor, layout: str) -> Tensor:
    """The same numbers (but for `expanded`: the first of them, again and again), elsewhere in memory."""
    if layout == "columns apart" or tensor.dim() == 1:
        return torch.stack([tensor, torch.full_like(tensor, 7)], dim=-1)[..., 0]
    if layout == "rows apart":
        return torch.cat([tensor, torch.full_like(tensor[..., :3], 7)], dim=-1)[..., : tensor.shape[-1]]
    if layout == "transposed":
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    return tensor[:1].expand_as(tensor) if layout == "expanded" else tensor


@st.composite
def drawn_updates(draw: st.DrawFn, n_layers: int) -> Drawn:
    n_updates = draw(st.integers(0, 4))

    def each(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=n_updates, max_size=n_updates))

    return {
        "ranks": each(st.sampled_from([1, 2, 3, 4, 7, 8, 16, 33, 64, 100, 256])),
        "projections": each(st.integers(0, n_layers - 1)),
        "adapters": each(st.integers(0, 2)),
    }


@st.composite
def drawn_cases(draw: st.DrawFn) -> Drawn:
    """What `build` makes a case of: hypothesis shrinks shapes and options, a seed stands for the numbers."""
    n_layers = draw(st.integers(1, 3))
    dtype, adapter_dtype = draw(st.sampled_from(MIXED))
    return {
        "leading": draw(st.lists(st.integers(0, 9), max_size=3)),
        "shape": {
            "n_inputs": draw(st.integers(1, 210)),
            "n_outputs": draw(st.lists(st.integers(1, 60), min_size=n_layers, max_size=n_layers)),
            "routed": draw(st.booleans()),
            "bias": draw(st.booleans()),
            "seed": draw(st.integers(0, 2**32)),
            "dropout": draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.9])),
            **draw(drawn_updates(n_layers)),
        },
        "dtype": dtype,
        "adapter_dtype": adapter_dtype,
        "layouts": {name: draw(st.sampled_from(LAYOUTS)) for name in ("x", "weight", "adapters")},
        "learnt": draw(st.sets(st.sampled_from(["x", "weight", "bias", "a", "b"]))),
        "functions": draw(st.sets(st.integers(0, n_layers - 1))),
    }


def build(make_case: MakeCase, drawn: Drawn) -> Any:
    case = make_case(*drawn["leading"], **drawn["shape"]).to(drawn["dtype"], drawn["adapter_dtype"])
    layouts = drawn["layouts"]
    case = case.mapped(lambda name, leaf: laid_out(leaf, layouts.get(name.split()[0], layouts["adapters"])))
    case.wanted = {name for name in case.leaves() if name.split()[0] in drawn["learnt"]}
    if "weight" not in drawn["learnt"]:
        case.functions = drawn["functions"]
    return case


def largest(tensor: Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0


def named(outcome: Any) -> dict[str, Tensor]:
    return {**{f"output {i}": output for i, output in enumerate(outcome.outputs)}, **outcome.gradients}


def refuse_worse_than_twice_eager(case: Any, ours: Any, eager: Any, truth: Any) -> None:
    """Raises AssertionError where a result of `ours` is further from the truth than twice eager's."""
    results, theirs, true, bounds = named(ours), named(eager), named(truth), named(case.bounds())
    assert results.keys() == true.keys()
    # What passes through x's dtype on its way, as the gradient of a float32 adapter may, is rounded there.
    limits = max((torch.finfo(leaf.dtype) for leaf in case.leaves().values()), key=lambda each: each.eps)
    for name, result in results.items():
        assert result.isfinite().all(), name
        # smallest_normal: below it a float16 keeps fewer digits than its eps says.
        # float64: the truth is no better, and its own errors count as much.
        sides = 2 if limits.eps == torch.finfo(torch.float64).eps else 1
        floor = sides * ROUNDINGS * (limits.eps * largest(bounds[name]) + limits.smallest_normal)
        error, allowed = largest(result - true[name]), 2 * largest(theirs[name] - true[name]) + floor
        assert error <= allowed, f"{name}: error {error:.3g}, allowed {allowed:.3g} of which {floor:.3g} floor"


def check(make_case: MakeCase, eager_layers: Layers, drawn: Drawn) -> None:
    case = build(make_case, drawn)
    ours = case.run()
    leaves = case.leaves()
    assert all(output.dtype == case.x.dtype for output in ours.outputs)
    assert all(gradient.dtype == leaves[name].dtype for name, gradient in ours.gradients.items())
    assert all(gradient.shape == leaves[name].shape for name, gradient in ours.gradients.items())
    refuse_worse_than_twice_eager(case, ours, case.run(eager_layers), case.truth())


@settings(max_examples=200, deadline=None)
@given(drawn=drawn_cases())
def test_nothing_errs_more_than_twice_as_much_as_eager_over_random_shapes(
    make_case: MakeCase, eager_layers: Layers, drawn: Drawn
) -> None:
    check(make_case, eager_layers, drawn)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(drawn=drawn_cases())
def test_nothing_errs_more_than_twice_as_much_as_eager_over_a_thousand_shapes(
    make_case: MakeCase, eager_layers: Layers, drawn: Drawn
) -> None:
    check(make_case, eager_layers, drawn)


def test_a_slightly_wrong_result_would_be_refused(make_case: MakeCase, eager_layers: Layers) -> None:
    case = make_case(40, n_inputs=70, ranks=(8, 3), dropout=0.1)
    case.wanted = set(case.leaves())
    eager, truth = case.run(eager_layers), case.truth()
    refuse_worse_than_twice_eager(case, eager, eager, truth)
    for name in eager.gradients:
        for wrong in (eager.gradients[name] * (1 + 1e-4), eager.gradients[name].bfloat16().float()):
            gradients = {**eager.gradients, name: wrong}
            with pytest.raises(AssertionError, match=name):
                refuse_worse_than_twice_eager(case, eager._replace(gradients=gradients), eager, truth)


# ---------------------------------------------------------------------- many numbers, so that luck needs no floor


def root_mean_square(tensor: Tensor) -> float:
    return tensor.double().square().mean().sqrt().item()


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize(("dtype", "adapter_dtype"), MIXED)
def test_results_of_many_rows_err_at_most_twice_as_much_as_eager(
    make_case: MakeCase, eager_layers: Layers, dtype: torch.dtype, adapter_dtype: torch.dtype | None,
    routed: bool, dropout: float,
) -> None:  # fmt: skip
    case = make_case(
        300, n_inputs=260, n_outputs=(130, 70), ranks=(16, 8, 4), adapters=(0, 0, 1), routed=routed, dropout=dropout
    ).to(dtype, adapter_dtype)  # fmt: skip
    if routed:
        case.rows = case.rows.sort().values
    case.wanted = set(case.leaves())
    ours, theirs, truth = named(case.run()), named(case.run(eager_layers)), named(case.truth())
    for name, result in ours.items():
        error, allowed = root_mean_square(result - truth[name]), 2 * root_mean_square(theirs[name] - truth[name])
        # The truth of float64 is rounded as they are: only the order of additions differs, and that by chance.
        assert error <= allowed if dtype != torch.float64 else error < 1e-12, f"{name}: {error:.3g} of {allowed:.3g}"
        assert allowed > 0 or dtype == torch.float64, name


@pytest.mark.parametrize("n_rows", [4096, 20_000])
def test_sums_over_many_rows_lose_no_more_digits_than_eagers(
    make_case: MakeCase, eager_layers: Layers, n_rows: int
) -> None:
    case = make_case(n_rows, n_inputs=100, n_outputs=(60,), ranks=(4,))
    case.x, case.updates[0].lora_a[:] = case.x.abs(), case.updates[0].lora_a.abs()  # all of one sign: nothing cancels
    ours, theirs, truth = named(case.run()), named(case.run(eager_layers)), named(case.truth())
    for name, result in ours.items():
        assert root_mean_square(result - truth[name]) <= 2 * root_mean_square(theirs[name] - truth[name]), name
