"""What a model said of each training row before it learnt from it, in the first epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

MOST_CELLS = 1 << 26
"""Rows times classes of a head whose probabilities are kept: 256 MiB."""
SLOW = 0.05
"""Growth of the share of labels that were foretold, from one epoch to the next, below which the early phase is over."""
_DROPPED = 2
"""Epochs of the early ones that tell nothing yet, where there are more: the model begins from nothing."""


class EarlyProbabilities:
    """Adds up the softmax of each row's logits of M rows and K classes, as they were before the row's own step.

    A model takes up what most rows agree on first and learns single wrong labels by heart later (Arpit et al. 2017), so
    that these speak against wrong labels, and those of the last epoch do not.
    """

    def __init__(self, rows: int, classes: int) -> None:
        self.sums = torch.zeros(rows, classes)
        self.counts = torch.zeros(rows)
        self.hits: list[float] = []
        self._hit = self._seen = 0

    def add(self, rows: list[int], logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Take in ``logits (B, K)`` of `rows` with their labels ``(B,)``, -100 where missing."""
        logits, labels = logits.detach().float().cpu(), labels.cpu()
        index = torch.tensor(rows)
        self.sums.index_add_(0, index, logits.softmax(-1))
        self.counts.index_add_(0, index, torch.ones(len(rows)))
        known = labels >= 0
        self._hit += int((logits.argmax(-1) == labels)[known].sum())
        self._seen += int(known.sum())

    def end_epoch(self, *, most_epochs: int, given: int | None) -> bool:
        """Close an epoch; return whether the early ones are over now.

        most_epochs: of the run, of which half may be early. given: how many are, where a person says so.
        """
        self.hits.append(self._hit / max(self._seen, 1))
        self._hit = self._seen = 0
        done = len(self.hits)
        if given is not None:
            over = done >= given
        else:
            slow = done > 1 and self.hits[-1] - self.hits[-2] < SLOW and self.hits[-1] > 1.5 / self.sums.shape[1]
            over = slow or done >= max(most_epochs // 2, 1)
        if not over and done <= _DROPPED:
            self.sums.zero_()
            self.counts.zero_()
        return over

    def probabilities(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the mean probabilities ``(M, K)``, each row's sum 1, and which rows ``(M,)`` there are any of."""
        seen = (self.counts > 0).numpy()
        mean = self.sums.double() / self.counts.double().clamp_min(1).unsqueeze(1)
        found = mean.numpy()
        found[~seen] = 1 / found.shape[1]
        return found / found.sum(1, keepdims=True), seen

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "sums": self.sums.clone(), "counts": self.counts.clone(), "hits": list(self.hits), "hit": self._hit,
            "seen": self._seen,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.sums, self.counts = state["sums"].clone(), state["counts"].clone()
        self.hits, self._hit, self._seen = list(state["hits"]), state["hit"], state["seen"]
