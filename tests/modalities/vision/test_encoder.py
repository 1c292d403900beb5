"""Pictures as pixels."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from jenga.errors import ConfigError
from jenga.modalities.media import Media
from jenga.modalities.vision.backbone import VisionBackbone
from jenga.modalities.vision.encoder import VisionEncoder
from jenga.modalities.vision.pictures import ImageColumns
from jenga.modalities.vision.pixels import Pixels
from jenga.modalities.vision.settings import AugmentConfig, VisionConfig
from jenga.rows.content import Cells
from jenga.rows.parse import Rows, SourceSpec

SPEC = SourceSpec("s", (), (), (), "id", (), ImageColumns(columns=(("image", ("image",)),)))
PIXELS = Pixels(4, (0.5, 0.25, 0.0), (0.5, 0.5, 1.0))


def rows(*values: np.ndarray) -> Rows:
    media = [Media(str(at), values=each) for at, each in enumerate(values)]
    names = [each.name for each in media]
    return Rows(names, ["f"] * len(names), list(range(len(names))), Cells({"image": media}))


def test_pixels_are_scaled_colour_by_colour() -> None:
    white = np.full((4, 4, 3), 255, np.uint8)
    encoded = VisionEncoder(PIXELS).encode(rows(white, white // 2), SPEC)
    assert encoded.lengths.tolist() == [1, 1]
    pixels = encoded.inputs([1, 0])["pixel_values"]
    assert pixels.shape == (2, 3, 4, 4)
    torch.testing.assert_close(pixels[1, :, 0, 0], torch.tensor([1.0, 1.5, 1.0]))
    torch.testing.assert_close(
        pixels[0, :, 0, 0], (torch.full((3,), 127 / 255) - torch.tensor(PIXELS.mean)) / torch.tensor(PIXELS.std)
    )


def test_what_is_no_picture_is_told_by_row() -> None:
    found = VisionEncoder(PIXELS).unusable(rows(np.zeros((4, 4)), np.zeros((4, 4, 2))), SPEC)
    assert list(found) == [1]
    assert "4 x 4 x 2" in found[1]


def test_how_pixels_are_made_travels_with_the_model(tmp_path: Path) -> None:
    VisionEncoder(PIXELS).save(tmp_path)
    config = None  # nothing of it is read
    assert VisionEncoder.load(tmp_path, config).pixels == PIXELS  # type: ignore[arg-type]


@pytest.mark.parametrize("was_training", [True, False])
def test_a_size_that_the_network_cannot_read_is_refused_before_the_first_step(vit: str, was_training: bool) -> None:
    config = VisionConfig(base_model=vit, image_size=24)
    backbone = VisionBackbone(vit, config).train(was_training)
    given = SimpleNamespace(model=config)
    with pytest.raises(
        ConfigError, match=r"model\.image_size: the model cannot read pictures of 24 x 24 .* size is 16"
    ):
        VisionEncoder(PIXELS).sources([], given, backbone)  # type: ignore[arg-type]
    config = VisionConfig(base_model=vit)
    encoder = VisionEncoder(PIXELS)
    encoder.sources([], SimpleNamespace(model=config), backbone)  # type: ignore[arg-type]
    assert encoder.pixels.size == 16
    assert backbone.network.training is was_training


def test_pictures_are_changed_in_training_alone_and_alike_from_one_seed() -> None:
    made = VisionEncoder(PIXELS)
    given = rows(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    plain = made.encode(given, SPEC)
    inputs = plain.inputs([0])
    assert plain.changed(inputs, torch.Generator())["pixel_values"] is inputs["pixel_values"]
    made.augment = AugmentConfig()
    encoded = made.encode(given, SPEC)
    assert torch.equal(encoded.inputs([0])["pixel_values"], inputs["pixel_values"])
    one, other, third = (
        encoded.changed(inputs, torch.Generator().manual_seed(seed))["pixel_values"] for seed in (0, 0, 1)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    assert not torch.equal(one, inputs["pixel_values"])


def test_a_person_sees_a_picture_small_and_whole() -> None:
    wide = np.zeros((100, 400, 3), np.uint8)
    wide[:, 200:, 0] = 255
    (found,) = VisionEncoder(PIXELS).shown(rows(np.zeros((4, 4, 3), np.uint8), wide).content, 1).pictures
    seen = Image.open(io.BytesIO(found))
    assert seen.size == (160, 40)
    assert seen.getpixel((20, 20)) == (0, 0, 0)
    assert seen.getpixel((140, 20)) == (255, 0, 0)


def test_a_person_is_told_of_a_picture_that_is_gone(tmp_path: Path) -> None:
    content = Cells({"image": [Media("a.png", path=tmp_path / "a.png")]})
    told = VisionEncoder(PIXELS).shown(content, 0)
    assert told.text.startswith("a.png: it cannot be read")
    assert told.pictures == ()
