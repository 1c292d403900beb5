"""What tasks share that label moments."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from jenga.errors import ConfigError
from jenga.tasks.frames import check_frames, own_frames
from jenga.types import BackboneOutput


def test_positions_that_are_no_moments_are_refused() -> None:
    config = SimpleNamespace(name="t", type="transcription")
    patches = SimpleNamespace(frame_seconds=None, model_name="ast")
    with pytest.raises(ConfigError, match=r"tasks\[t\].type: 'transcription' labels moments, and the positions of ast"):
        check_frames(config, patches)  # type: ignore[arg-type]
    assert check_frames(config, SimpleNamespace(frame_seconds=0.02)) == 0.02  # type: ignore[arg-type]


def test_logits_outside_of_a_row_are_told_from_its_own() -> None:
    encoded = BackboneOutput(torch.zeros(2, 3, 4), torch.zeros(2, 4), torch.tensor([[1, 1, 1], [1, 0, 0]]))
    found = own_frames(torch.ones(2, 3, 2), encoded)
    assert found.isnan().any(-1).tolist() == [[False, False, False], [False, True, True]]
