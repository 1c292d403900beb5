"""Deep momentum: a small network remembers the gradients."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch

from jenga.optimizers.one_by_one import OneByOne
from jenga.optimizers.orthogonal import adamw_scale, as_matrix, newton_schulz
from jenga.optimizers.registries import OPTIMIZER_REGISTRY


@OPTIMIZER_REGISTRY.register("deep_momentum")
class DeepMomentum(OneByOne):
    """Deep Momentum Gradient Descent (Behrouz et al. 2025, "Nested Learning", arXiv 2512.24695).

    Section 4.4, equation 50 (23 of the paper at NeurIPS): ``W <- W + m(u)`` and ``m <- a m - rate grad L2(m; u, I)``
    for gradients u of W ``(n, d)``, and equation 52 (24) with an output that is not linear. The memory m is the paper's
    MLP with a residual connection, of one hidden layer, and L2 its similarity by dot product: of what m says of row j
    of u with row j of I::

        m(x) = M x + A tanh(B x)              M (n, d), A (n, `hidden`), B (`hidden`, d);  L2 = trace m(u^T)
        M <- a M - rate u                     A <- a A - rate tanh(u B^T)
        B <- B0 + a (B - B0) - rate (A^T * (1 - tanh(B u^T)^2)) u             W <- W + lr output(M + A tanh(B))

    Where the paper leaves it open: what is added to W is the memory read at the identity, since m(u^T) is ``(n, n)``;
    so it is in the paper's own special cases, both of which are here. Without a hidden layer this is equation 33,
    momentum, and with ``output: newton_schulz`` Muon (without Nesterov's step), at AdamW's size. A is 0 at first, and
    B0 is drawn, as of an MLP of zeros there is no gradient; what `momentum` a lets go of is what was learnt since. The
    schedule moves the rate of W alone, `memory_rate` stays.

    Beside the paper there is decoupled decay, ``W <- W (1 - lr weight_decay)``, and what is no matrix: a vector is one
    column, and other tensors are the first dimension by all others. With a linear output rates are those of SGD.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        hidden: int = 32,
        memory_rate: float = 1.0,
        output: Literal["linear", "newton_schulz"] = "linear",
        ns_steps: int = 5,
    ) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum: got {momentum}; allowed: 0 to 1")
        if memory_rate <= 0:
            raise ValueError(f"memory_rate: got {memory_rate}; allowed: above 0")
        for name, least, value in (("hidden", 0, hidden), ("ns_steps", 1, ns_steps)):
            if value < least:
                raise ValueError(f"{name}: got {value}; allowed: {least} or more")
        super().__init__(
            params,
            {
                "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "hidden": hidden,
                "memory_rate": memory_rate, "output": output, "ns_steps": ns_steps,
            },
        )  # fmt: skip

    def change(self, p: torch.nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        """Take the step of one parameter."""
        u = as_matrix(gradient).to(torch.promote_types(p.dtype, torch.float32))
        state = self.state[p]
        if not state:
            state |= _memory(u, group["hidden"])
        _learn(state, u, group["momentum"], group["memory_rate"])
        said = state["skip"] + state["out"] @ torch.tanh(state["hidden"]) if "hidden" in state else state["skip"]
        if group["output"] == "newton_schulz":
            said = newton_schulz(said, group["ns_steps"]) * adamw_scale(said)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(said.reshape(p.shape), alpha=group["lr"])


def _memory(u: torch.Tensor, hidden: int) -> dict[str, torch.Tensor]:
    """Return M, and with `hidden` units A, B and B0, before the first gradient."""
    memory = {"skip": torch.zeros_like(u)}
    if hidden:
        # A generator of its own: what else a run draws must not depend on its optimizer.
        drawn = torch.randn(hidden, u.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        start = (drawn / math.sqrt(hidden)).to(u)
        memory |= {"out": u.new_zeros(len(u), hidden), "hidden": start.clone(), "start": start}
    return memory


def _learn(memory: dict[str, torch.Tensor], u: torch.Tensor, momentum: float, rate: float) -> None:
    """Take a step of the memory by a gradient u ``(n, d)``."""
    memory["skip"].mul_(momentum).sub_(u, alpha=rate)
    if "hidden" not in memory:
        return
    out, hidden, start = memory["out"], memory["hidden"], memory["start"]
    active = torch.tanh(u @ hidden.T)  # (n, hidden)
    slope = (out * (1 - active.square())).T @ u  # before `out` moves: both are of the memory that was
    out.mul_(momentum).sub_(active, alpha=rate)
    hidden.sub_(start).mul_(momentum).add_(start).sub_(slope, alpha=rate)
