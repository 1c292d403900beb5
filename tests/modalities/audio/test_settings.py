"""Settings of models of sound."""

import pytest
from pydantic import ValidationError

from jenga.modalities.audio.settings import AudioConfig


def test_a_clip_is_not_filled_up_beyond_what_is_read_of_it() -> None:
    with pytest.raises(ValidationError, match=r"min_seconds: 4 is more than max_seconds \(3\)"):
        AudioConfig(base_model="x", max_seconds=3, min_seconds=4)
