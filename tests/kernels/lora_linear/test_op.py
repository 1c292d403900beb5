"""Values and every gradient of `lora_linear`: against float64, in every mode, layout and dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jenga.kernels import Backend, lora_linear, lora_linear_grouped, lora_linear_updates
from jenga.kernels.lora_linear import lora_linear_reference, op
from jenga.kernels.lora_linear.few_rows import FEW_ROWS

MakeCase = Callable[..., Any]
Layers = Callable[..., list[Tensor]]

# float32: outputs and gradients are sums of up to 2000 products of about 1, each rounded by 6e-8, and those sums pass
# one another on; what cancels leaves the absolute part.
FLOAT32 = {"rtol": 2e-5, "atol": 1e-4}
# float64 on both sides: only the order of additions differs.
FLOAT64 = {"rtol": 1e-11, "atol": 1e-11}


# bfloat16: sums are float32 and are rounded once. Where the processor multiplies bfloat16 itself, the base's product
# goes on top of an update (of up to about 10 here) that was stored, and so rounded, before.
ROUNDED_BEFORE = 0.04 if torch.cpu.get_capabilities().get("avx512_bf16", False) else 0.0


def assert_matches_float64(case: Any, **tolerance: float) -> None:
    ours, truth = case.run(), case.truth()
    for output, expected in zip(ours.outputs, truth.outputs, strict=True):
        assert output.dtype == case.x.dtype
        torch.testing.assert_close(output.double(), expected, **tolerance)
    assert ours.gradients.keys() == truth.gradients.keys()
    for name, leaf in case.leaves().items():
        if name in ours.gradients:
            gradient = ours.gradients[name]
            assert gradient.dtype == leaf.dtype
            torch.testing.assert_close(
                gradient.double(), truth.gradients[name], msg=lambda m, n=name: f"{n}: {m}", **tolerance
            )


def everything(case: Any) -> Any:
    """The same case with a gradient for every leaf."""
    case.wanted = set(case.leaves())
    return case


# -------------------------------------------------------------------------------------------------- what it is equal to


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_an_update_adds_its_scaled_product_to_the_weight(make_case: MakeCase, dtype: torch.dtype) -> None:
    case = make_case(33, dtype=dtype)
    update = case.updates[0]
    merged = case.weights[0].double() + update.scale * update.lora_b.double() @ update.lora_a.double()
    expected = F.linear(case.x.double(), merged, case.biases[0].double())
    (output,) = case.call()
    # Half precision: sums are float32 and are rounded once, by half an eps.
    eps = torch.finfo(dtype).eps
    atol = 1e-5 + (ROUNDED_BEFORE if dtype == torch.bfloat16 else 0.0)
    torch.testing.assert_close(output.double(), expected, rtol=0.51 * eps if eps > 1e-4 else 10 * eps, atol=atol)


def test_the_short_forms_are_the_long_one(make_case: MakeCase) -> None:
    case = make_case(5, n_outputs=(11, 6), ranks=(4, 2), dropout=0.25)
    one, two = case.updates
    outputs = case.call()
    grouped = lora_linear_grouped(
        case.x, case.weights, case.biases, [one.lora_a, two.lora_a], [one.lora_b, two.lora_b],
        scales=[one.scale, two.scale], dropout=0.25, seed=case.seed,
    )  # fmt: skip
    assert all(torch.equal(output, expected) for output, expected in zip(grouped, outputs, strict=True))
    # Without the others, which join its ranks: the same sums, in the same order.
    alone = lora_linear(
        case.x, case.weights[1], case.biases[1], two.lora_a, two.lora_b, scale=two.scale, dropout=0.25, seed=case.seed
    )
    torch.testing.assert_close(alone, outputs[1], **FLOAT32)


def test_without_a_kernel_the_reference_runs_with_the_same_dropout(
    make_case: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = everything(make_case(2, 9, n_outputs=(11, 6), ranks=(4, 2), dropout=0.25, functions={1}))
    case.wanted -= {"weight 1"}
    native = case.run()
    calls = []
    plain = op.lora_linear_reference
    monkeypatch.setattr(op, "triton_backend", lambda _: Backend("reference", "for a test"))
    monkeypatch.setattr(
        op, "lora_linear_reference", lambda *args, **options: calls.append(1) or plain(*args, **options)
    )
    other = case.run()
    assert calls
    torch.testing.assert_close(other.outputs, native.outputs, **FLOAT32)
    torch.testing.assert_close(other.gradients, native.gradients, **FLOAT32)


# ------------------------------------------------------------------------------------------------------ sizes and modes


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("n_rows", [0, 1, 7, 64, 65, 130])
def test_float32_values_and_every_gradient_match_float64(make_case: MakeCase, n_rows: int, dropout: float) -> None:
    assert_matches_float64(everything(make_case(n_rows, n_inputs=97, dropout=dropout)), **FLOAT32)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("n_rows", [0, 1, 130])
def test_float64_values_and_every_gradient_are_computed_in_float64(
    make_case: MakeCase, n_rows: int, dropout: float
) -> None:
    assert_matches_float64(
        everything(make_case(n_rows, n_inputs=97, dropout=dropout, dtype=torch.float64)), **FLOAT64
    )  # fmt: skip


@pytest.mark.parametrize("rank", [1, 2, 3, 5, 8, 13, 16, 63, 64, 65, 128, 256])
def test_every_rank_matches_float64(make_case: MakeCase, rank: int) -> None:
    assert_matches_float64(make_case(9, n_inputs=70, n_outputs=(45,), ranks=(rank,), dropout=0.2), **FLOAT32)


@pytest.mark.parametrize("n_inputs", [0, 1, 3, 63, 64, 65, 191, 192, 193, 384, 1023, 1024, 1025, 1100, 2050])
def test_every_number_of_inputs_matches_float64(make_case: MakeCase, n_inputs: int) -> None:
    assert_matches_float64(everything(make_case(6, n_inputs=n_inputs, dropout=0.2)), **FLOAT32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_outputs", [0, 1, 23, 192, 1023, 1024, 1025, 2100])
def test_every_number_of_outputs_matches_float64(make_case: MakeCase, n_outputs: int, dtype: torch.dtype) -> None:
    case = make_case(6, n_outputs=(n_outputs,), dtype=dtype)
    # bfloat16: what is stored is rounded once; a gradient of x is a sum over 2100 outputs.
    tolerance = FLOAT32 if dtype == torch.float32 else {"rtol": 2**-8 * 1.02, "atol": 1e-4 + ROUNDED_BEFORE}
    assert_matches_float64(case, **tolerance)


@pytest.mark.parametrize("leading", [(), (6,), (2, 3), (2, 1, 3), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("routed", [False, True])
def test_x_may_have_any_number_of_dimensions(make_case: MakeCase, leading: tuple[int, ...], routed: bool) -> None:
    case = everything(make_case(*leading, dropout=0.2, routed=routed))
    assert case.run().outputs[0].shape == (*leading, 11)
    assert_matches_float64(case, **FLOAT32)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_layers_of_different_widths_and_ranks_share_x(make_case: MakeCase, dropout: float) -> None:
    case = make_case(2, 35, n_inputs=70, n_outputs=(40, 8, 24), ranks=(8, 1, 5), dropout=dropout)
    case.biases[1] = None
    assert_matches_float64(everything(case), **FLOAT32)


def test_updates_of_a_layer_add_up_in_any_order(make_case: MakeCase) -> None:
    case = make_case(20, n_outputs=(40, 8), ranks=(8, 3, 4, 2), projections=(1, 0, 1, 0), dropout=0.2)
    assert_matches_float64(everything(case), **FLOAT32)


@pytest.mark.parametrize("bias", [False, True])
def test_without_updates_it_is_a_linear_layer(make_case: MakeCase, bias: bool) -> None:
    case = everything(make_case(9, n_outputs=(11, 3), ranks=(), bias=bias, dropout=0.3))
    torch.testing.assert_close(case.call()[1], F.linear(case.x, case.weights[1], case.biases[1]), **FLOAT32)
    assert_matches_float64(case, **FLOAT32)


def test_a_layer_without_an_update_may_stand_beside_one_that_has_one(make_case: MakeCase) -> None:
    assert_matches_float64(everything(make_case(9, n_outputs=(11, 3), ranks=(4,), projections=(1,))), **FLOAT32)


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float32_adapters_of_a_model_in_another_dtype_keep_their_precision(
    make_case: MakeCase, dtype: torch.dtype, as_function: bool
) -> None:
    case = make_case(30, n_outputs=(1100,), functions={0} if as_function else set()).to(dtype, adapters=torch.float32)
    ours, truth = case.run(), case.truth()
    for name in ("a 0", "b 0"):
        assert ours.gradients[name].dtype == torch.float32
        torch.testing.assert_close(ours.gradients[name].double(), truth.gradients[name], **FLOAT32)


# --------------------------------------------------------------------------------------------- rows with their adapters


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("n_rows", [1, 7, 130])
def test_rows_see_their_own_adapter_only(make_case: MakeCase, n_rows: int, dropout: float) -> None:
    case = make_case(
        n_rows, n_inputs=70, n_outputs=(40, 8), ranks=(8, 3, 4, 2, 5), projections=(0, 1, 1, 0, 0),
        adapters=(0, 0, 3, 3, 7), routed=True, dropout=dropout,
    )  # fmt: skip
    if n_rows > 7:
        assert set(case.rows.tolist()) == {0, 3, 7, -1}
    assert_matches_float64(everything(case), **FLOAT32)


def test_rows_of_an_adapter_give_what_that_adapter_gives_alone(make_case: MakeCase) -> None:
    case = make_case(40, ranks=(8, 3), adapters=(0, 1), routed=True)
    routed = case.run()
    for adapter in (0, 1, -1):
        own = case.rows == adapter
        assert own.any()
        updates = [update for update in case.updates if update.adapter == adapter]
        (alone,) = lora_linear_updates(case.x[own], case.weights, case.biases, updates)
        torch.testing.assert_close(routed.outputs[0][own], alone, **FLOAT32)


def test_without_rows_every_update_reaches_every_row(make_case: MakeCase) -> None:
    case = make_case(9, ranks=(4, 3), adapters=(0, 5))
    plain = make_case(9, ranks=(4, 3))
    assert torch.equal(case.call()[0], plain.call()[0])


def test_an_adapter_that_no_row_has_gets_a_gradient_of_0(make_case: MakeCase) -> None:
    case = make_case(9, ranks=(4, 3), adapters=(0, 5))
    case.rows = torch.tensor([0, 0, 6, 6, -1, 0, 0, 0, 0])
    gradients = case.run().gradients
    assert not gradients["a 1"].any()
    assert not gradients["b 1"].any()
    assert gradients["a 0"].any()


# ----------------------------------------------------------------------------------------------- weights from functions


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_from_a_function_gives_what_the_weight_gives(make_case: MakeCase, dtype: torch.dtype) -> None:
    case = make_case(9, n_outputs=(11, 3), ranks=(4, 2), dropout=0.2, dtype=dtype)
    expected = case.run()
    case.functions = {0}
    ours = case.run()
    assert all(torch.equal(a, b) for a, b in zip(ours.outputs, expected.outputs, strict=True))
    assert all(torch.equal(ours.gradients[name], gradient) for name, gradient in expected.gradients.items())


@pytest.mark.parametrize("wants_x", [False, True])
def test_a_function_is_called_once_a_pass_and_its_weight_not_kept(make_case: MakeCase, wants_x: bool) -> None:
    import weakref

    case = make_case(9)
    case.wanted = {"a 0", "b 0"} | ({"x"} if wants_x else set())
    case = case.learning()
    update, made = case.updates[0], []

    def dequantised() -> Tensor:
        weight = case.weights[0].clone()
        made.append(weakref.ref(weight))
        return weight

    output = lora_linear(case.x, dequantised, None, update.lora_a, update.lora_b, scale=0.5)
    assert [each() for each in made] == [None]
    output.sum().backward()
    assert [each() for each in made] == [None, None]


# ----------------------------------------------------------------------------------------------------- what is computed


@pytest.mark.parametrize("name", ["x", "weight 0", "bias 0", "a 0", "b 0", "a 1", "b 1"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_gradient_is_the_same_whether_or_not_others_are_wanted(
    make_case: MakeCase, name: str, dropout: float
) -> None:
    case = everything(make_case(9, ranks=(4, 2), dropout=dropout))
    together = case.run().gradients
    case.wanted = {name}
    alone = case.run().gradients
    assert alone.keys() == {name}
    assert torch.equal(alone[name], together[name])


def test_inputs_are_never_written_to(make_case: MakeCase) -> None:
    case = everything(make_case(9, ranks=(4, 2), dropout=0.2, n_outputs=(11, 19)))
    before = {name: leaf.clone() for name, leaf in case.leaves().items()}
    case.run()
    assert all(torch.equal(leaf, before[name]) for name, leaf in case.leaves().items())


@pytest.mark.parametrize("n_rows", [FEW_ROWS - 1, FEW_ROWS])
@pytest.mark.parametrize("leading", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_few_rows_and_more_are_computed_alike(make_case: MakeCase, n_rows: int, leading: bool, bias: bool) -> None:
    case = make_case(*((1, n_rows) if leading else (n_rows,)), n_inputs=70, bias=bias)
    assert_matches_float64(everything(case), **FLOAT32)
    assert_matches_float64(everything(case).to(torch.float64), **FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("n_rows", [FEW_ROWS - 1, FEW_ROWS])
def test_few_rows_take_a_bias_of_another_dtype_as_many_do(make_case: MakeCase, n_rows: int, dtype: torch.dtype) -> None:
    case = make_case(n_rows, bias=True)
    (bias,) = case.biases
    case.biases = [bias.to(dtype)]
    [found], [plain] = case.call(), lora_linear_reference(case.x, case.weights, case.biases, case.updates)
    torch.testing.assert_close(found, plain, rtol=2e-5, atol=1e-4)
    case.biases = [bias.to(dtype).float()]
    # Few rows in torch's products, the others in ours.
    torch.testing.assert_close(found, case.call()[0], rtol=2e-5, atol=1e-4)


def test_few_rows_of_one_layer_are_left_to_torch_and_nothing_else_is(
    make_case: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    monkeypatch.setattr(op, "linear_of_few_rows", lambda x, *_: taken.append(x) or x)
    make_case(3).call()
    assert len(taken) == 1
    for case in (
        make_case(3, dropout=0.1), make_case(3, routed=True), make_case(3, n_outputs=(11, 3)), make_case(3, ranks=()),
        make_case(3, ranks=(4, 2)), make_case(3, functions={0}), make_case(3, dtype=torch.bfloat16), make_case(40),
        make_case(3, n_outputs=(11, 3), projections=(1,)), make_case(3).to(torch.float32, torch.bfloat16),
    ):  # fmt: skip
        case.call()
    with torch.autocast("cpu"):
        make_case(3).call()
    assert len(taken) == 1
