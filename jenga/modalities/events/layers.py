"""What networks over features are made of: how numbers are shown to them, and layers of one or of several members."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from jenga.dropout import Dropout

if TYPE_CHECKING:
    from jenga.modalities.events.backbone import SequentialConfig

Activation = Literal["relu", "gelu", "silu", "tanh"]
Normalization = Literal["none", "layer", "batch"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}

SHARED_VALUES = 4
"""Values of a feature that may end an interval because rows share them, for each of its `bins`."""


class Pieces(NamedTuple):
    """Intervals of features: `feature` int64 ``(P,)`` where each belongs, `low` and `width` float32 ``(P,)``."""

    feature: torch.Tensor
    low: torch.Tensor
    width: torch.Tensor

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what `save` wrote."""
        return cls(**load_file(path))

    def save(self, path: Path) -> None:
        """Write the intervals as safetensors."""
        save_file(self._asdict(), path)

    @classmethod
    def of(cls, features: NDArray[np.float32], bins: int, *, shared_by: int | None = None) -> Self:
        """Return the intervals of the features ``(M, F)`` of training rows: of each, up to `bins` between quantiles.

        Half of the quantiles are those of the rows, half those of the distinct values: of a feature that is nearly
        always 0, such as a number of bytes or of failures, the rows' own quantiles would tell all the rest as one.
        With `shared_by`, each value that this many rows or more have ends an interval too, and so does the value that
        follows it, the most frequent first, of up to `SHARED_VALUES` times `bins`: a sum that comes again and again may
        mean what the next one does not. A feature of one or two values, such as a flag, has no intervals: it says all
        as a number.
        """
        found: list[tuple[int, float, float]] = []
        at = np.linspace(0, 1, max(1, bins // 2) + 1)
        for place, values in enumerate(features.T):
            distinct, counts = np.unique(values, return_counts=True)
            edges = [np.quantile(each, at, method="nearest") for each in (values, distinct)]
            if shared_by is not None:
                most = np.argsort(-counts, kind="stable")[: SHARED_VALUES * bins]
                shared = most[counts[most] >= shared_by]
                edges.append(distinct[np.minimum(np.concatenate([shared, shared + 1]), len(distinct) - 1)])
            unique = np.unique(np.concatenate(edges))
            if len(unique) <= 2:
                continue
            found += [(place, float(low), float(high - low)) for low, high in itertools.pairwise(unique)]
        return cls(
            torch.tensor([piece[0] for piece in found], dtype=torch.int64),
            torch.tensor([piece[1] for piece in found], dtype=torch.float32),
            torch.tensor([piece[2] for piece in found], dtype=torch.float32),
        )


class PiecewiseLinear(nn.Module):
    """How far a feature is through each of its intervals: 0 before it, 1 behind it (Gorishniy et al. 2022, eq. 1).

    A network reads from it what trees do, thresholds of single features; and no value is further away than the
    farthest that training has seen.
    """

    feature: torch.Tensor
    low: torch.Tensor
    width: torch.Tensor

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        for name, values in pieces._asdict().items():
            self.register_buffer(name, values)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return ``(B, P)`` of ``(B, F)``."""
        return ((features[:, self.feature] - self.low) / self.width).clamp(0, 1)


class SmoothClip(nn.Module):
    """``x / sqrt(1 + (x / c)^2)``: a number far off says little more than one that is `c` off.

    As RealMLP has it (Holzmueller et al. 2024, section 3), with c = 3 for numbers scaled by their quartiles.
    """

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return numbers within +-c."""
        return features * (1 + (features / self.limit).square()).rsqrt()


class SignedLog(nn.Module):
    """``sign(x) log(1 + s |x|)``: what matters is by how many times a number is greater, not by how much."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return numbers that grow like the logarithm of `features`, and near 0 like `features` times s."""
        return features.sign() * (self.scale * features.abs()).log1p()


class Layer(nn.Module):
    """Linear, normalisation, activation and dropout, of one network or of several members ``(B, k, .)``.

    Members share the linear layer. Each has its own scale of every input and output, and its own bias: member i is
    ``((x * r_i) W) * s_i + b_i`` (BatchEnsemble, Wen et al. 2020; as TabM has it, Gorishniy et al. 2024, section 3.3).
    In the `first` layer r starts as random signs, which is what makes members differ; all other scales start at 1.
    """

    scale_in: nn.Parameter | None
    scale_out: nn.Parameter | None
    shift: nn.Parameter | None

    def __init__(self, before: int, after: int, config: SequentialConfig, *, first: bool) -> None:
        super().__init__()
        members = config.members or 1
        several = members > 1
        self.linear = nn.Linear(before, after, bias=not several)
        self.norm: nn.Module = nn.Identity()
        if config.normalization != "none":
            self.norm = nn.LayerNorm(after) if config.normalization == "layer" else _BatchNorm(after)
        self.activation = _ACTIVATIONS[config.activation]()
        self.dropout = Dropout(config.dropout)
        self.shortcut: nn.Module | None = None
        if config.residual:
            self.shortcut = nn.Identity() if before == after else nn.Linear(before, after, bias=False)
        for name in ("scale_in", "scale_out", "shift"):
            self.register_parameter(name, None)
        if several:
            bound = before**-0.5
            signs = torch.randint(0, 2, (members, before)).float() * 2 - 1
            self.scale_in = nn.Parameter(signs if first else torch.ones(members, before))
            self.scale_out = nn.Parameter(torch.ones(members, after))
            self.shift = nn.Parameter(torch.empty(members, after).uniform_(-bound, bound))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``(..., after)`` of ``(..., before)``."""
        if self.scale_in is None or self.scale_out is None or self.shift is None:
            found = self.linear(hidden)
        else:
            found = self.linear(hidden * self.scale_in) * self.scale_out + self.shift
        # In two dimensions: what joins norms over processes stands in place of their forward and takes (B, C, ...).
        normed = self.norm(found) if found.ndim == 2 else self.norm(found.flatten(0, -2)).view_as(found)
        made: torch.Tensor = self.dropout(self.activation(normed))
        return made if self.shortcut is None else made + self.shortcut(hidden)


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalisation, of all members as rows, that takes the running statistics where there is one row."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.training or len(hidden) > 1:
            return super().forward(hidden)
        return nn.functional.batch_norm(
            hidden, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
