"""Layers, updates and inputs for the tests of `lora_linear`, and how a case of them is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import seeds
import torch
import torch.nn.functional as F
from torch import Tensor

from jenga.kernels import Update, lora_linear_updates
from jenga.kernels.lora_linear import keep_mask, lora_linear_reference
from jenga.kernels.lora_linear.reference import dropout_threshold

Layers = Callable[..., list[Tensor]]
"""`lora_linear_updates`, or something with its arguments."""


class Outcome(NamedTuple):
    """Outputs, and by name the gradients of the leaves that want one."""

    outputs: list[Tensor]
    gradients: dict[str, Tensor]


@dataclass
class Case:
    """What one call of `lora_linear_updates` takes.

    Attributes:
        wanted: names of leaves that get a gradient ("x", "weight 0", "bias 1", "a 0", "b 0"); None: x and adapters.
        functions: indices of weights that are handed over as functions.
    """

    x: Tensor
    weights: list[Tensor]
    biases: list[Tensor | None]
    updates: list[Update]
    rows: Tensor | None = None
    dropout: float = 0.0
    seed: int = 17
    wanted: set[str] | None = None
    functions: set[int] = field(default_factory=set)

    def leaves(self) -> dict[str, Tensor]:
        return {
            "x": self.x,
            **{f"weight {i}": weight for i, weight in enumerate(self.weights)},
            **{f"bias {i}": bias for i, bias in enumerate(self.biases) if bias is not None},
            **{f"a {i}": update.lora_a for i, update in enumerate(self.updates)},
            **{f"b {i}": update.lora_b for i, update in enumerate(self.updates)},
        }

    def mapped(self, function: Callable[[str, Tensor], Tensor]) -> Case:
        """The same case with other leaves, which `function` makes of their names and tensors."""
        leaf = {name: function(name, tensor) for name, tensor in self.leaves().items()}
        return dataclasses.replace(
            self,
            x=leaf["x"],
            weights=[leaf[f"weight {i}"] for i in range(len(self.weights))],
            biases=[leaf.get(f"bias {i}") for i in range(len(self.biases))],
            updates=[
                dataclasses.replace(update, lora_a=leaf[f"a {i}"], lora_b=leaf[f"b {i}"])
                for i, update in enumerate(self.updates)
            ],
        )

    def to(self, dtype: torch.dtype, adapters: torch.dtype | None = None) -> Case:
        """Cast all leaves, or those of the updates to a dtype of their own."""
        return self.mapped(lambda name, leaf: leaf.to(adapters if adapters and name[:2] in ("a ", "b ") else dtype))

    def learning(self) -> Case:
        """Leaves of its own that require a gradient where one is wanted; layouts stay."""
        wanted = (
            {name for name in self.leaves() if name[:2] in ("x", "a ", "b ")} if self.wanted is None else self.wanted
        )
        return self.mapped(lambda name, leaf: leaf.detach().requires_grad_(name in wanted))

    def call(self, layers: Layers = lora_linear_updates) -> list[Tensor]:
        weights = [
            (lambda weight=weight: weight) if i in self.functions and layers is lora_linear_updates else weight
            for i, weight in enumerate(self.weights)
        ]
        return layers(
            self.x, weights, self.biases, self.updates, rows=self.rows, dropout=self.dropout, seed=self.seed
        )  # fmt: skip

    def upstream(self) -> list[Tensor]:
        """The gradients of the outputs, which every implementation and precision gets alike."""
        generator = seeds.generator(5)
        shapes = [(*self.x.shape[:-1], weight.shape[0]) for weight in self.weights]
        return [torch.randn(shape, generator=generator, dtype=torch.float64).to(self.x.dtype) for shape in shapes]

    def run(self, layers: Layers = lora_linear_updates, dtype: torch.dtype | None = None) -> Outcome:
        """Forward and backward; dtype: what all leaves are cast to first."""
        return self._run(layers, dtype, self.upstream())

    def truth(self) -> Outcome:
        return self.run(reference, torch.float64)

    def bounds(self) -> Outcome:
        """In place of each result the sum of its terms' sizes: signs are all that keeps it from that, in any leaf."""
        sizes = self.mapped(lambda _, leaf: leaf.abs())
        sizes.updates = [dataclasses.replace(update, scale=abs(update.scale)) for update in sizes.updates]
        return sizes._run(reference, torch.float64, [each.abs() for each in self.upstream()])

    def _run(self, layers: Layers, dtype: torch.dtype | None, upstream: Sequence[Tensor]) -> Outcome:
        case = (self.to(dtype) if dtype else self).learning()
        outputs = case.call(layers)
        leaves = {name: leaf for name, leaf in case.leaves().items() if leaf.requires_grad}
        if not any(output.requires_grad for output in outputs):
            return Outcome(outputs, {name: torch.zeros_like(leaf) for name, leaf in leaves.items()})
        pairs = [(output, given.to(output.dtype)) for output, given in zip(outputs, upstream, strict=True)]
        differentiable, grads = zip(*(pair for pair in pairs if pair[0].requires_grad), strict=True)
        found = torch.autograd.grad(
            differentiable, list(leaves.values()), grads, allow_unused=True, materialize_grads=True
        )  # fmt: skip
        return Outcome([output.detach() for output in outputs], dict(zip(leaves, found, strict=True)))

    def op_arguments(self) -> tuple[Any, ...]:
        """What the dispatcher's op takes."""
        biased = [i for i, bias in enumerate(self.biases) if bias is not None]
        updates = self.updates
        return (
            self.x.reshape(-1, self.x.shape[-1]), self.weights, [self.biases[i] for i in biased], biased,
            [each.lora_a for each in updates], [each.lora_b for each in updates], [each.scale for each in updates],
            [each.projection for each in updates], [each.adapter for each in updates],
            None if self.rows is None else self.rows.reshape(-1), self.dropout,
            torch.tensor(self.seed) if self.dropout else None,
        )  # fmt: skip


def reference(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], updates: Sequence[Update],
    *, rows: Tensor | None = None, **options: Any,
) -> list[Tensor]:  # fmt: skip
    """`lora_linear_reference` for x of any number of dimensions."""
    rows = None if rows is None else rows.flatten()
    flat_x = x.reshape(x.shape[:-1].numel(), x.shape[-1])
    flat = lora_linear_reference(flat_x, weights, biases, updates, rows=rows, **options)
    return [output.reshape(*x.shape[:-1], output.shape[-1]) for output in flat]


def eager(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], updates: Sequence[Update],
    *, rows: Tensor | None = None, dropout: float = 0.0, seed: int = 0,
) -> list[Tensor]:  # fmt: skip
    """What PEFT's layers compute: x in the adapter's dtype through two layers, added to the base's output."""
    outputs = [F.linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True)]
    mask = None
    if dropout:
        n_rows = x.shape[:-1].numel()
        mask = keep_mask(n_rows, x.shape[-1], dropout=dropout, seed=seed, device=x.device).reshape(x.shape)
    for update in updates:
        given = x.to(update.lora_a.dtype)
        if mask is not None:
            given = given * mask / (1 - dropout_threshold(dropout) / 65536)
        added = F.linear(F.linear(given, update.lora_a), update.lora_b) * update.scale
        if rows is not None:
            added = added * (rows == update.adapter)[..., None]
        outputs[update.projection] = outputs[update.projection] + added
    return [output.to(x.dtype) for output in outputs]


def _make_case(
    *leading: int, n_inputs: int = 19, n_outputs: Sequence[int] = (11,), ranks: Sequence[int] = (4,),
    projections: Sequence[int] | None = None, adapters: Sequence[int] | None = None, bias: bool = True,
    routed: bool = False, dtype: torch.dtype = torch.float32, seed: int = 0, **options: Any,
) -> Case:  # fmt: skip
    generator = seeds.generator(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    projections = [i % len(n_outputs) for i in range(len(ranks))] if projections is None else projections
    adapters = [0] * len(ranks) if adapters is None else adapters
    case = Case(
        randn(*leading, n_inputs),
        [randn(width, n_inputs) / max(1, n_inputs) ** 0.5 for width in n_outputs],
        [randn(width) if bias else None for width in n_outputs],
        [
            Update(
                randn(rank, n_inputs) / max(1, n_inputs) ** 0.5, randn(n_outputs[projection], rank) / rank**0.5,
                [0.5, -2.0, 1.25][place % 3], projection, adapter,
            )
            for place, (rank, projection, adapter) in enumerate(zip(ranks, projections, adapters, strict=True))
        ],
        **options,
    )  # fmt: skip
    if routed:
        known = torch.tensor([*sorted(set(adapters)), -1])
        case.rows = known[torch.randint(0, len(known), leading, generator=generator)]
    return case.to(dtype)


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    """Return a function that makes a case of random numbers.

    Arguments: leading dimensions of x; n_inputs; n_outputs of each layer; rank, projection and adapter of each update;
    bias; routed, whether each row has an adapter (or, some, none); dtype; seed; and what `Case` has besides.
    """
    return _make_case


@pytest.fixture(scope="session")
def eager_layers() -> Layers:
    """What PEFT's layers compute, with the dropout of `keep_mask`."""
    return eager


@pytest.fixture(scope="session")
def reference_layers() -> Layers:
    return reference
