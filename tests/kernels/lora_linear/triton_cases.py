"""The CUDA implementation of lora_linear against float64.

Run by test_triton.py: on a CPU with TRITON_INTERPRET=1, on CUDA without.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils import _pytree as pytree

from jenga.kernels.lora_linear import cuda, implementations, keep_mask, reference, triton_gemm
from jenga.kernels.lora_linear.arguments import LoraArguments, WantedGradients
from jenga.kernels.lora_linear.triton_tiles import keep_tile

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter is NumPy, which warns of the infinities that torch computes in silence.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

MakeCase = Callable[..., Any]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Ranks, layers and rows at, below and beyond a tile; sums over inputs, outputs and rows that are split (512 and more).
SHAPES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "one update": ((70,), {"n_inputs": 100, "n_outputs": (50,), "ranks": (8,)}),
    "dropout": ((70,), {"n_inputs": 200, "n_outputs": (50,), "ranks": (8,), "dropout": 0.25}),
    "grouped": ((33,), {"n_inputs": 64, "n_outputs": (17, 130, 1), "ranks": (4, 70, 1), "dropout": 0.1}),
    "no bias, a layer without": (
        (9,), {"n_inputs": 20, "n_outputs": (8, 5), "ranks": (3, 2), "projections": [1, 1], "bias": False}
    ),
    "adapters of rows": (
        (65,),
        {"n_inputs": 65, "n_outputs": (24, 40), "ranks": (8, 5, 16, 3), "projections": [0, 1, 0, 1],
         "adapters": [0, 0, 7, 7], "routed": True, "dropout": 0.1},
    ),
    "adapters that add up": (
        (20,), {"n_inputs": 30, "n_outputs": (24,), "ranks": (8, 5), "projections": [0, 0], "adapters": [0, 1]}
    ),
    "no update": ((9,), {"n_inputs": 20, "n_outputs": (8, 5), "ranks": (), "dropout": 0.3}),
    "a row": ((1,), {"n_inputs": 600, "n_outputs": (600,), "ranks": (20,), "dropout": 0.1}),
    "many rows": ((600,), {"n_inputs": 16, "n_outputs": (16,), "ranks": (16,), "dropout": 0.1}),
    "an input, an output": ((5,), {"n_inputs": 1, "n_outputs": (1,), "ranks": (1,)}),
}  # fmt: skip


def on_device(value: Any) -> Any:
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(DEVICE), value)


def forward(case: Any, provider: triton_gemm.Provider = "auto") -> tuple[list[Tensor], Tensor]:
    x, weights, _, _, *updates = on_device(case.op_arguments())
    return cuda.lora_linear_forward(LoraArguments(x, weights, *updates), on_device(case.biases), provider=provider)


def backward(case: Any, projected: Tensor, *wanted: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    x, weights, _, _, *updates = on_device(case.op_arguments())
    arguments = LoraArguments(x, weights, *updates)
    return cuda.lora_linear_backward(arguments, on_device(case.upstream()), projected, WantedGradients(*wanted))


def results(case: Any, provider: str = "auto") -> dict[str, Tensor]:
    outputs, projected = forward(case, provider)
    dx, das, dbs = backward(case, projected, True, True, True)
    return {
        **{f"output {i}": output for i, output in enumerate(outputs)},
        "x": dx,
        **{f"a {i}": da for i, da in enumerate(das)},
        **{f"b {i}": db for i, db in enumerate(dbs)},
    }


def named(outcome: Any) -> dict[str, Tensor]:
    return {**{f"output {i}": output for i, output in enumerate(outcome.outputs)}, **outcome.gradients}


def assert_no_worse_than_eager(case: Any, eager_layers: Any, ours: dict[str, Tensor]) -> None:
    """At most twice the largest error of eager, which rounds more often, beside what no implementation is spared.

    That is half a unit in the last place of the largest result; as much of the sizes of its terms, one factor of which,
    the product with A or with B, is kept in the layer's type between the passes; and of float32 sums 2^-22 of these
    sizes: two bits for the order of additions. Eager has all of them, but may be lucky where a group has few rows.
    """
    truth, bounds, eager = named(case.truth()), named(case.bounds()), named(case.run(eager_layers))
    assert ours.keys() == truth.keys()
    for name, result in ours.items():
        expected = truth[name]
        assert result.dtype == eager[name].dtype
        assert result.shape == expected.shape
        if not expected.numel():
            continue
        error = (result.double().cpu() - expected).abs().max()
        of_eager = (eager[name].double() - expected).abs().max()
        rounding, sizes = torch.finfo(result.dtype).eps / 2, bounds[name].max()
        floor = rounding * (expected.abs().max() + sizes) + 2**-22 * sizes
        assert error <= 2 * of_eager + floor, f"{name}: error {error:.3e}, eager {of_eager:.3e}, floor {floor:.3e}"


# --------------------------------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_and_gradients_are_no_worse_than_eager(
    make_case: MakeCase, eager_layers: Any, shape: str, dtype: torch.dtype
) -> None:
    leading, options = SHAPES[shape]
    case = make_case(*leading, dtype=dtype, **options)
    assert_no_worse_than_eager(case, eager_layers, results(case))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("provider", ["addmm", "fused"])
def test_large_ranks_are_no_worse_than_eager(
    make_case: MakeCase, eager_layers: Any, dtype: torch.dtype, provider: str
) -> None:
    case = make_case(40, n_inputs=600, n_outputs=(300, 70), ranks=(256, 64), dropout=0.1, dtype=dtype)
    assert_no_worse_than_eager(case, eager_layers, results(case, provider))


@pytest.mark.parametrize(
    ("dtype", "transposed"), [(torch.float32, False), (torch.bfloat16, True), (torch.float16, False)]
)
def test_the_fused_product_is_no_worse_than_eager(
    make_case: MakeCase, eager_layers: Any, dtype: torch.dtype, transposed: bool
) -> None:
    case = make_case(
        70,
        n_inputs=200,
        n_outputs=(130, 33),
        ranks=(40, 5, 3),
        adapters=[0, 0, 1],
        routed=True,
        dropout=0.1,
        dtype=dtype,
    )
    if transposed:
        case.weights = [weight.t().contiguous().t() for weight in case.weights]
    assert_no_worse_than_eager(case, eager_layers, results(case, "fused"))


@pytest.mark.parametrize("shape", ["dropout", "adapters of rows", "a row"])
def test_what_is_saved_is_what_the_cpu_saves(make_case: MakeCase, shape: str) -> None:
    leading, options = SHAPES[shape]
    case = make_case(*leading, **options)
    _, projected = forward(case)
    _, expected = torch.ops.jenga.lora_linear(*case.op_arguments())
    assert projected.dtype == torch.float32
    # float32 sums of up to 600 products of about 0.03, in another order.
    torch.testing.assert_close(projected.cpu(), expected, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(projected.cpu() == 0, expected == 0)


def test_a_bias_of_another_dtype_is_cast_in_float64_too(make_case: MakeCase) -> None:
    case = make_case(9, ranks=(4,)).to(torch.float64)
    expected = case.call()
    case.biases = [bias.float() for bias in case.biases]
    # The biases themselves are rounded to float32.
    torch.testing.assert_close(forward(case)[0], on_device(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", ["dropout", "adapters of rows", "no bias, a layer without"])
def test_float64_is_as_on_the_cpu(make_case: MakeCase, shape: str) -> None:
    leading, options = SHAPES[shape]
    case = make_case(*leading, dtype=torch.float64, **options)
    ours = results(case)
    for name, expected in named(case.truth()).items():
        torch.testing.assert_close(ours[name].cpu(), expected, rtol=1e-11, atol=1e-11, msg=name)
    _, projected = forward(case)
    torch.testing.assert_close(projected.cpu(), torch.ops.jenga.lora_linear(*case.op_arguments())[1])


@pytest.mark.parametrize("adapters", [torch.float32, torch.float16])
def test_adapters_and_weights_of_another_dtype_are_cast_to_that_of_x(
    make_case: MakeCase, adapters: torch.dtype
) -> None:
    case = make_case(33, n_outputs=(11, 6), ranks=(4, 2), dropout=0.25, dtype=torch.bfloat16)
    rounded = results(case)
    case = case.to(torch.bfloat16, adapters=adapters)
    case.weights = [weight.float() for weight in case.weights]
    case.biases = [bias.float() for bias in case.biases]
    mixed = results(case)
    for name, result in mixed.items():
        assert result.dtype == (adapters if name[0] in "ab" else torch.bfloat16)
        # The values are those of bfloat16, so the sums are the same; a gradient in float32 is rounded less, one in
        # float16 once more, perhaps to the other neighbour in bfloat16.
        tolerance = {"rtol": 2**-7 if result.dtype == torch.float16 else 0, "atol": 0}
        torch.testing.assert_close(result.to(torch.bfloat16), rounded[name], **tolerance)


# ------------------------------------------------------------------------------------------------------------- dropout


@triton.jit
def keep_kernel(
    seed_ptr, to_ptr, threshold, first_row, n_rows, n_columns, block_m: tl.constexpr, block_k: tl.constexpr
):
    rows = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    first = tl.program_id(1) * block_k
    columns = first + tl.arange(0, block_k)
    keep = keep_tile(seed_ptr, threshold, rows + first_row, first, block_k)
    inside = (rows < n_rows)[:, None] & (columns < n_columns)[None, :]
    tl.store(to_ptr + rows[:, None] * n_columns + columns[None, :], keep.to(tl.int8), mask=inside)


def kept_by_kernel(n_rows: int, n_columns: int, *, dropout: float, seed: int, first_row: int, block_k: int) -> Tensor:
    to = torch.full((n_rows, n_columns), -1, dtype=torch.int8, device=DEVICE)
    keep_kernel[(-(-n_rows // 16), -(-n_columns // block_k))](
        torch.tensor(seed, device=DEVICE), to, reference.dropout_threshold(dropout), first_row, n_rows, n_columns,
        block_m=16, block_k=block_k,
    )  # fmt: skip
    assert (to >= 0).all()
    return to.bool().cpu()


@pytest.mark.parametrize("block_k", [64, 128])
@pytest.mark.parametrize("seed", [0, 17, -1, -(2**63), 2**63 - 1])
def test_the_mask_of_a_tile_is_that_of_keep_mask(seed: int, block_k: int) -> None:
    for dropout in (1e-9, 0.1, 0.999):
        kept = kept_by_kernel(19, 140, dropout=dropout, seed=seed, first_row=0, block_k=block_k)
        expected = keep_mask(19, 140, dropout=dropout, seed=seed, device=torch.device("cpu"))
        assert torch.equal(kept, expected)


def test_masks_go_on_beyond_four_billion_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    first = 2**32 - 8
    kept = kept_by_kernel(16, 128, dropout=0.5, seed=3, first_row=first, block_k=64)
    # keep_mask begins at row 0: a number of rows that nobody can hold would take it there.
    arange = torch.arange
    monkeypatch.setattr(torch, "arange", lambda n, **options: arange(n, **options) + (first if n == 16 else 0))
    expected = keep_mask(16, 128, dropout=0.5, seed=3, device=torch.device("cpu"))
    assert torch.equal(kept, expected)
    assert not torch.equal(kept[8:], kept_by_kernel(8, 128, dropout=0.5, seed=3, first_row=0, block_k=64))


def test_what_is_dropped_may_be_infinite(make_case: MakeCase) -> None:
    case = make_case(40, n_inputs=70, dropout=0.5)
    kept = keep_mask(40, 70, dropout=0.5, seed=case.seed, device=torch.device("cpu"))
    case.x[~kept] = torch.inf
    _, projected = forward(case)
    _, das, _ = backward(case, projected, True, True, True)
    assert projected.isfinite().all()
    assert das[0].isfinite().all()


# --------------------------------------------------------------------------------------------------- rows and adapters


def test_a_row_sees_its_own_adapter_alone(make_case: MakeCase) -> None:
    leading, options = SHAPES["adapters of rows"]
    case = make_case(*leading, **options)
    outputs, projected = forward(case)
    seen = torch.cat(
        [(case.rows == each.adapter)[:, None].expand(-1, each.lora_a.shape[0]) for each in case.updates], 1
    )
    assert torch.equal(projected.cpu() != 0, seen)
    assert (case.rows == -1).any()
    # Another adapter's infinities stay with its rows.
    case.updates[0].lora_b.fill_(torch.inf)
    again, _ = forward(case)
    others = case.rows != case.updates[0].adapter
    assert torch.equal(again[1], outputs[1])
    assert not again[0].cpu()[~others].isfinite().all()


# ------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True), (False,) * 3])
def test_only_wanted_gradients_are_given(make_case: MakeCase, wanted: tuple[bool, bool, bool]) -> None:
    case = make_case(3, n_outputs=(11, 6), ranks=(4, 2), dropout=0.25)
    _, projected = forward(case)
    dx, das, dbs = backward(case, projected, True, True, True)
    some_x, some_as, some_bs = backward(case, projected, *wanted)
    assert torch.equal(some_x, dx) if wanted[0] else some_x.numel() == 0
    for want, some, full in ((wanted[1], some_as, das), (wanted[2], some_bs, dbs)):
        assert len(some) == (2 if want else 0)
        assert all(torch.equal(one, other) for one, other in zip(some, full, strict=False))


def test_no_rows_give_zero_gradients(make_case: MakeCase) -> None:
    case = make_case(0, n_outputs=(11, 6), ranks=(4, 2), dropout=0.25)
    for provider in ("addmm", "fused"):
        ours = results(case, provider)
        assert [ours[name].shape[0] for name in ("output 0", "output 1", "x")] == [0, 0, 0]
        assert not any(ours[name].any() for name in ("a 0", "a 1", "b 0", "b 1"))


def test_layouts_do_not_matter_and_x_is_not_written(make_case: MakeCase) -> None:
    case = make_case(33, n_inputs=40, dropout=0.25)
    expected = results(case)
    case.x = case.x.t().contiguous().t()
    upstream = [grad.t().contiguous().t() for grad in case.upstream()]
    case.upstream = lambda: upstream
    case.updates = [
        type(each)(each.lora_a.t().contiguous().t(), each.lora_b.t().contiguous().t(), each.scale)
        for each in case.updates
    ]
    before = case.x.clone()
    for name, result in results(case).items():
        # The base product of a transposed matrix may be added in another order.
        torch.testing.assert_close(result, expected[name], rtol=1e-5, atol=1e-5)
    assert torch.equal(case.x, before)


def test_split_sums_are_the_same_each_time(make_case: MakeCase) -> None:
    leading, options = SHAPES["many rows"]
    case = make_case(*leading, **options)
    first, second = results(case), results(case)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_ranks_of_a_call_are_copied_to_the_device_once(make_case: MakeCase) -> None:
    case = make_case(3)
    x, weights, _, _, *updates = on_device(case.op_arguments())
    arguments = LoraArguments(x, weights, *updates)
    assert cuda._ranks(arguments) is cuda._ranks(dataclasses.replace(arguments))
    assert cuda._ranks(arguments) is not cuda._ranks(dataclasses.replace(arguments, dropout=0.5))


def test_the_choice_is_addmm_where_nothing_can_be_timed(make_case: MakeCase) -> None:
    x, weight = torch.ones(2, 3), torch.ones(4, 3)
    candidates = {"addmm": lambda: x, "fused": lambda: weight}
    assert triton_gemm.choose("auto", x, weight, 4, candidates) is x
    assert triton_gemm.choose("fused", x, weight, 4, candidates) is weight


# ------------------------------------------------------------------------------------------------------ the public way


# torch warns of what is the fixture's purpose.
OVERRIDES = pytest.mark.filterwarnings("ignore:(?s).*Overriding a previously registered kernel:UserWarning")


@pytest.fixture
def _cpu_runs_the_kernels() -> Iterator[None]:
    """Let the dispatcher call the CUDA implementation for CPU tensors."""
    library = torch.library.Library("jenga", "IMPL")
    library.impl("lora_linear", implementations.cuda_forward, "CPU", allow_override=True)
    library.impl("lora_linear_backward", implementations.cuda_backward, "CPU", allow_override=True)
    yield
    library._destroy()


@pytest.mark.skipif(DEVICE == "cuda", reason="a GPU has the kernels without")
@OVERRIDES
@pytest.mark.usefixtures("_cpu_runs_the_kernels")
@pytest.mark.parametrize("shape", ["grouped", "adapters of rows"])
def test_autograd_gives_the_gradient_of_every_leaf(
    make_case: MakeCase, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    calls = []
    project = cuda.project
    monkeypatch.setattr(cuda, "project", lambda *arguments: calls.append(1) or project(*arguments))
    leading, options = SHAPES[shape]
    case = make_case(*leading, **options)
    case.wanted = set(case.leaves())
    ours, truth = named(case.run()), named(case.truth())
    assert calls
    assert ours.keys() == truth.keys()
    for name, result in ours.items():
        # float32 sums of up to 130 products of about 1.
        torch.testing.assert_close(result.double(), truth[name], rtol=2e-5, atol=1e-4, msg=name)


@pytest.mark.skipif(DEVICE == "cuda", reason="a GPU has the kernels without")
@OVERRIDES
@pytest.mark.usefixtures("_cpu_runs_the_kernels")
def test_autocast_rounds_as_a_cast_of_x_does(make_case: MakeCase) -> None:
    case = make_case(33, n_outputs=(11, 6), ranks=(4, 2), dropout=0.25)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = case.run()
    expected = case.to(torch.bfloat16).run()
    for output, cast in zip(ours.outputs, expected.outputs, strict=True):
        assert output.dtype == torch.bfloat16
        # The bias is rounded once less; sums of up to 4 on the way may go to the other neighbour, 2^-6 away.
        torch.testing.assert_close(output, cast, rtol=2**-7, atol=2**-6)
    for name, gradient in ours.gradients.items():
        assert gradient.dtype == torch.float32
        # Sums of 33 products: half an eps each of bfloat16.
        torch.testing.assert_close(gradient, expected.gradients[name].float(), rtol=2**-6, atol=2**-4)
