"""Dropout of `lora_linear`: which elements it drops, how many, how evenly, and that backward drops the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import seeds
import torch
from torch import Tensor

from jenga.kernels import lora_linear, lora_linear_updates
from jenga.kernels.lora_linear import keep_mask
from jenga.kernels.lora_linear.reference import dropout_threshold

MakeCase = Callable[..., Any]
FLOAT32 = {"rtol": 2e-5, "atol": 1e-4}
CPU = torch.device("cpu")
WORD = 0xFFFFFFFF


# ---------------------------------------------------------------------------------------------------- the generator


def philox(counter: list[int], key: list[int], rounds: int) -> list[int]:
    """Philox4x32 in Python's integers (Salmon et al. 2011, section 3.3)."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(rounds):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = product1 >> 32 ^ c1 ^ k0, product1 & WORD, product0 >> 32 ^ c3 ^ k1, product0 & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(
    ("rounds", "counter", "key", "expected"),
    [  # as the authors' Random123 publishes them
        (7, [0] * 4, [0] * 2, [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]),
        (7, [WORD] * 4, [WORD] * 2, [0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662]),
        (10, [0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ],
)
def test_the_generator_gives_the_published_answers(
    rounds: int, counter: list[int], key: list[int], expected: list[int]
) -> None:
    assert philox(counter, key, rounds) == expected


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**63 - 1, -1, -(2**63)])
def test_keep_mask_compares_16_bits_of_philox_with_the_threshold(seed: int) -> None:
    mask = keep_mask(3, 200, dropout=0.3, seed=seed, device=CPU)
    for row in range(3):
        for column in range(200):
            counter = [8 * (column // 64) + column % 8, row, 0, 0]
            word = philox(counter, [seed & WORD, seed >> 32 & WORD], 7)[column // 8 % 4]
            bits = word >> 16 if column % 64 >= 32 else word & 0xFFFF
            assert mask[row, column] == (bits >= dropout_threshold(0.3))


@pytest.mark.parametrize(
    ("dropout", "threshold"), [(0.0, 0), (1e-9, 1), (2**-16, 1), (0.1, 6554), (0.5, 32768), (0.9999999, 65535)]
)
def test_the_rate_is_the_nearest_multiple_of_2_to_the_minus_16_that_is_neither_0_nor_1(
    dropout: float, threshold: int
) -> None:
    assert dropout_threshold(dropout) == threshold
    got = dropped(1, 64, dropout=dropout, seed=1, x=torch.ones(1, 64))
    kept = got[got != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 65536 / (65536 - threshold)))


# ------------------------------------------------------------------------------------------- what the kernels drop


def dropped(n_rows: int, n_inputs: int, *, dropout: float, seed: int | None, x: Tensor | None = None) -> Tensor:
    """drop(x) for x of ones, as the forward pass sees it: the identity as A and B hands it through."""
    x = torch.ones(n_rows, n_inputs) if x is None else x
    zeros, eye = torch.zeros(n_inputs, n_inputs, dtype=x.dtype), torch.eye(n_inputs, dtype=x.dtype)
    return lora_linear(x, zeros, None, eye, eye, scale=1.0, dropout=dropout, seed=seed)


def dropped_backward(
    n_rows: int, n_inputs: int, *, dropout: float, seed: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same as the gradients of x and of A see it."""
    eye = torch.eye(n_inputs, dtype=dtype)
    x = torch.ones(n_rows, n_inputs, dtype=dtype, requires_grad=True)
    y = lora_linear(x, torch.zeros_like(eye), None, eye, eye, scale=1.0, dropout=dropout, seed=seed)
    (through_x,) = torch.autograd.grad(y.sum(), x)
    # With as many ranks as rows, and the identity as gradient, A's gradient is drop(x) itself.
    a = torch.zeros(n_rows, n_inputs, dtype=dtype, requires_grad=True)
    identity = torch.eye(n_rows, dtype=dtype)
    y = lora_linear(
        x.detach(), torch.zeros(n_rows, n_inputs, dtype=dtype), None, a, identity, scale=1.0, dropout=dropout, seed=seed
    )
    (through_a,) = torch.autograd.grad(y, a, identity)
    return through_x, through_a


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("n_rows", "n_inputs"), [(1, 1), (3, 64), (5, 193), (70, 100), (2, 1100)])
def test_forward_and_both_gradients_drop_what_keep_mask_says(
    n_rows: int, n_inputs: int, dtype: torch.dtype, dropout: float
) -> None:
    mask = keep_mask(n_rows, n_inputs, dropout=dropout, seed=-3, device=CPU)
    forward = dropped(
        n_rows, n_inputs, dropout=dropout, seed=-3, x=torch.ones(n_rows, n_inputs, dtype=dtype)
    )  # fmt: skip
    through_x, through_a = dropped_backward(n_rows, n_inputs, dropout=dropout, seed=-3, dtype=dtype)
    for values in (forward, through_x, through_a):
        assert torch.equal(values != 0, mask)
        kept = values[mask].double()
        torch.testing.assert_close(
            kept, torch.full_like(kept, 65536 / (65536 - dropout_threshold(dropout))),
            rtol=torch.finfo(dtype).eps, atol=0,
        )  # fmt: skip


@pytest.mark.parametrize("routed", [False, True])
def test_layers_and_adapters_of_a_call_see_the_same_dropped_x(make_case: MakeCase, routed: bool) -> None:
    case = make_case(40, n_inputs=70, n_outputs=(12, 12), ranks=(4, 4, 4), dropout=0.5, bias=False)
    first = case.updates[0]
    case.weights = [torch.zeros(12, 70)] * 2
    case.updates = [
        type(first)(first.lora_a, first.lora_b, 1.0, projection, adapter)
        for projection, adapter in ((0, 0), (1, 0), (0, 1), (1, 1))
    ]  # fmt: skip
    # Routed, each row sees one of two equal adapters; else both, which is twice the update.
    case.rows = torch.arange(40) % 2 if routed else None
    one, two = case.call()
    (alone,) = lora_linear_updates(
        case.x, case.weights[:1], [None], case.updates[:1], dropout=0.5, seed=case.seed
    )  # fmt: skip
    torch.testing.assert_close(one, alone if routed else 2 * alone, **FLOAT32)
    torch.testing.assert_close(one, two, **FLOAT32)


def test_nan_and_infinity_are_dropped_as_other_numbers_are() -> None:
    mask = keep_mask(4, 64, dropout=0.5, seed=1, device=CPU)
    x = torch.where(mask, 1.0, float("nan"))
    # The base reads the whole x: only what the update adds is looked at, by its gradient of A.
    a = torch.zeros(2, 64, requires_grad=True)
    y = lora_linear(x, torch.zeros(3, 64), None, a, torch.ones(3, 2), scale=1.0, dropout=0.5, seed=1)
    y.backward(torch.ones_like(y))
    assert a.grad is not None
    assert a.grad.isfinite().all()


# -------------------------------------------------------------------------------------------------------- statistics

SIGMAS = 5.0
"""Each bound is passed by chance once in 1.7 million seeds, and seeds are fixed: a failure is never luck."""


@pytest.mark.parametrize("dropout", [2**-10, 0.05, 0.1, 0.5, 0.9])
def test_the_share_of_dropped_elements_is_the_rate(dropout: float) -> None:
    values = dropped(4000, 256, dropout=dropout, seed=123)
    n, rate = values.numel(), dropout_threshold(dropout) / 65536
    spread = (n * rate * (1 - rate)) ** 0.5
    assert abs((values == 0).sum().item() - n * rate) < SIGMAS * spread
    # What is kept is lifted, so that the mean stays.
    assert abs(values.mean().item() - 1) < SIGMAS * spread / (n * (1 - rate))


@pytest.mark.parametrize("dim", [0, 1])
def test_every_row_and_every_column_is_dropped_at_the_rate(dim: int) -> None:
    mask = keep_mask(1000, 1000, dropout=0.3, seed=5, device=CPU)
    shares = mask.double().mean(dim=dim)
    rate = 1 - dropout_threshold(0.3) / 65536
    normal = (shares - rate) / (rate * (1 - rate) / 1000) ** 0.5
    assert normal.abs().max() < SIGMAS
    # Spread as chance spreads: the variance of 1000 of them is 1, by +- sqrt(2 / 1000).
    assert abs(normal.square().mean().item() - 1) < SIGMAS * (2 / 1000) ** 0.5


def agreement(one: Tensor, two: Tensor) -> float:
    """How often masks of rate 1/2 agree, in standard deviations from what independent ones do."""
    n = one.numel()
    return ((one == two).sum().item() - n / 2) / (n / 4) ** 0.5


@pytest.mark.parametrize("shift", [1, 2, 7, 8, 16, 31, 32, 63, 64, 128, 192])
def test_neither_columns_nor_rows_at_any_distance_are_dropped_together(shift: int) -> None:
    mask = keep_mask(1000, 1000, dropout=0.5, seed=7, device=CPU)
    assert abs(agreement(mask[:, shift:], mask[:, :-shift])) < SIGMAS
    assert abs(agreement(mask[shift:], mask[:-shift])) < SIGMAS
    assert abs(agreement(mask[shift:, shift:], mask[:-shift, :-shift])) < SIGMAS
    # The measure sees what there is: a mask agrees with itself.
    assert agreement(mask, mask) > 900


@pytest.mark.parametrize("step", [1, 2, 2**16, 2**31, 2**32, 2**33, 2**62, -1])
def test_seeds_that_lie_together_drop_nothing_together(step: int) -> None:
    seeds = [11, 12, 1000]
    for seed in seeds:
        one, two = (keep_mask(500, 500, dropout=0.5, seed=each, device=CPU) for each in (seed, seed + step))
        assert abs(agreement(one, two)) < SIGMAS
        # Nor is one the other, a few rows or columns further on.
        assert abs(agreement(one[1:], two[:-1])) < SIGMAS
        assert abs(agreement(one[:, 64:], two[:, :-64])) < SIGMAS


def test_the_mean_over_many_seeds_is_the_layer_without_dropout(make_case: MakeCase) -> None:
    case = make_case(4, n_inputs=64, dtype=torch.float64)
    (expected,) = case.call()
    case.dropout = 0.5
    outputs = []
    for seed in range(1500):
        case.seed = seed
        outputs.append(case.call()[0])
    samples = torch.stack(outputs)
    error = samples.std(dim=0) / len(samples) ** 0.5
    assert ((samples.mean(dim=0) - expected).abs() < SIGMAS * error).all()


# -------------------------------------------------------------------------------------------------------------- seeds


def test_without_a_seed_each_call_drops_others_and_manual_seed_repeats_them() -> None:
    def three() -> list[Tensor]:
        torch.manual_seed(seeds.derived(3))
        return [dropped(20, 64, dropout=0.5, seed=None) for _ in range(3)]

    first, again = three(), three()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])
    torch.manual_seed(seeds.derived(4))
    assert not torch.equal(dropped(20, 64, dropout=0.5, seed=None), first[0])


def test_a_call_without_dropout_leaves_torchs_generator_alone(make_case: MakeCase) -> None:
    state = torch.get_rng_state()
    case = make_case(4)
    case.seed = None
    case.call()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_seed_may_be_an_int_or_a_tensor_and_leaves_torchs_generator_alone() -> None:
    state = torch.get_rng_state()
    as_int = dropped(5, 64, dropout=0.5, seed=-7)
    assert torch.equal(dropped(5, 64, dropout=0.5, seed=torch.tensor(-7)), as_int)  # type: ignore[arg-type]
    assert torch.equal(dropped(5, 64, dropout=0.5, seed=torch.tensor([-7])), as_int)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_seed_tensor_that_changed_before_the_backward_pass_is_an_error() -> None:
    seed, a = torch.tensor(3), torch.ones(2, 64, requires_grad=True)
    y = lora_linear(torch.ones(5, 64), torch.ones(3, 64), None, a, torch.ones(3, 2), scale=1.0, dropout=0.5, seed=seed)
    seed.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_the_kernels_compute_is_the_same_on_any_number_of_threads(
    make_case: MakeCase, dtype: torch.dtype, routed: bool
) -> None:
    # So large that each product is shared among threads; the base's own GEMM may round otherwise, so it is 0.
    case = make_case(
        1500, n_inputs=700, n_outputs=(400, 300), ranks=(16, 8, 8), adapters=(0, 0, 1), dropout=0.2, routed=routed
    ).to(dtype)  # fmt: skip
    case.weights = [torch.zeros_like(weight) for weight in case.weights]
    n_threads = torch.get_num_threads()
    outcomes = []
    try:
        for n in (1, 1, 2, 3):
            torch.set_num_threads(n)
            outcomes.append(case.run())
    finally:
        torch.set_num_threads(n_threads)
    first, *others = outcomes
    for outcome in others:
        assert all(torch.equal(a, b) for a, b in zip(outcome.outputs, first.outputs, strict=True))
        assert all(torch.equal(outcome.gradients[name], first.gradients[name]) for name in first.gradients)
