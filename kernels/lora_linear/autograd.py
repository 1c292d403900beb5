"""`lora_linear` as torch records it: one call of the op, and what its backward keeps and gives."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..once import differentiable_once
from .parts import FrozenWeight


class Plan(NamedTuple):
    """What a call is besides its tensors; `frozen` gives the weights that are no tensors."""

    biased: list[int]
    scales: list[float]
    projections: list[int]
    adapters: list[int]
    dropout: float
    frozen: list[FrozenWeight | None]
    n_updates: int

    def split(self, tensors: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Weights, biases, lora_as and lora_bs."""
        n_weights, n_biases = len(self.frozen), len(self.biased)
        rest = n_weights + n_biases
        return (
            tensors[:n_weights],
            tensors[n_weights:rest],
            tensors[rest : rest + self.n_updates],
            tensors[rest + self.n_updates :],
        )

    def dense(self, weights: Sequence[Tensor | None]) -> Sequence[Tensor]:
        """The weights, those that are no tensors made now."""
        if all(function is None for function in self.frozen):
            return weights  # type: ignore[return-value]
        made = zip(weights, self.frozen, strict=True)
        return [weight if function is None else function() for weight, function in made]  # type: ignore[misc]


def run(
    plan: Plan, rows: Tensor | None, seed: Tensor | None, x: Tensor, tensors: Sequence[Tensor | None]
) -> tuple[list[Tensor], Tensor]:
    """The op's outputs and projected inputs. tensors: weights (None where a function gives one), biases, As and Bs."""
    weights, biases, lora_as, lora_bs = plan.split(tensors)
    outputs, projected = torch.ops.jenga.lora_linear.default(
        x, plan.dense(weights), biases, plan.biased, lora_as, lora_bs, plan.scales, plan.projections, plan.adapters,
        rows, plan.dropout, seed,
    )  # fmt: skip
    return outputs, projected


class LoraLinear(torch.autograd.Function):
    """The op with gradients of x and of every tensor; its arguments are those of `run`, the tensors one by one."""

    # Not with a setup_context of its own: torch then binds the arguments by inspection, at 20 to 60 us a call.
    @staticmethod
    def forward(
        ctx: Any, plan: Plan, rows: Tensor | None, seed: Tensor | None, x: Tensor, *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        outputs, projected = run(plan, rows, seed, x, tensors)
        n_biases = len(plan.biased)
        n_weights = len(plan.frozen)
        ctx.plan = plan
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(rows, seed, x, projected, *tensors[:n_weights], *tensors[n_weights + n_biases :])
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *found: Tensor | None) -> tuple[Tensor | None, ...]:
        plan, wanted = ctx.plan, ctx.needs_input_grad
        rows, seed, x, projected, *tensors = ctx.saved_tensors
        n_weights = len(plan.frozen)
        n_parts = plan.n_updates
        weights, adapters = tensors[:n_weights], tensors[n_weights:]
        lora_as, lora_bs = adapters[:n_parts], adapters[n_parts:]
        wants_weights, wants_biases, wants_as, wants_bs = plan.split(wanted[4:])
        dense = plan.dense(weights)
        # What a layer whose output nobody used gets is no gradient, as if it had not been called, and not zeros.
        used = [grad is not None for grad in found]
        grads = [x.new_zeros(len(x), len(w)) if grad is None else grad for grad, w in zip(found, dense, strict=True)]
        dx, das, dbs = torch.ops.jenga.lora_linear_backward.default(
            grads, x, projected, dense, lora_as, lora_bs, plan.scales, plan.projections, plan.adapters,
            rows, plan.dropout, seed, wanted[3], any(wants_as), any(wants_bs),
        )  # fmt: skip
        gradients = (
            dx if wanted[3] else None,
            *(grads[i].t() @ x if want and used[i] else None for i, want in enumerate(wants_weights)),
            *(grads[i].sum(0) if want and used[i] else None for i, want in zip(plan.biased, wants_biases, strict=True)),
            *(each if used[i] else None for each, i in zip(das or [None] * n_parts, plan.projections, strict=True)),
            *(each if used[i] else None for each, i in zip(dbs or [None] * n_parts, plan.projections, strict=True)),
        )
        if torch.is_grad_enabled():
            gradients = differentiable_once("lora_linear", gradients, (*grads, x, *weights, *lora_as, *lora_bs))
        return None, None, None, *gradients
