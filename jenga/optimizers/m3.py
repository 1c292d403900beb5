"""M3: momentum at two time scales, both orthogonalised."""

from __future__ import annotations

from typing import Any

import torch

from jenga.optimizers.one_by_one import OneByOne
from jenga.optimizers.orthogonal import as_matrix, newton_schulz
from jenga.optimizers.registries import OPTIMIZER_REGISTRY


@OPTIMIZER_REGISTRY.register("m3")
class M3(OneByOne):
    """Multi-scale Momentum Muon (Behrouz, Razaviyayn, Zhong & Mirrokni 2025, "Nested Learning", arXiv 2512.24695).

    Algorithm 1 of section 7.2, for gradients g, and NS for Newton-Schulz in `ns_steps` steps::

        M1 <- r1 M1 + b1 g      V <- r2 V + b2 g^2      W <- W - lr (NS(M1) + alpha O2) / (sqrt(V) + eps)
        every `period` steps, for the next ones:        M2 <- r3 M2 + b3 (sum of g over them)      O2 <- NS(M2)

    `betas` are b1, b2, b3, and `retention` is r1, r2, r3: 1 each in the paper, whose momenta are sums from the first
    step on and forget nothing; its V is that of AdaGrad. For averages give less, such as (0.9, 0.999, 0.9) with betas
    (0.1, 0.001, 0.1), which are Adam's.

    A step is the greater the smaller the gradients are, as a direction without their size is divided by it: rates are
    none of AdamW's. Beside the paper there is decoupled decay, ``W <- W (1 - lr weight_decay)``, and what is no matrix:
    a vector is one column, which NS makes about as long as 1, and other tensors are the first dimension by all others.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9),
        retention: tuple[float, float, float] = (1.0, 1.0, 1.0),
        alpha: float = 1.0,
        eps: float = 1e-8,
        ns_steps: int = 5,
        period: int = 10,
    ) -> None:
        for name, given in (("betas", betas), ("retention", retention)):
            if not all(0 < each <= 1 for each in given):
                raise ValueError(f"{name}: got {list(given)}; allowed: three numbers above 0 and up to 1")
        for name, least, value in (
            ("alpha", 0, alpha),
            ("eps", 0, eps),
            ("ns_steps", 1, ns_steps),
            ("period", 1, period),
        ):
            if value < least:
                raise ValueError(f"{name}: got {value}; allowed: {least} or more")
        super().__init__(
            params,
            {
                "lr": lr, "weight_decay": weight_decay, "betas": list(betas), "retention": list(retention),
                "alpha": alpha, "eps": eps, "ns_steps": ns_steps, "period": period,
            },
        )  # fmt: skip

    def change(self, p: torch.nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        """Take the step of one parameter."""
        state = self.state[p]
        if not state:
            state["step"] = 0
            for name in ("fast", "slow", "chunk", "second", "slow_direction"):
                state[name] = torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32))
        (b1, b2, b3), (r1, r2, r3) = group["betas"], group["retention"]
        gradient = gradient.to(state["fast"].dtype)
        state["fast"].mul_(r1).add_(gradient, alpha=b1)
        state["second"].mul_(r2).addcmul_(gradient, gradient, value=b2)
        state["chunk"].add_(gradient)
        direction = _orthogonal(state["fast"], group["ns_steps"]).add_(state["slow_direction"], alpha=group["alpha"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.sub_(direction.div_(state["second"].sqrt().add_(group["eps"])), alpha=group["lr"])
        state["step"] += 1
        if state["step"] % group["period"] == 0:
            state["slow"].mul_(r3).add_(state["chunk"], alpha=b3)
            state["chunk"].zero_()
            state["slow_direction"].copy_(_orthogonal(state["slow"], group["ns_steps"]))


def _orthogonal(tensor: torch.Tensor, steps: int) -> torch.Tensor:
    return newton_schulz(as_matrix(tensor), steps).reshape(tensor.shape)
