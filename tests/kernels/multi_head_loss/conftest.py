"""Heads, inputs and targets for the tests of `multi_head_loss`, and how a case of them is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import seeds
import torch
from torch import Tensor

from jenga.kernels import HeadSpec, MultiHeadLoss
from jenga.kernels.multi_head_loss.spec import IGNORED_LABEL, KINDS, LABEL_KINDS, head_tasks

NAN = float("nan")


class Outcome(NamedTuple):
    """A result, and the gradients of hidden, weight and (where there is one) bias."""

    result: MultiHeadLoss
    gradients: list[Tensor]


@dataclass
class Case:
    """What one call of `multi_head_loss` takes."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: list[Tensor]
    heads: list[HeadSpec]
    rows: Tensor | None = None

    def call(self, function: Callable[..., MultiHeadLoss]) -> MultiHeadLoss:
        return function(self.hidden, self.weight, self.bias, self.targets, heads=self.heads, rows=self.rows)

    def leaves(self) -> list[Tensor]:
        return [self.hidden, self.weight] if self.bias is None else [self.hidden, self.weight, self.bias]

    def upstream(self, dtype: torch.dtype) -> Tensor:
        """The gradient of each loss: different for each head, of both signs."""
        return torch.linspace(-1.0, 2.0, len(self.heads), dtype=dtype, device=self.hidden.device)

    def run(self, function: Callable[..., MultiHeadLoss], dtype: torch.dtype | None = None) -> Outcome:
        """Forward and backward; dtype: what hidden, weight and bias are cast to first."""
        case = dataclasses.replace(self)
        case.hidden = self.hidden.detach().to(dtype or self.hidden.dtype).requires_grad_()
        case.weight = self.weight.detach().to(dtype or self.weight.dtype).requires_grad_()
        case.bias = None if self.bias is None else self.bias.detach().to(dtype or self.bias.dtype).requires_grad_()
        result = case.call(function)
        total = (result.loss_sum * self.upstream(result.loss_sum.dtype)).sum()
        return Outcome(result, list(torch.autograd.grad(total, case.leaves())))

    def to(self, *where: Any) -> Case:
        """The same on another device, or with inputs of another dtype."""
        moved = dataclasses.replace(self, hidden=self.hidden.to(*where), weight=self.weight.to(*where))
        moved.bias = None if self.bias is None else self.bias.to(*where)
        device = moved.hidden.device
        moved.targets = [target.to(device) for target in self.targets]
        moved.rows = None if self.rows is None else self.rows.to(device)
        moved.heads = [
            dataclasses.replace(
                head,
                class_weight=None if head.class_weight is None else head.class_weight.to(device),
                pos_weight=None if head.pos_weight is None else head.pos_weight.to(device),
            )
            for head in self.heads
        ]
        return moved

    def op_arguments(self, logits: Tensor, *, with_slope: bool = True) -> tuple[Any, ...]:
        """What the dispatcher's op takes for ready logits, in the place of hidden, weight and bias."""
        heads = self.heads
        weighted = [place for place, head in enumerate(heads) if head.label_weight is not None]
        return (
            logits, self.targets, [KINDS.index(head.kind) for head in heads], [head.size for head in heads],
            [heads[place].label_weight for place in weighted], weighted, [head.parameter for head in heads],
            self.rows, head_tasks(heads), with_slope,
        )  # fmt: skip

    def random_logits(self, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
        generator = seeds.generator(11)
        shape = (len(self.hidden), sum(head.size for head in self.heads))
        return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def _mixed_heads() -> list[HeadSpec]:
    """Every kind, with and without each option, of sizes 1 to 37."""
    generator = seeds.generator(7)

    def weights(size: int) -> Tensor:
        return torch.rand(size, generator=generator) * 3 + 0.1

    return [
        HeadSpec("ce", 5, class_weight=weights(5), label_smoothing=0.1),
        HeadSpec("bce", 3, pos_weight=weights(3)),
        HeadSpec("mse", 2),
        HeadSpec("ce", 2),
        HeadSpec("focal", 4, class_weight=weights(4), gamma=1.5),
        HeadSpec("bce", 1),
        HeadSpec("ce", 1),
        HeadSpec("soft", 6, class_weight=weights(6), label_smoothing=0.2),
        HeadSpec("ce", 37, label_smoothing=1.0),
        HeadSpec("mse", 1),
        HeadSpec("focal", 2),
        HeadSpec("soft", 3),
        HeadSpec("focal", 9, gamma=0.0),
    ]


def _target(head: HeadSpec, n_rows: int, generator: torch.Generator, dtype: torch.dtype, masked: float) -> Tensor:
    if head.kind in LABEL_KINDS:
        labels = torch.randint(0, head.size, (n_rows,), generator=generator)
        return labels.masked_fill(torch.rand(n_rows, generator=generator) < masked, IGNORED_LABEL)
    values = torch.rand(n_rows, head.size, generator=generator, dtype=dtype)
    if head.kind == "soft":
        values = values / values.sum(dim=1, keepdim=True)
        # One NaN anywhere masks the whole row.
        masked = masked if masked in (0.0, 1.0) else 1 - (1 - masked) ** (1 / head.size)
    return values.masked_fill(torch.rand(n_rows, head.size, generator=generator) < masked, NAN)


@pytest.fixture(scope="session")
def mixed_heads() -> Callable[[], list[HeadSpec]]:
    return _mixed_heads


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    """Return a function that makes a case of random numbers.

    Arguments: n_rows; hidden_size; dtype of hidden, weight, bias and targets; heads, by default of every kind; seed;
    masked, the share of labels that are missing; routed, whether each row belongs to one head (or, some, to none).
    """

    def make(
        n_rows: int, *, hidden_size: int = 19, dtype: torch.dtype = torch.float32,
        heads: Sequence[HeadSpec] | None = None, seed: int | None = None, masked: float = 0.3, routed: bool = False,
    ) -> Case:  # fmt: skip
        chosen = _mixed_heads() if heads is None else list(heads)
        generator = seeds.generator(n_rows if seed is None else seed)
        n_outputs = sum(head.size for head in chosen)
        hidden = torch.randn(n_rows, hidden_size, generator=generator, dtype=torch.float64)
        weight = torch.randn(n_outputs, hidden_size, generator=generator, dtype=torch.float64) / hidden_size**0.5
        bias = torch.randn(n_outputs, generator=generator, dtype=torch.float64)
        # Targets narrower than float32 are read as they are, in half precision as well.
        targets = [_target(head, n_rows, generator, dtype, masked) for head in chosen]
        rows = None
        if routed:
            known = torch.tensor([*head_tasks(chosen), -1])
            rows = known[torch.randint(0, len(known), (n_rows,), generator=generator)]
        return Case(hidden.to(dtype), weight.to(dtype), bias.to(dtype), targets, chosen, rows)

    return make
