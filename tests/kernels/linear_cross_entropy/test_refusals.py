"""What linear_cross_entropy and its reference refuse, each with where, what, and what is allowed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jenga.kernels import linear_cross_entropy
from jenga.kernels.linear_cross_entropy.reference import linear_cross_entropy_reference

IMPLEMENTATIONS = [linear_cross_entropy, linear_cross_entropy_reference]


def inputs(n_rows: int = 200, vocabulary: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(n_rows, 4), torch.randn(vocabulary, 4), torch.zeros(n_rows, dtype=torch.int64)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("label", [7, -1, -101, 2**40, -(2**63)])
def test_a_label_out_of_range_is_named_with_row_value_and_range(
    implementation: Callable[..., Tensor], label: int
) -> None:
    hidden, weight, targets = inputs()
    targets[150] = targets[190] = label
    with pytest.raises(ValueError, match=rf"targets: row 150 holds label {label}; allowed: 0 to 6, or -100"):
        implementation(hidden, weight, targets)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.5}, "label_smoothing: got 1.5; allowed: 0 to 1"),
        ({"reduction": "none"}, "reduction: got 'none'.*computed in the forward pass"),
        ({"reduction": "max"}, "reduction: got 'max'; allowed: 'mean', 'sum'$"),
        ({"bias": torch.zeros(3)}, r"bias: got shape \(3,\), torch.float32; allowed: \(7,\), torch.float32"),
        ({"bias": torch.zeros(7).double()}, r"bias: got shape \(7,\), torch.float64; allowed: \(7,\), torch.float32"),
    ],
)
def test_wrong_options_are_refused(
    implementation: Callable[..., Tensor], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        implementation(*inputs(), **options)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", ["weight", "targets", "bias"])
def test_a_tensor_on_another_device_is_named(implementation: Callable[..., Tensor], name: str) -> None:
    hidden, weight, targets = inputs()
    tensors = {"weight": weight, "targets": targets, "bias": torch.zeros(7)}
    tensors[name] = tensors[name].to("meta")
    with pytest.raises(ValueError, match=f"{name}: got device meta; allowed: cpu, that of hidden"):
        implementation(hidden, **tensors)


@pytest.mark.parametrize("chunk_size", [0, -3, "some", 1.5])
def test_a_wrong_chunk_size_is_refused(chunk_size: object) -> None:
    with pytest.raises(ValueError, match=r"chunk_size: got .*; allowed: 'auto', or 1 or more rows"):
        linear_cross_entropy(*inputs(), chunk_size=chunk_size)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("position", "tensor", "message"),
    [
        (0, torch.randn(2, 100, 4), r"hidden, weight: got shapes \(2, 100, 4\).*hidden.flatten\(0, -2\)"),
        (0, torch.randn(200, 5), r"hidden, weight: got shapes \(200, 5\) and \(7, 4\)"),
        (0, torch.randn(200, 4).half(), "got dtypes torch.float16 and torch.float32"),
        (1, torch.randn(0, 4), "weight: got .*; allowed: 1 row or more"),
        (2, torch.zeros(200, dtype=torch.int32), "targets: got dtype torch.int32; allowed: int64"),
        (2, torch.zeros(199, dtype=torch.int64), r"targets: got shape \(199,\); allowed: \(200,\)"),
    ],
)
def test_tensors_that_disagree_are_refused(
    implementation: Callable[..., Tensor], position: int, tensor: Tensor, message: str
) -> None:
    arguments = list(inputs())
    arguments[position] = tensor
    with pytest.raises(ValueError, match=message):
        implementation(*arguments)


def test_vmap_is_refused_with_the_way_around() -> None:
    _, weight, targets = inputs()
    with pytest.raises(NotImplementedError, match=r"hidden.flatten\(0, 1\)"):
        torch.func.vmap(lambda hidden: linear_cross_entropy(hidden, weight, targets))(torch.randn(2, 200, 4))


def test_func_grad_works() -> None:
    hidden, weight, targets = inputs()
    got = torch.func.grad(lambda hidden: linear_cross_entropy(hidden, weight, targets))(hidden)
    (expected,) = torch.autograd.grad(linear_cross_entropy_reference(hidden.requires_grad_(), weight, targets), hidden)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chunk_rows": -1}, "chunk_rows: got -1; allowed: 0"),
        ({"wanted": [True]}, "wanted: got 1; allowed: 3"),
        ({"label_smoothing": 1.5}, "label_smoothing: got 1.5; allowed: 0 to 1"),
        ({"targets": torch.zeros(5).long()}, r"targets: got shape \(5,\)"),
        ({"weight": torch.ones(7, 5)}, "hidden, weight: got shapes"),
        ({"bias": torch.ones(6)}, "bias: got shape"),
    ],
)
def test_the_op_itself_refuses_what_the_function_does_and_counts_that_cannot_be(
    changed: dict[str, Any], message: str
) -> None:
    given = {
        "hidden": torch.ones(6, 4), "weight": torch.ones(7, 4), "bias": None, "targets": torch.zeros(6).long(),
        "ignore_index": -100, "label_smoothing": 0.0, "mean": True, "chunk_rows": 0, "wanted": [True, True, False],
    }  # fmt: skip
    torch.ops.jenga.linear_cross_entropy(*given.values())
    with pytest.raises(ValueError, match=message):
        torch.ops.jenga.linear_cross_entropy(*(given | changed).values())


def test_labels_in_the_memory_of_the_logits_are_refused() -> None:
    # They would be read again after the slope was written over them, and be the place where the next is written.
    logits = torch.zeros(4, 2)
    targets = logits.view(-1).view(torch.int64)
    with pytest.raises(ValueError, match="logits: shares memory with targets"):
        torch.ops.jenga.vocabulary_cross_entropy_(logits, targets, -100, 0.0, 1.0, True)
    apart = torch.zeros(12)
    losses = torch.ops.jenga.vocabulary_cross_entropy_(
        apart[:8].view(4, 2), apart[8:].view(torch.int64).repeat(2), -100, 0.0, 1.0, True
    )
    assert losses.shape == (4,)
