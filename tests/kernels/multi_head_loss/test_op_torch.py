"""`multi_head_loss` among torch's own machinery: layouts, autograd, tracing, autocast, vmap, threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from jenga.kernels import multi_head_loss
from jenga.kernels.multi_head_loss.reference import multi_head_loss_reference

MakeCase = Callable[..., Any]
# A GEMM may take another path for another layout or batch, and a compiler may order additions otherwise.
FLOAT32 = {"rtol": 2e-5, "atol": 2e-5}


def strided(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, tensor], dim=-1)[..., 0]


def test_non_contiguous_inputs_match_contiguous_ones(make_case: MakeCase) -> None:
    case = make_case(33)
    plain, plain_gradients = case.run(multi_head_loss)
    case.hidden, case.weight, case.bias = (strided(tensor) for tensor in case.leaves())
    case.targets = [strided(target) for target in case.targets]
    case.heads = case.heads[:1] + case.heads[1:]
    assert not any(tensor.is_contiguous() for tensor in [*case.leaves(), *case.targets] if tensor.numel() > 1)
    odd, odd_gradients = case.run(multi_head_loss)
    torch.testing.assert_close(odd.loss_sum, plain.loss_sum, **FLOAT32)
    torch.testing.assert_close(odd_gradients, plain_gradients, **FLOAT32)


def test_strided_logits_weights_and_upstream_gradients_reach_the_op_as_contiguous_ones(make_case: MakeCase) -> None:
    case = make_case(33)
    logits, upstream = case.random_logits(), torch.rand(len(case.heads))
    arguments = case.op_arguments(logits)
    loss_sum, _, slope, *_ = torch.ops.jenga.multi_head_loss(*arguments)
    sizes = arguments[3]
    gradient = torch.ops.jenga.multi_head_loss_backward(upstream, slope, sizes, logits)
    odd_weights = [strided(weight) for weight in arguments[4]]
    assert odd_weights
    odd = torch.ops.jenga.multi_head_loss(strided(logits), *arguments[1:4], odd_weights, *arguments[5:])
    assert torch.equal(odd[0], loss_sum)
    assert torch.equal(odd[2], slope)
    again = torch.ops.jenga.multi_head_loss_backward(strided(upstream), strided(slope), sizes, strided(logits))
    assert torch.equal(again, gradient)


# ------------------------------------------------------------------------------------------------------- autograd


@pytest.mark.parametrize("routed", [False, True])
def test_gradcheck_passes_in_float64(make_case: MakeCase, routed: bool) -> None:
    case = make_case(4, hidden_size=3, dtype=torch.float64, routed=routed)
    leaves = [tensor.requires_grad_() for tensor in case.leaves()]

    def loss_sum(*inputs: Tensor) -> Tensor:
        return multi_head_loss(*inputs, case.targets, heads=case.heads, rows=case.rows).loss_sum

    assert torch.autograd.gradcheck(loss_sum, leaves)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_wanted_gradients_are_computed(make_case: MakeCase, wanted: tuple[bool, bool, bool]) -> None:
    case = make_case(9)
    leaves = [tensor.requires_grad_(want) for tensor, want in zip(case.leaves(), wanted, strict=True)]
    case.call(multi_head_loss).loss_sum.sum().backward()
    assert [leaf.grad is not None for leaf in leaves] == list(wanted)


def test_no_graph_and_no_slope_is_kept_when_no_gradient_is_wanted(make_case: MakeCase) -> None:
    case = make_case(9)
    assert not case.call(multi_head_loss).loss_sum.requires_grad
    case.weight.requires_grad_()
    with torch.no_grad():
        assert not case.call(multi_head_loss).loss_sum.requires_grad
    logits = case.random_logits()
    without = torch.ops.jenga.multi_head_loss(*case.op_arguments(logits, with_slope=False))
    assert without[2].shape == (0, 0)
    assert torch.equal(without[0], torch.ops.jenga.multi_head_loss(*case.op_arguments(logits))[0])


def test_a_second_derivative_is_refused(make_case: MakeCase) -> None:
    case = make_case(4)
    case.weight.requires_grad_()
    loss = case.call(multi_head_loss).loss_sum.sum()
    (gradient,) = torch.autograd.grad(loss, case.weight, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        torch.autograd.grad(gradient.square().sum(), case.weight)


def test_a_missing_bias_is_a_zero_bias(make_case: MakeCase) -> None:
    case = make_case(9)
    case.bias = case.bias * 0
    with_zero = case.run(multi_head_loss)
    case.bias = None
    without = case.run(multi_head_loss)
    torch.testing.assert_close(without.result.loss_sum, with_zero.result.loss_sum, **FLOAT32)
    torch.testing.assert_close(without.gradients, with_zero.gradients[:2], **FLOAT32)


@pytest.mark.parametrize("wants_gradient", [False, True])
def test_vmap_is_refused_by_name(make_case: MakeCase, wants_gradient: bool) -> None:
    case = make_case(5)
    case.weight.requires_grad_(wants_gradient)
    batch = torch.stack([case.hidden, case.hidden * 0.5])

    def loss_sum(hidden: Tensor) -> Tensor:
        return multi_head_loss(hidden, case.weight, case.bias, case.targets, heads=case.heads).loss_sum

    with pytest.raises(NotImplementedError, match=r"multi_head_loss .*vmap; fold the mapped dimension into the rows"):
        torch.func.vmap(loss_sum)(batch)


# -------------------------------------------------------------------------------------------------------- tracing


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("n_rows", [0, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_opcheck_passes_for_both_ops(make_case: MakeCase, dtype: torch.dtype, n_rows: int, routed: bool) -> None:
    # Without squared error in routed mode: its predictions are NaN then, which opcheck takes for unequal.
    heads = [head for head in make_case(1).heads if not routed or head.kind != "mse"]
    case = make_case(n_rows, routed=routed, heads=heads)
    logits = case.random_logits(dtype)
    for with_slope in (True, False):
        torch.library.opcheck(
            torch.ops.jenga.multi_head_loss.default, case.op_arguments(logits, with_slope=with_slope)
        )  # fmt: skip
    slope = torch.ops.jenga.multi_head_loss(*case.op_arguments(logits))[2]
    sizes = [head.size for head in case.heads]
    upstream = torch.rand(len(sizes), dtype=slope.dtype)
    torch.library.opcheck(torch.ops.jenga.multi_head_loss_backward.default, (upstream, slope, sizes, logits))


def assert_same_results(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours.result.loss_sum, theirs.result.loss_sum, **FLOAT32)
    assert torch.equal(ours.result.count, theirs.result.count)
    torch.testing.assert_close(ours.result.predictions, theirs.result.predictions, equal_nan=True, **FLOAT32)
    torch.testing.assert_close(ours.gradients, theirs.gradients, **FLOAT32)


@pytest.mark.parametrize("routed", [False, True])
def test_compile_makes_one_graph_for_every_batch_size(make_case: MakeCase, routed: bool) -> None:
    torch.compiler.reset()
    counters.clear()
    # aot_eager traces forward and backward as inductor does, without its minutes of C++ compilation.
    compiled = torch.compile(multi_head_loss, fullgraph=True, backend="aot_eager", dynamic=True)
    heads = make_case(1).heads
    for n_rows in (9, 31, 128, 2, 500):
        case = make_case(n_rows, routed=routed, heads=heads)
        assert_same_results(case.run(compiled), case.run(multi_head_loss))
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_compile_by_default_settles_after_the_second_batch_size(make_case: MakeCase) -> None:
    torch.compiler.reset()
    counters.clear()
    compiled = torch.compile(multi_head_loss, fullgraph=True, backend="aot_eager")
    heads = make_case(1).heads
    graphs = []
    for n_rows in (9, 31, 128, 2, 500):
        case = make_case(n_rows, heads=heads)
        assert_same_results(case.run(compiled), case.run(multi_head_loss))
        graphs.append(counters["stats"]["unique_graphs"])
    # The first size is taken for a constant, which torch does for every function; the second makes it a variable.
    assert graphs == [1, 2, 2, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("routed", [False, True])
def test_inductor_compiles_the_full_graph(make_case: MakeCase, routed: bool) -> None:
    torch.compiler.reset()
    case = make_case(31, routed=routed)
    compiled = torch.compile(multi_head_loss, fullgraph=True)
    assert_same_results(case.run(compiled), case.run(multi_head_loss))


def test_autocast_runs_the_gemm_in_bfloat16_and_the_loss_in_float32(make_case: MakeCase) -> None:
    case = make_case(21)
    case.hidden.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result, expected = case.call(multi_head_loss), case.call(multi_head_loss_reference)
    assert [head.kind for head in case.heads].index("mse") == 2
    assert result.predictions[2].dtype == torch.bfloat16
    assert result.loss_sum.dtype == torch.float32
    # Both read the same bfloat16 logits.
    torch.testing.assert_close(result.loss_sum, expected.loss_sum, **FLOAT32)
    result.loss_sum.sum().backward()
    assert case.hidden.grad.dtype == torch.float32


# --------------------------------------------------------------------------------------- the same bits, whatever runs


def test_results_are_the_same_from_run_to_run_and_on_any_number_of_threads(make_case: MakeCase) -> None:
    case = make_case(3000, routed=False)
    logits, upstream = case.random_logits(), torch.linspace(-1, 2, len(case.heads))
    sizes = [head.size for head in case.heads]
    n_threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 1, 2, 3, 2):
            torch.set_num_threads(n)
            forward = torch.ops.jenga.multi_head_loss(*case.op_arguments(logits))
            backward = torch.ops.jenga.multi_head_loss_backward(upstream, forward[2], sizes, logits)
            results.append([*forward, backward])
    finally:
        torch.set_num_threads(n_threads)
    for result in results[1:]:
        for tensor, expected in zip(result, results[0], strict=True):
            assert torch.equal(tensor, expected)


def test_the_whole_call_gives_the_same_bits_again_on_any_number_of_threads(make_case: MakeCase) -> None:
    case = make_case(700)
    n_threads = torch.get_num_threads()
    outcomes = []
    try:
        for n in (1, 1, 2, 3):
            torch.set_num_threads(n)
            outcomes.append(case.run(multi_head_loss))
    finally:
        torch.set_num_threads(n_threads)
    first, *others = outcomes
    for outcome in others:
        assert torch.equal(outcome.result.loss_sum, first.result.loss_sum)
        assert all(torch.equal(a, b) for a, b in zip(outcome.gradients, first.gradients, strict=True))


# ------------------------------------------------------------------------------------------------------------ size


def test_a_large_batch_matches_float64(make_case: MakeCase) -> None:
    case = make_case(20_000, hidden_size=64)
    (result, gradients), (truth, true_gradients) = (
        case.run(multi_head_loss),
        case.run(multi_head_loss_reference, torch.float64),
    )
    torch.testing.assert_close(result.loss_sum.double(), truth.loss_sum, **FLOAT32)
    for gradient, true_gradient in zip(gradients, true_gradients, strict=True):
        torch.testing.assert_close(gradient.double(), true_gradient, rtol=1e-4, atol=1e-3)  # 20 times the rows
