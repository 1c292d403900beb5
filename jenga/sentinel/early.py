"""What a model said of each training row before it learnt from it, in the first epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

MOST_CELLS = 1 << 26
"""Rows times classes of a head whose probabilities are kept: 256 MiB."""
SLOW = 0.05
"""The early epochs are over where the share of labels that were foretold grows, from one to the next, by less than
this part of its greatest growth: what most rows agree on is learnt then."""
DECAY = 0.5
"""What an epoch's probabilities count beside the next one's: those of a model that has learnt nothing fade."""


class EarlyProbabilities:
    """A moving average, over epochs, of the softmax of each row's logits, M rows and K classes, before the row's step.

    A model takes up what most rows agree on first and learns single wrong labels by heart later (Arpit et al. 2017), so
    that these speak against wrong labels, and those of the last epoch do not.
    """

    def __init__(self, rows: int, classes: int) -> None:
        self.sums = torch.zeros(rows, classes)
        self.weights = torch.zeros(rows)
        self.hits: list[float] = []
        self._hit = self._seen = 0

    def add(self, rows: Sequence[int], logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Take in ``logits (B, K)`` of `rows` with their labels ``(B,)``, -100 where missing."""
        logits, labels = logits.detach().float().cpu(), labels.cpu()
        shares, index = logits.softmax(-1), torch.tensor(rows)
        # A row that comes twice is taken in twice, in its order.
        parts = [slice(None)] if len(set(rows)) == len(rows) else [slice(at, at + 1) for at in range(len(rows))]
        for part in parts:
            at = index[part]
            self.sums[at] = self.sums[at] * DECAY + shares[part]
            self.weights[at] = self.weights[at] * DECAY + 1
        known = labels >= 0
        self._hit += int((logits.argmax(-1) == labels)[known].sum())
        self._seen += int(known.sum())

    def end_epoch(self, *, most_epochs: int, given: int | None) -> bool:
        """Close an epoch; return whether the early ones are over now.

        most_epochs: of the run, or of its stage, of which half may be early. given: how many are, where a person says
        so; all where there are no more.
        """
        self.hits.append(self._hit / max(self._seen, 1))
        self._hit = self._seen = 0
        done = len(self.hits)
        if given is not None:
            return done >= min(given, most_epochs)
        grown = np.diff([1 / self.sums.shape[1], *self.hits])
        return done >= max(most_epochs // 2, 1) or (done > 1 and bool(grown[-1] < SLOW * grown.max()))

    def probabilities(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the mean probabilities ``(M, K)``, each row's sum 1, and which rows ``(M,)`` there are any of."""
        seen = self.weights > 0
        found = self.sums.double().where(seen.unsqueeze(1), torch.ones(()).double())
        return (found / found.sum(1, keepdim=True)).numpy(), seen.numpy()

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "sums": self.sums, "weights": self.weights, "hits": list(self.hits), "hit": self._hit, "seen": self._seen
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.sums, self.weights = state["sums"].clone(), state["weights"].clone()
        self.hits, self._hit, self._seen = list(state["hits"]), state["hit"], state["seen"]
