"""What was fitted to the validation rows of one head, and travels with its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from jenga.certainty.calibration import Calibration
from jenga.certainty.conformal import Conformal
from jenga.certainty.scope import Scope


@dataclass(frozen=True)
class Certainty:
    """How the logits of a head become probabilities to rely on, and how large its sets or intervals are; None: not.

    `scope`: which rows are none of what it has learnt. `objective`: what its task decided the threshold of alerts for;
    None where it did not.
    """

    calibration: Calibration | None = None
    conformal: Conformal | None = None
    objective: str | None = None
    scope: Scope | None = None

    def calibrated(self, rows: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Return the calibrated logits of rows, ``(M, K)`` or one ``(W, K)`` each."""
        return rows if self.calibration is None else self.calibration.apply_rows(rows)
