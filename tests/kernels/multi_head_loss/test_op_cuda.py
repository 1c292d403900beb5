"""`multi_head_loss` on a CUDA device: the numbers of the CPU, labels out of range without waiting, graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from jenga.kernels import HeadSpec, multi_head_loss
from jenga.kernels._native import backend
from jenga.kernels.multi_head_loss.reference import multi_head_loss_reference

MakeCase = Callable[..., Any]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
# Other orders of additions, and exponentials of another library: a few eps of each term. See test_op.py.
FLOAT32 = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(autouse=True)
def _full_float32_products() -> Any:
    """Keep TF32, with its 10 bits, out of the GEMMs that are compared."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def test_the_native_op_runs_here() -> None:
    assert backend("cuda").implementation == "native", backend("cuda").reason


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_rows", [0, 1, 7, 129, 3000])
def test_results_and_gradients_match_float64(
    make_case: MakeCase, n_rows: int, dtype: torch.dtype, routed: bool
) -> None:
    case = make_case(n_rows, dtype=dtype, routed=routed)
    ours = case.to("cuda").run(multi_head_loss)
    truth = case.run(multi_head_loss_reference, torch.float64)
    # A sum of 3000 rows carries 3 times the error of the 1000 that FLOAT32 was made for.
    tolerance = {name: 3 * value for name, value in FLOAT32.items()}
    torch.testing.assert_close(ours.result.loss_sum.cpu().double(), truth.result.loss_sum, **tolerance)
    assert torch.equal(ours.result.count.cpu(), truth.result.count)
    for prediction, expected in zip(ours.result.predictions, case.call(multi_head_loss).predictions, strict=True):
        torch.testing.assert_close(prediction.cpu(), expected, equal_nan=True, **FLOAT32)
    for gradient, true_gradient in zip(ours.gradients, truth.gradients, strict=True):
        torch.testing.assert_close(gradient.cpu().double(), true_gradient, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_err_at_most_twice_as_much_as_eager(make_case: MakeCase, dtype: torch.dtype) -> None:
    case = make_case(999, hidden_size=48).to(dtype).to("cuda")
    ours, eager = case.run(multi_head_loss), case.run(multi_head_loss_reference)
    truth = case.run(multi_head_loss_reference, torch.float64)
    for gradient, theirs, true in zip(ours.gradients, eager.gradients, truth.gradients, strict=True):
        error, allowed = (gradient - true).square().mean(), 4 * (theirs - true).square().mean()
        assert 0 < error <= allowed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n_heads", [1, 32, 33, 300])
def test_the_op_gives_what_the_cpu_gives_for_any_number_of_heads(
    make_case: MakeCase, mixed_heads: Callable[[], list[HeadSpec]], n_heads: int, dtype: torch.dtype
) -> None:
    kinds = mixed_heads()
    case = make_case(77, heads=[kinds[place % len(kinds)] for place in range(n_heads)], routed=True)
    logits, upstream = case.random_logits(dtype, scale=3.0), torch.linspace(-1, 2, n_heads)
    expected = torch.ops.jenga.multi_head_loss(*case.op_arguments(logits))
    found = torch.ops.jenga.multi_head_loss(*case.to("cuda").op_arguments(logits.cuda()))
    for tensor, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(tensor.cpu(), wanted, equal_nan=True, **FLOAT32)
    sizes = [head.size for head in case.heads]
    gradient = torch.ops.jenga.multi_head_loss_backward(upstream.cuda(), found[2], sizes, logits.cuda())
    wanted = torch.ops.jenga.multi_head_loss_backward(upstream, found[2].cpu(), sizes, logits)
    torch.testing.assert_close(gradient.cpu(), wanted)


def test_the_same_bits_come_out_of_every_run(make_case: MakeCase) -> None:
    case = make_case(5000).to("cuda")
    arguments = case.op_arguments(case.random_logits().cuda())
    first, second = (torch.ops.jenga.multi_head_loss(*arguments) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def raised_later(function: Callable[[], Any]) -> str:
    torch.cuda.synchronize()
    with pytest.raises(ValueError, match="in an earlier call on cuda:") as caught:
        function()
    return str(caught.value)


@pytest.mark.parametrize("kind", ["ce", "focal"])
@pytest.mark.parametrize("label", [3, -1, -101, 2**40, -(2**63)])
def test_a_label_out_of_range_makes_its_loss_nan_and_a_later_call_name_it(
    make_case: MakeCase, kind: Any, label: int
) -> None:
    case = make_case(200, heads=[HeadSpec("mse", 1), HeadSpec(kind, 3), HeadSpec("ce", 2)], masked=0.0).to("cuda")
    clean = case.call(multi_head_loss)
    kept = int(case.targets[1][150])
    case.targets[1][150] = label
    result = case.call(multi_head_loss)
    message = raised_later(lambda: case.call(multi_head_loss))
    assert f"targets[1]: row 150 holds label {label}; heads[1] allows 0 to 2, or -100 for no label" in message
    assert result.loss_sum.isnan().tolist() == [False, True, False]
    assert result.count.tolist() == [200.0, 199.0, 200.0]
    torch.cuda.synchronize()
    case.targets[1][150] = kept
    # The call that raised computed nothing; once raised, the error is gone.
    torch.testing.assert_close(case.call(multi_head_loss).loss_sum, clean.loss_sum)
    torch.testing.assert_close(case.call(multi_head_loss).loss_sum, clean.loss_sum)


def test_a_label_out_of_range_is_raised_by_the_backward_pass_if_that_comes_first(make_case: MakeCase) -> None:
    case = make_case(50, heads=[HeadSpec("ce", 3)], masked=0.0).to("cuda")
    case.weight.requires_grad_()
    case.targets[0][7] = 3
    loss = case.call(multi_head_loss).loss_sum.sum()
    assert "targets[0]: row 7 holds label 3" in raised_later(loss.backward)


def test_the_gradient_of_a_label_out_of_range_is_that_of_a_masked_one(make_case: MakeCase) -> None:
    case = make_case(50, heads=[HeadSpec("ce", 3), HeadSpec("focal", 3)], masked=0.0).to("cuda")
    arguments = case.op_arguments(case.random_logits().cuda())
    case.targets[1][7] = 4
    slope = torch.ops.jenga.multi_head_loss(*arguments)[2]
    raised_later(lambda: torch.ops.jenga.multi_head_loss(*arguments))
    case.targets[1][7] = -100
    assert torch.equal(slope, torch.ops.jenga.multi_head_loss(*arguments)[2])
    assert not slope[7, 3:].any()


def test_labels_of_other_tasks_are_never_looked_at(make_case: MakeCase) -> None:
    case = make_case(300, routed=True).to("cuda")
    clean = case.run(multi_head_loss)
    for place, head in enumerate(case.heads):
        case.targets[place][case.rows != place] = 2**40 if head.kind in ("ce", "focal") else 1e30
    dirty = case.run(multi_head_loss)
    torch.cuda.synchronize()
    again = case.run(multi_head_loss)
    for outcome in (dirty, again):
        assert torch.equal(outcome.result.loss_sum, clean.result.loss_sum)
        torch.testing.assert_close(outcome.gradients, clean.gradients)


def test_a_cuda_graph_replays_both_passes_and_keeps_reporting_labels(make_case: MakeCase) -> None:
    case = make_case(64, heads=[HeadSpec("ce", 5), HeadSpec("bce", 2)], masked=0.0).to("cuda")
    expected = case.run(multi_head_loss)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            case.run(multi_head_loss)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = case.run(multi_head_loss)
    graph.replay()
    torch.testing.assert_close(captured.result.loss_sum, expected.result.loss_sum)
    torch.testing.assert_close(captured.gradients, expected.gradients)
    case.targets[0][9] = 5
    graph.replay()
    assert "targets[0]: row 9 holds label 5" in raised_later(lambda: case.call(multi_head_loss))
    assert captured.result.loss_sum.isnan().tolist() == [True, False]


def test_nothing_waits_for_the_device(make_case: MakeCase) -> None:
    case = make_case(64, heads=[HeadSpec("ce", 5), HeadSpec("bce", 2)]).to("cuda")
    case.run(multi_head_loss)  # the first call on a device allocates
    hidden, weight, bias = (leaf.requires_grad_() for leaf in case.leaves())
    ones = torch.ones(2, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss_sum = multi_head_loss(hidden, weight, bias, case.targets, heads=case.heads).loss_sum
        torch.autograd.grad(loss_sum, (hidden, weight, bias), ones)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_compile_makes_one_graph_for_every_batch_size(make_case: MakeCase) -> None:
    torch.compiler.reset()
    compiled = torch.compile(multi_head_loss, fullgraph=True, backend="aot_eager", dynamic=True)
    torch._dynamo.utils.counters.clear()
    heads = make_case(1).heads
    for n_rows in (9, 31, 200):
        case = make_case(n_rows, heads=heads).to("cuda")
        torch.testing.assert_close(case.run(compiled).gradients, case.run(multi_head_loss).gradients, **FLOAT32)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
