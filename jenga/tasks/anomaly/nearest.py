"""How far a row is from the nearest of the normal rows that were seen, beside how badly it is reconstructed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from jenga.tasks.anomaly.detectors import PROJECTION, Autoencoder, DeepSvdd, Detector, Mahalanobis
from jenga.types import BackboneOutput

MEMORY = 20_000
BLOCK = 2048
LEAST_DISTANCE = 1e-6
"""Added to a squared distance, so that rows that were seen before still differ by their reconstruction."""


class Kept:
    """At most `most` rows of those that come in batches, evenly spaced in the order in which they come."""

    def __init__(self, most: int) -> None:
        self.most, self.n = most, 0
        self._step = 1
        self._rows: list[torch.Tensor] = []
        self._held = 0

    def add(self, rows: torch.Tensor) -> None:
        """Add ``(M, D)``: every `_step`-th is held; where twice too many are, every other one is let go."""
        first = -self.n % self._step
        self.n += len(rows)
        taken = rows.detach()[first :: self._step].cpu().float()
        self._rows.append(taken)
        self._held += len(taken)
        while self._held >= 2 * self.most:
            self._rows = [torch.cat(self._rows)[::2].clone()]
            self._held, self._step = len(self._rows[0]), 2 * self._step

    @property
    def rows(self) -> torch.Tensor:
        """``(N, D)``, N at most `most`."""
        held = torch.cat(self._rows)
        at = torch.linspace(0, len(held) - 1, min(self.most, len(held)), dtype=torch.float64).round().long()
        return held[at]


class Nearest(Autoencoder):
    """The error is that of the reconstruction times the mean squared distance from the nearest normal training row.

    ``e (mean_j (x_j - m_j)^2 + 0.000001)``, with the autoencoder's error e and m the nearest of the rows in `memory`. A
    distance sees what a network reconstructs too well, and a reconstruction what lies near rare rows: on parts held out
    of NSL-KDD's training file the product ranks better than either (docs/refinery.md). The memory is of training rows:
    where the model goes, they go.
    """

    memory: torch.Tensor

    def __init__(
        self, head: str, where: str, *, hidden_size: int, bottleneck: int | None, widths: Sequence[int], loss: str,
        memory: int,
    ) -> None:  # fmt: skip
        super().__init__(head, where, hidden_size=hidden_size, bottleneck=bottleneck, widths=widths, loss=loss)
        self.most = memory
        self.register_load_state_dict_pre_hook(_make_room)

    def attach(self, n_features: int | None) -> None:
        """Make the decoder and room for the features' units; the memory begins empty."""
        super().attach(n_features)
        assert n_features is not None
        self.register_buffer("memory", torch.zeros(0, n_features))

    def remember(self, kept: Kept) -> None:
        """Take over the rows that a row is compared with."""
        self.memory = kept.rows.to(self.memory.device)

    def parts(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return what each feature adds to the error ``(B, F)``: half by its reconstruction, half by its distance."""
        parts = super().parts(encoded)
        if not len(self.memory):
            return parts
        distances = self._distances(encoded)
        return (parts * distances.sum(1, keepdim=True) + distances * parts.sum(1, keepdim=True)) / 2

    def error(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return the product, ``(B,)``."""
        error = super().parts(encoded).sum(1)
        return error * self._distances(encoded).sum(1) if len(self.memory) else error

    def _distances(self, encoded: BackboneOutput) -> torch.Tensor:
        """Return what each feature adds to the squared distance from the nearest row, ``(B, F)`` float32."""
        assert encoded.features is not None
        features = encoded.features.float()
        # Products of float32 lose what parts two rows where a feature is large. An Apple GPU has no float64.
        exact = features if features.device.type == "mps" else features.double()
        least = nearest = None
        with torch.autocast(features.device.type, enabled=False):
            # Block by block: all at once would take 8 bytes for each row of the memory, of each row.
            for block in self.memory.split(BLOCK):
                wide = block.to(exact.dtype)
                # |m|^2 - 2 m.x ranks as |x - m|^2 does.
                rank, at = (wide.square().sum(1) - 2 * exact @ wide.T).min(1)
                if least is None or nearest is None:
                    least, nearest = rank, block[at]
                else:
                    nearest = torch.where((rank < least).unsqueeze(1), block[at], nearest)
                    least = torch.minimum(rank, least)
        assert nearest is not None
        distances: torch.Tensor = ((features - nearest).square() + LEAST_DISTANCE) / features.shape[1]
        return distances


def _make_room(detector: Nearest, state: dict[str, Any], prefix: str, *_: Any) -> None:
    if (stored := state.get(f"{prefix}memory")) is not None:
        detector.memory = detector.memory.new_zeros(stored.shape)


def make_detector(config: Any, hidden_size: int) -> Detector:
    """Return the detector that the block of an unsupervised task asks for."""
    head, where = config.heads[0].name, f"tasks[{config.name}]"
    method = config.method or "autoencoder"
    if method == "deep_svdd":
        return DeepSvdd(head, where, hidden_size=hidden_size, width=config.projection or PROJECTION)
    given: dict[str, Any] = {
        "hidden_size": hidden_size, "bottleneck": config.bottleneck, "widths": config.decoder or [],
        "loss": config.loss or "mse",
    }  # fmt: skip
    if method == "nearest":
        return Nearest(head, where, **given, memory=config.memory or MEMORY)
    return (Autoencoder if method == "autoencoder" else Mahalanobis)(head, where, **given)
