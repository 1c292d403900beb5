"""Settings of models of pictures."""

import pytest
from pydantic import ValidationError

from jenga.modalities.vision.settings import VisionConfig


def test_pictures_are_changed_only_where_that_is_asked_for() -> None:
    assert VisionConfig(base_model="x").augment is None
    assert VisionConfig.model_validate({"base_model": "x", "augment": {}}).augment is not None
    with pytest.raises(ValidationError, match="image_size"):
        VisionConfig(base_model="x", image_size=5000)
