"""Routed mode: a batch whose rows belong to different tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from jenga.kernels import HeadSpec, MultiHeadLoss, multi_head_loss
from jenga.kernels.multi_head_loss.reference import multi_head_loss_reference

MakeCase = Callable[..., Any]
NAN = float("nan")
IMPLEMENTATIONS = [multi_head_loss, multi_head_loss_reference]


def nothing(kind: str) -> float:
    """A target that says that there is none."""
    return -100 if kind in ("ce", "focal") else NAN


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_routed_batch_equals_the_batch_with_the_labels_of_other_tasks_masked(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss]
) -> None:
    routed = make_case(300, routed=True)
    masked = make_case(300)
    for place, head in enumerate(masked.heads):
        masked.targets[place][routed.rows != place] = nothing(head.kind)
    ours, theirs = routed.run(implementation), masked.run(implementation)
    assert (theirs.result.count > 0).all()
    assert torch.equal(ours.result.loss_sum, theirs.result.loss_sum)
    assert torch.equal(ours.result.count, theirs.result.count)
    for gradient, expected in zip(ours.gradients, theirs.gradients, strict=True):
        assert torch.equal(gradient, expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_targets_of_other_tasks_are_never_looked_at(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss]
) -> None:
    case = make_case(300, routed=True)
    clean = case.run(implementation)
    for place, head in enumerate(case.heads):
        case.targets[place][case.rows != place] = 2**40 if head.kind in ("ce", "focal") else 1e30
    dirty = case.run(implementation)
    assert torch.equal(dirty.result.loss_sum, clean.result.loss_sum)
    assert torch.equal(dirty.result.count, clean.result.count)
    for gradient, expected in zip(dirty.gradients, clean.gradients, strict=True):
        assert torch.equal(gradient, expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_rows_of_other_tasks_are_not_predicted(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss]
) -> None:
    case = make_case(120, routed=True)
    for place, (head, prediction) in enumerate(
        zip(case.heads, case.call(implementation).predictions, strict=True)
    ):  # fmt: skip
        own, others = prediction[case.rows == place], prediction[case.rows != place]
        assert len(own)
        if head.kind == "bce":
            assert not others.any()
        elif head.kind == "mse":
            assert others.isnan().all()
            assert own.isfinite().all()
        else:
            assert (others == -100).all()
            assert ((own >= 0) & (own < head.size)).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_several_heads_may_read_the_rows_of_one_task_by_an_id_of_any_size(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss]
) -> None:
    heads = [HeadSpec("ce", 3, task=-7), HeadSpec("bce", 2, task=2**40), HeadSpec("mse", 1, task=-7), HeadSpec("ce", 2)]
    case = make_case(8, heads=heads, masked=0.0)
    case.rows = torch.tensor([-7, 2**40, -7, 3, 3, 3, 0, 1])
    assert case.call(implementation).count.tolist() == [2.0, 2.0, 2.0, 3.0]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_row_whose_task_no_head_has_adds_nothing(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss]
) -> None:
    case = make_case(7, masked=0.0)
    case.rows = torch.full((7,), len(case.heads))
    result, gradients = case.run(implementation)
    assert not result.loss_sum.any()
    assert not result.count.any()
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_without_rows_the_tasks_of_heads_say_nothing(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss]
) -> None:
    plain = make_case(9, heads=[HeadSpec("ce", 3), HeadSpec("mse", 2)])
    with_tasks = make_case(9, heads=[HeadSpec("ce", 3, task=5), HeadSpec("mse", 2, task=5)])
    assert torch.equal(plain.call(implementation).loss_sum, with_tasks.call(implementation).loss_sum)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_strided_rows_are_read_as_contiguous_ones(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss]
) -> None:
    case = make_case(50, routed=True)
    expected = case.call(implementation)
    case.rows = torch.stack([case.rows, torch.zeros_like(case.rows)], dim=1)[:, 0]
    assert not case.rows.is_contiguous()
    assert torch.equal(case.call(implementation).loss_sum, expected.loss_sum)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    "rows", [torch.zeros(4, dtype=torch.int32), torch.zeros(3, dtype=torch.int64), torch.zeros(4, 1, dtype=torch.int64)]
)
def test_rows_of_another_form_are_refused(
    make_case: MakeCase, implementation: Callable[..., MultiHeadLoss], rows: torch.Tensor
) -> None:
    case = make_case(4)
    case.rows = rows
    with pytest.raises(ValueError, match=r"rows: got shape .* allowed: \(4,\), int64"):
        case.call(implementation)


def test_rows_on_another_device_are_refused(make_case: MakeCase) -> None:
    case = make_case(4)
    case.rows = torch.zeros(4, dtype=torch.int64, device="meta")
    with pytest.raises(ValueError, match="rows: on meta; allowed: the device of hidden, cpu"):
        case.call(multi_head_loss)
