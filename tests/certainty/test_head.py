"""What was fitted to a head changes its logits, or leaves them as they are."""

from __future__ import annotations

from typing import Any

import torch

from jenga.certainty.calibration import Calibration
from jenga.certainty.head import Certainty


def test_without_a_calibration_logits_are_left_bit_by_bit() -> None:
    rows = [torch.tensor([1.0, 2.0])]
    assert Certainty().calibrated(rows) is rows


def test_logits_are_calibrated_whether_they_stand_together_or_apart() -> None:
    own = Certainty(Calibration("temperature", independent=False, scale=[0.5]))
    together = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    expected = together.double() / 2
    given: list[Any] = [together, list(together)]
    for rows in given:
        assert torch.equal(torch.stack(list(own.calibrated(rows))), expected)
