"""Settings of models of sound."""

import pytest
from pydantic import ValidationError

from jenga.modalities.audio.settings import AudioConfig


def test_a_clip_is_not_filled_up_beyond_what_is_read_of_it() -> None:
    with pytest.raises(ValidationError, match=r"min_seconds: 4 is more than max_seconds \(3\)"):
        AudioConfig(base_model="x", max_seconds=3, min_seconds=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"window_stride_seconds": 2}, "there are no windows; give window_seconds"),
     ({"window_seconds": 2, "window_stride_seconds": 3}, r"3 is more than window_seconds \(2\)"),
     ({"window_seconds": 9, "max_seconds": 3}, r"window_seconds: 9 is more than max_seconds \(3\)")],
)  # fmt: skip
def test_windows_that_would_leave_something_unheard_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AudioConfig.model_validate({"base_model": "x", **settings})
