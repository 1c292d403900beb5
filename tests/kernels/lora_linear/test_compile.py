"""`lora_linear` under opcheck, torch.compile and torch.export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import seeds
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from jenga.kernels import lora_linear, lora_linear_updates

MakeCase = Callable[..., Any]
FLOAT32 = {"rtol": 2e-5, "atol": 1e-4}
# aot_eager traces forward and backward as inductor does, without its minutes of C++ compilation.
AOT = {"fullgraph": True, "backend": "aot_eager"}


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch.compiler.reset()
    counters.clear()


# ------------------------------------------------------------------------------------------------------- opcheck


ALL_WANTED = [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]


@pytest.mark.parametrize(
    ("n_rows", "dtype", "routed", "wanted"),
    [
        (5, torch.float32, False, ALL_WANTED),
        (5, torch.float32, True, ALL_WANTED[:1]),
        (0, torch.float32, True, ALL_WANTED[:1]),
        (5, torch.float64, False, ALL_WANTED[:1]),
        (5, torch.bfloat16, False, ALL_WANTED[:1]),
    ],
)
def test_opcheck_passes_for_both_ops(
    make_case: MakeCase, n_rows: int, dtype: torch.dtype, routed: bool, wanted: list[tuple[bool, bool, bool]]
) -> None:
    case = make_case(
        n_rows, n_outputs=(11, 6), ranks=(4, 2, 3), adapters=(0, 0, 1), routed=routed, dropout=0.3
    ).to(dtype, adapters=torch.float32)  # fmt: skip
    case.biases[0] = None
    arguments = case.op_arguments()
    torch.library.opcheck(torch.ops.jenga.lora_linear.default, arguments)
    outputs, projected = torch.ops.jenga.lora_linear(*arguments)
    x, weights, _, _, *rest = arguments
    grads = [torch.randn_like(output) for output in outputs]
    for each in wanted:
        torch.library.opcheck(
            torch.ops.jenga.lora_linear_backward.default, (grads, x, projected, weights, *rest, *each)
        )  # fmt: skip


def test_opcheck_passes_for_leaves_that_want_a_gradient(make_case: MakeCase) -> None:
    case = make_case(5, ranks=(4, 2))
    case.wanted = set(case.leaves())
    # Not "test_autograd_registration": the gradients are those of an autograd.Function around the op.
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.jenga.lora_linear.default, case.op_arguments(), test_utils=tests)


# ------------------------------------------------------------------------------------------------------- compile


def run_both(case: Any, compiled: Callable[..., list[Tensor]]) -> None:
    ours, expected = case.run(compiled), case.run()
    torch.testing.assert_close(ours.outputs, expected.outputs, **FLOAT32)
    torch.testing.assert_close(ours.gradients, expected.gradients, **FLOAT32)


@pytest.mark.parametrize(("routed", "dropout"), [(False, 0.0), (True, 0.3)])
def test_compile_makes_one_graph_for_every_batch_size(make_case: MakeCase, routed: bool, dropout: float) -> None:
    compiled = torch.compile(lora_linear_updates, dynamic=True, **AOT)
    for n_rows in (9, 31, 2, 500):
        case = make_case(
            n_rows, n_outputs=(11, 6), ranks=(4, 2, 3), adapters=(0, 0, 1), routed=routed, dropout=dropout
        )  # fmt: skip
        case.wanted = set(case.leaves())
        run_both(case, compiled)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_compile_by_default_settles_after_the_second_batch_size(make_case: MakeCase) -> None:
    compiled = torch.compile(lora_linear_updates, **AOT)
    graphs = []
    for n_rows in (9, 31, 128, 2, 500):
        run_both(make_case(n_rows, 3, dropout=0.3), compiled)
        graphs.append(counters["stats"]["unique_graphs"])
    # The first size is taken for a constant, which torch does for every function; the second makes it a variable.
    assert graphs == [1, 2, 2, 2, 2]


def test_other_seeds_need_no_other_graph_than_one_more(make_case: MakeCase) -> None:
    compiled = torch.compile(lora_linear_updates, **AOT)
    for seed in (3, 4, -5, 2**40, 6):
        case = make_case(9, dropout=0.3)
        case.seed = seed
        run_both(case, compiled)
    assert counters["stats"]["unique_graphs"] <= 2


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_dropout_without_a_seed_is_new_in_each_call_and_the_same_in_its_backward_pass(
    make_case: MakeCase, backend: str
) -> None:
    case = make_case(9, n_inputs=70, bias=False)
    case.weights = [torch.zeros_like(case.weights[0])]
    case.seed, case.dropout = None, 0.5
    compiled = torch.compile(lora_linear_updates, fullgraph=True, backend=backend)
    one, two = case.run(compiled), case.run(compiled)
    assert not torch.equal(one.outputs[0], two.outputs[0])
    # Linear in A and in B: <dA, A> = <upstream, y> only where backward drops what forward dropped.
    inner = (one.outputs[0] * case.upstream()[0]).sum()
    for name, leaf in (("a 0", case.updates[0].lora_a), ("b 0", case.updates[0].lora_b), ("x", case.x)):
        torch.testing.assert_close((one.gradients[name] * leaf).sum(), inner, rtol=1e-4, atol=1e-4)
    torch.manual_seed(seeds.derived(1))
    three = case.run(compiled).outputs[0]
    torch.manual_seed(seeds.derived(1))
    assert torch.equal(case.run(compiled).outputs[0], three)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_inductor_compiles_the_full_graph(make_case: MakeCase, dropout: float) -> None:
    case = make_case(31, n_outputs=(11, 6), ranks=(4, 2), dropout=dropout)
    case.wanted = set(case.leaves())
    run_both(case, torch.compile(lora_linear_updates, fullgraph=True))


def test_compiled_code_runs_with_and_without_grad_mode(make_case: MakeCase) -> None:
    case = make_case(9, dropout=0.3)
    compiled = torch.compile(lora_linear_updates, **AOT)
    run_both(case, compiled)
    learning = case.learning()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(learning.call(compiled), learning.call(), **FLOAT32)


def test_autocast_is_compiled_as_well(make_case: MakeCase) -> None:
    case = make_case(9, dropout=0.3)
    compiled = torch.compile(lora_linear_updates, **AOT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, expected = case.run(compiled), case.run()
    assert ours.outputs[0].dtype == torch.bfloat16
    # One rounding to bfloat16 in each result.
    torch.testing.assert_close(ours.outputs, expected.outputs, rtol=2**-7, atol=1e-3)
    torch.testing.assert_close(ours.gradients, expected.gradients, rtol=2**-7, atol=1e-2)


def test_a_weight_from_a_function_is_compiled_as_well(make_case: MakeCase) -> None:
    case = make_case(9, dropout=0.3)
    packed, update = (case.weights[0] * 16).round().to(torch.int8), case.updates[0]

    def layer(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return lora_linear(x, lambda: packed.to(torch.float32) / 16, None, a, b, scale=0.5, dropout=0.3, seed=2)

    leaves = [each.clone().requires_grad_() for each in (case.x, update.lora_a, update.lora_b)]
    ours, expected = torch.compile(layer, **AOT)(*leaves), layer(*leaves)
    torch.testing.assert_close(ours, expected, **FLOAT32)
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(expected.sum(), leaves), **FLOAT32
    )  # fmt: skip


def test_an_exported_module_gives_what_the_module_gives(make_case: MakeCase) -> None:
    case = make_case(9)

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(case.weights[0], requires_grad=False)
            self.lora_a = torch.nn.Parameter(case.updates[0].lora_a)
            self.lora_b = torch.nn.Parameter(case.updates[0].lora_b)

        def forward(self, x: Tensor) -> Tensor:
            return lora_linear(x, self.weight, None, self.lora_a, self.lora_b, scale=0.5)

    layer = Layer()
    rows = torch.export.Dim("rows", min=2)
    exported = torch.export.export(layer, (case.x,), dynamic_shapes=({0: rows},)).module()
    for x in (case.x, torch.randn(40, 19)):
        torch.testing.assert_close(exported(x), layer(x), **FLOAT32)
