"""linear_cross_entropy under opcheck, torch.compile and autocast."""

from collections.abc import Callable

import pytest
import seeds
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from jenga.kernels import linear_cross_entropy
from jenga.kernels.linear_cross_entropy.reference import linear_cross_entropy_reference


def inputs(n_rows: int, vocabulary: int = 301) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = seeds.generator(n_rows)
    return (
        torch.randn(n_rows, 19, generator=generator, requires_grad=True),
        torch.randn(vocabulary, 19, generator=generator, requires_grad=True),
        torch.randn(vocabulary, generator=generator, requires_grad=True),
        torch.randint(0, vocabulary, (n_rows,), generator=generator),
    )


def step(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return linear_cross_entropy(hidden, weight, targets, bias=bias, label_smoothing=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wanted", [[True, True, True], [False, True, False], [False, False, False]])
def test_opcheck_passes_for_the_whole_op(dtype: torch.dtype, wanted: list[bool]) -> None:
    hidden, weight, bias, targets = inputs(5)
    leaves = [leaf.detach().to(dtype) for leaf in (hidden, weight, bias)]
    torch.library.opcheck(torch.ops.jenga.linear_cross_entropy.default, (*leaves, targets, -100, 0.1, True, 2, wanted))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_slope", [True, False])
def test_opcheck_passes_for_the_chunk_op(dtype: torch.dtype, with_slope: bool) -> None:
    arguments = (torch.randn(4, 9, dtype=dtype), torch.tensor([0, -100, 8, 3]), -100, 0.1, 0.5, with_slope)
    torch.library.opcheck(torch.ops.jenga.vocabulary_cross_entropy_.default, arguments)


def assert_compiled_equals_eager(compiled: object, n_rows: int) -> None:
    *leaves, targets = inputs(n_rows)
    loss, expected = compiled(*leaves, targets), step(*leaves, targets)  # type: ignore[operator]
    gradients = torch.autograd.grad(loss * 3, leaves)
    torch.testing.assert_close((loss, gradients), (expected, torch.autograd.grad(expected * 3, leaves)))


# aot_eager traces forward and backward as inductor does, without its minutes of C++ compilation.
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compile_has_one_graph_and_recompiles_once_to_become_dynamic(backend: str) -> None:
    torch.compiler.reset()
    counters.clear()
    compiled = torch.compile(step, fullgraph=True, backend=backend)
    for n_rows in (9, 31, 300, 33, 600):  # one chunk and several
        assert_compiled_equals_eager(compiled, n_rows)
    assert counters["stats"]["unique_graphs"] == 2


def test_a_row_dimension_marked_dynamic_never_recompiles() -> None:
    torch.compiler.reset()
    counters.clear()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for n_rows in (9, 31, 600):
        *leaves, targets = inputs(n_rows)
        torch._dynamo.mark_dynamic(leaves[0], 0)
        torch._dynamo.mark_dynamic(targets, 0)
        compiled(*leaves, targets).backward()
    assert counters["stats"]["unique_graphs"] == 1


def test_compiled_code_runs_with_and_without_grad_mode() -> None:
    torch.compiler.reset()
    arguments = inputs(9)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert_compiled_equals_eager(compiled, 9)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(compiled(*arguments), step(*arguments))


def test_an_exported_module_runs_in_grad_mode() -> None:
    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(inputs(9)[1].detach())

        def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
            return linear_cross_entropy(hidden, self.weight, targets)

    loss, (hidden, _, _, targets) = Loss(), inputs(9)
    exported = torch.export.export(loss, (hidden, targets)).module()
    torch.testing.assert_close(exported(hidden, targets), loss(hidden, targets))
    direct = torch.ops.jenga.linear_cross_entropy(hidden, loss.weight, None, targets, -100, 0.0, True, 2, [True] * 3)
    torch.testing.assert_close(direct[0], loss(hidden, targets))


def test_a_label_out_of_range_is_named_in_compiled_code_too() -> None:
    torch.compiler.reset()
    hidden, weight, bias, targets = inputs(9)
    targets[4] = 301
    with pytest.raises(ValueError, match="row 4 holds label 301"):
        torch.compile(step, fullgraph=True, backend="aot_eager")(hidden, weight, bias, targets)


def test_autocast_rounds_the_operands_and_keeps_gradients_of_their_own_dtype() -> None:
    hidden, weight, bias, targets = inputs(21)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = step(hidden, weight, bias, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    rounded = [leaf.detach().bfloat16().double().requires_grad_() for leaf in (hidden, weight, bias)]
    truth = linear_cross_entropy_reference(*rounded[:2], targets, bias=rounded[2], label_smoothing=0.1)
    true_gradients = torch.autograd.grad(truth, rounded)
    # Rounding the operands is all that autocast costs here: the arithmetic between is float32.
    torch.testing.assert_close(loss.double(), truth, rtol=1e-5, atol=1e-6)
    for leaf, true_gradient in zip((hidden, weight, bias), true_gradients, strict=True):
        assert leaf.grad is not None
        assert leaf.grad.dtype == torch.float32
        # A gradient passes through bfloat16 on its way: half an eps of 2^-7.
        torch.testing.assert_close(leaf.grad.double(), true_gradient, rtol=2**-8 * 1.02, atol=1e-7)


def scaled_gradients(function: Callable[..., Tensor], case: tuple[Tensor, ...], upstream: float) -> list[Tensor]:
    *leaves, targets = case
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    loss = function(leaves[0], leaves[1], targets, bias=leaves[2])
    return [gradient.double() / upstream for gradient in torch.autograd.grad(loss * upstream, leaves)]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_loss_scale_lifts_float16_gradients_before_they_can_underflow(compiled: bool) -> None:
    # A row's share of a mean over 8192 is below float16's smallest number of 6e-8 for most tokens.
    case = inputs(8192, vocabulary=50)
    torch.compiler.reset()
    ours = torch.compile(linear_cross_entropy, backend="aot_eager") if compiled else linear_cross_entropy
    with torch.autocast("cpu", dtype=torch.float16):
        gradients = scaled_gradients(ours, case, 2.0**16)
        eager = scaled_gradients(linear_cross_entropy_reference, case, 2.0**16)
    wide = tuple(part.double() if part.is_floating_point() else part for part in case)
    truth = scaled_gradients(linear_cross_entropy_reference, wide, 1.0)
    for gradient, theirs, true_gradient in zip(gradients, eager, truth, strict=True):
        assert (gradient - true_gradient).norm() <= 2 * (theirs - true_gradient).norm()
