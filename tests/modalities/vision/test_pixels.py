"""How a checkpoint reads pictures: by what it says, and what is said and not done here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.errors import ConfigError, SetupError
from jenga.modalities.media import Media
from jenga.modalities.vision.pixels import FILE, MEAN, STD, Pixels

GREY = Media("x", values=np.full((4, 4, 3), 51, np.uint8))  # a fifth of white


def published(folder: Path, **said: Any) -> Pixels:
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 4, **said}))
    return Pixels.of_checkpoint(str(folder), 224)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ({"image_mean": [0.1] * 3, "image_std": [0.5] * 3}, 0.2),
        ({"image_mean": [0.1] * 3, "image_std": [0.5] * 3, "do_normalize": False}, 0.2),
        ({"do_normalize": False, "do_rescale": False}, 51.0),
        ({"image_mean": [50.0] * 3, "image_std": [2.0] * 3, "do_rescale": False}, 0.5),
        ({"image_mean": [0.4] * 3, "image_std": [1.0] * 3, "rescale_factor": 1 / 127.5}, 0.0),
    ],
)
def test_pixels_are_what_the_checkpoint_says(tmp_path: Path, said: dict[str, Any], value: float) -> None:
    pixels = published(tmp_path, **said).of(GREY)
    assert pixels.shape == (3, 4, 4)
    np.testing.assert_allclose(pixels.numpy(), value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [4, [4, 4], {"height": 4, "width": 4}, {"shortest_edge": 4}])
def test_a_size_may_be_written_in_each_way(tmp_path: Path, size: Any) -> None:
    assert published(tmp_path, size=size) == Pixels(4, MEAN, STD)
    assert published(tmp_path, size=9, crop_size=size) == Pixels(4, MEAN, STD)


@pytest.mark.parametrize("key", ["do_flip_channel_order", "rescale_offset"])
def test_what_is_not_done_here_is_refused_by_name(tmp_path: Path, key: str) -> None:
    assert published(tmp_path, **{key: False}).size == 4
    with pytest.raises(ConfigError, match=f"reads pictures with {key}, which is not done here"):
        published(tmp_path, **{key: True})


def test_a_checkpoint_that_says_nothing_reads_as_most_do_and_a_harmed_one_is_told(tmp_path: Path) -> None:
    assert Pixels.of_checkpoint(str(tmp_path), 224) == Pixels(224, MEAN, STD)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(SetupError, match=r"model\.base_model: cannot load .*preprocessor_config\.json is no JSON"):
        Pixels.of_checkpoint(str(tmp_path), 224)


def test_a_run_to_go_on_from_says_itself_how_it_reads_pictures(tmp_path: Path) -> None:
    published(tmp_path, size=8)
    own = Pixels(4, (0.5, 0.25, 0.0), (0.5, 0.5, 1.0), "pad")
    own.write(tmp_path)
    assert Pixels.of_checkpoint(str(tmp_path), 224) == own
    (tmp_path / FILE).write_text('{"size": "wide"}')
    with pytest.raises(SetupError, match="restore the folder"):
        Pixels.read(tmp_path)
