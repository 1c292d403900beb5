"""What an unsupervised anomaly task takes for a row's distance from normal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from jenga.errors import ConfigError
from jenga.types import BackboneOutput

PROJECTION = 32
SHRINKAGE = 1e-3
LEAST_SPREAD = 1e-3
_LEAST_CENTRE = 0.1


class Moments:
    """Number, mean and, where asked for, covariance of rows that come in batches, in float64 on the CPU."""

    def __init__(self, *, covariance: bool = False) -> None:
        self.n = 0
        self._sum: torch.Tensor | float = 0.0
        self._outer: torch.Tensor | float | None = 0.0 if covariance else None

    def add(self, rows: torch.Tensor) -> None:
        """Add ``(M, D)``."""
        rows = rows.detach().cpu().double()
        self.n += len(rows)
        self._sum = self._sum + rows.sum(0)
        if self._outer is not None:
            self._outer = self._outer + rows.T @ rows

    @property
    def mean(self) -> torch.Tensor:
        """``(D,)``."""
        return torch.as_tensor(self._sum / self.n)

    @property
    def covariance(self) -> torch.Tensor:
        """``(D, D)``, the population's."""
        assert self._outer is not None
        return torch.as_tensor(self._outer / self.n) - torch.outer(self.mean, self.mean)


class Detector(nn.Module):
    """The one head of an unsupervised task; its logit ``(B, 1)`` is the error of a row, 0 or more.

    `where` names the task in messages.
    """

    def __init__(self, head: str, where: str) -> None:
        super().__init__()
        self.sizes = {head: 1}
        self.where = where

    def attach(self, n_features: int | None) -> None:
        """Make what depends on the number of features that the encoder reads."""

    def loss(self, encoded: BackboneOutput, hidden: torch.Tensor) -> torch.Tensor:
        """Return each row's loss ``(B,)``; hidden: what the head reads of `encoded`, ``(B, H)``."""
        raise NotImplementedError

    def error(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return each row's error ``(B,)``, float32."""
        raise NotImplementedError

    def forward(self, encoded: BackboneOutput) -> dict[str, torch.Tensor]:
        """Return the head's logit ``(B, 1)``."""
        return {next(iter(self.sizes)): self.error(encoded).unsqueeze(1)}


class Reconstruction(Detector):
    """Decodes hidden states back to the features, through a bottleneck and hidden layers where there are any.

    Trained by the mean squared (or Huber) error of a row's features. With the dropout on the hidden states a linear
    decoder is enough, and on NSL-KDD the steadiest choice; a deep one without a bottleneck reconstructs attacks too.
    """

    def __init__(
        self, head: str, where: str, *, hidden_size: int, bottleneck: int | None, widths: Sequence[int], loss: str
    ) -> None:
        super().__init__(head, where)
        self.hidden_size, self.bottleneck, self.widths = hidden_size, bottleneck, list(widths)
        self.loss_kind = loss
        self.decoder = nn.Sequential()

    def attach(self, n_features: int | None) -> None:
        """Make the decoder. Raises ConfigError where the encoder reads no features."""
        if n_features is None:
            raise ConfigError(
                f"{self.where}: there are no features to reconstruct: the encoder reads none. Set "
                "model.backbone_type: sequential, or method: deep_svdd, which needs none"
            )
        layers: list[nn.Module] = []
        width = self.hidden_size
        if self.bottleneck:
            layers.append(nn.Linear(width, self.bottleneck))
            width = self.bottleneck
        for each in self.widths:
            layers += [nn.Linear(width, each), nn.ReLU()]
            width = each
        self.decoder = nn.Sequential(*layers, nn.Linear(width, n_features))

    def residual(self, encoded: BackboneOutput, hidden: torch.Tensor) -> torch.Tensor:
        """Return what the decoder misses of the features, ``(B, F)`` float32."""
        if encoded.features is None:
            raise TypeError(f"{self.where}: the backbone reads features, but does not hand them on in its output")
        residual: torch.Tensor = self.decoder(hidden).float() - encoded.features.float()
        return residual

    def loss(self, encoded: BackboneOutput, hidden: torch.Tensor) -> torch.Tensor:
        """Return the mean over features of the squared or Huber error, ``(B,)``."""
        residual = self.residual(encoded, hidden)
        kind = F.huber_loss if self.loss_kind == "huber" else F.mse_loss
        return kind(residual, torch.zeros_like(residual), reduction="none").mean(1)


class Autoencoder(Reconstruction):
    """The error is the mean over features of the squared difference from the reconstruction, each in its own units.

    The unit of a feature is its mean squared difference over the normal training rows, plus 0.001: a feature that is
    always reconstructed well says more when it is not. On NSL-KDD this ranks better than plain squares do.
    """

    spread: torch.Tensor

    def attach(self, n_features: int | None) -> None:
        """Make the decoder, and room for the features' units."""
        super().attach(n_features)
        assert n_features is not None
        self.register_buffer("spread", torch.ones(n_features))

    def squares(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return the squared difference of each feature ``(B, F)``."""
        return self.residual(encoded, encoded.pooler_output).square()

    def fit(self, moments: Moments) -> None:
        """Take over the units from the squared differences of normal rows."""
        self.spread.copy_(moments.mean.float())

    def parts(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return what each feature adds to the error, ``(B, F)``."""
        return self.squares(encoded) / (self.spread + LEAST_SPREAD) / len(self.spread)

    def error(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return ``mean_j (x_j - x'_j)^2 / (s_j + 0.001)``."""
        return self.parts(encoded).sum(1)


class Mahalanobis(Reconstruction):
    """The error is the squared Mahalanobis distance of the hidden state from those of the normal training rows.

    The encoder learns as an autoencoder's, since a distance alone teaches it nothing. The covariance S
    is shrunk to ``(1 - s) S + s mean(diag S) I`` with s = 0.001.
    """

    mean: torch.Tensor
    whitening: torch.Tensor

    def __init__(
        self, head: str, where: str, *, hidden_size: int, bottleneck: int | None, widths: Sequence[int], loss: str
    ) -> None:
        super().__init__(head, where, hidden_size=hidden_size, bottleneck=bottleneck, widths=widths, loss=loss)
        self.register_buffer("mean", torch.zeros(hidden_size))
        self.register_buffer("whitening", torch.eye(hidden_size))

    def fit(self, moments: Moments) -> None:
        """Take over the mean and the covariance of the hidden states of normal rows."""
        covariance = moments.covariance
        spread = covariance.diagonal().mean().clamp_min(1e-12)
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * spread * torch.eye(len(covariance), dtype=torch.float64)
        lower = torch.linalg.cholesky(shrunk)
        self.mean.copy_(moments.mean.float())
        whitening = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=torch.float64), upper=False)
        self.whitening.copy_(whitening.float())

    def error(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return ``(z - m)' S^-1 (z - m)``."""
        return ((encoded.pooler_output.float() - self.mean) @ self.whitening.T).square().sum(1)


class DeepSvdd(Detector):
    """The error is the squared distance from a fixed centre, which training draws the normal rows to.

    One-class deep SVDD (Ruff et al. 2018, equation 4). Against collapse, by their section 3.3: the head has no bias,
    and the centre, the mean of the untrained network's output, is kept away from zero.
    """

    centre: torch.Tensor

    def __init__(self, head: str, where: str, *, hidden_size: int, width: int) -> None:
        super().__init__(head, where)
        self.project = nn.Linear(hidden_size, width, bias=False)
        self.register_buffer("centre", torch.zeros(width))

    def fit(self, moments: Moments) -> None:
        """Take over the centre from the projected normal rows."""
        mean = moments.mean.float()
        sign = torch.where(mean < 0, -1.0, 1.0)
        self.centre.copy_(torch.where(mean.abs() < _LEAST_CENTRE, sign * _LEAST_CENTRE, mean))

    def projected(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return the projected hidden states ``(B, D)``."""
        found: torch.Tensor = self.project(encoded.pooler_output)
        return found

    def loss(self, encoded: BackboneOutput, hidden: torch.Tensor) -> torch.Tensor:
        """Return the squared distance of the projected `hidden` from the centre, ``(B,)``."""
        offset: torch.Tensor = self.project(hidden).float() - self.centre
        return offset.square().sum(1)

    def error(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return ``|P z - c|^2``."""
        return self.loss(encoded, encoded.pooler_output)
