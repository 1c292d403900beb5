"""Pictures as pixels, decoded when a batch is made of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch

from jenga.ahead import checked
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError
from jenga.modalities.backbone import BaseBackbone
from jenga.modalities.base import Encoder, Facts, Shown
from jenga.modalities.media import Media
from jenga.modalities.vision.augment import augmented
from jenga.modalities.vision.pictures import UnusablePictureError, picture
from jenga.modalities.vision.pixels import Pixels
from jenga.modalities.vision.settings import AugmentConfig
from jenga.rows.batches import Encoded, Source
from jenga.rows.content import Cells, Content
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import Rows, SourceSpec

_THUMBNAIL = 160
"""Pixels of a longer side, as a report shows it."""


class Pictures(Encoded):
    """M pictures that are decoded when they are asked for. `augment`: how training changes them; None: it does not."""

    unit: ClassVar[str] = "pixels a side"

    def __init__(self, media: Sequence[Media], pixels: Pixels, augment: AugmentConfig | None = None) -> None:
        self.media, self.pixels, self.augment = list(media), pixels, augment

    @property
    def lengths(self) -> np.ndarray:
        """All cost the same; int64 (M,)."""
        return np.ones(len(self.media), np.int64)

    def extent(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """Return the pixels of a side."""
        return inputs["pixel_values"].shape[-1]

    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return ``pixel_values (B, 3, S, S)``."""
        return {"pixel_values": torch.stack([self.pixels.of(self.media[row]) for row in index])}

    def changed(self, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return `inputs` with each picture changed a little, where that is set."""
        if self.augment is None:
            return inputs
        return {**inputs, "pixel_values": augmented(inputs["pixel_values"], self.augment, generator)}


class VisionEncoder(Encoder):
    """Pixels by the numbers that a model was trained with."""

    decodes = True

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self.augment: AugmentConfig | None = None

    def save(self, folder: Path) -> None:
        """Write how pictures become numbers beside the weights."""
        self.pixels.write(folder)

    @classmethod
    def load(cls, folder: Path, config: ExperimentConfig) -> Self:
        """Read what `save` wrote. Raises SetupError where it is something else."""
        return cls(Pixels.read(folder))

    def sources(
        self, loaded: list[LoadedSource], config: ExperimentConfig, backbone: BaseBackbone
    ) -> tuple[list[Source], list[str]]:
        """Return the pictures of every split, as the network of `backbone` was trained to read them.

        Raises ConfigError where the network cannot read pictures of the configured size.
        """
        self.augment = getattr(config.model, "augment", None)
        own = getattr(backbone, "network", None)
        if own is not None:
            self.pixels = Pixels(config.model.image_size or own.size, own.mean, own.std, config.model.fit)
            _try_size(own, self.pixels.size)
        return super().sources(loaded, config, backbone)

    def unusable(self, rows: Rows, spec: SourceSpec) -> Mapping[int, str]:
        """Decode every picture once, and return which are none, and why."""
        media = _media(rows.content)

        def reason(row: int) -> str | None:
            try:
                picture(media[row])
            except UnusablePictureError as error:
                return f"{media[row].name}: {error}"
            return None

        reasons = checked("decoding pictures", reason, len(media), workers=self.workers, progress=self.progress)
        return {row: why for row, why in enumerate(reasons) if why is not None}

    def encode(self, rows: Rows, spec: SourceSpec) -> Pictures:
        """Return the pictures, which are decoded batch by batch."""
        return Pictures(_media(rows.content), self.pixels, self.augment)

    def shown(self, content: Content, row: int) -> Shown:
        """Return the picture, small; where its file is gone since it was learnt from, that it is."""
        media = _media(content)[row]
        try:
            image = picture(media)
        except UnusablePictureError as error:
            return Shown(f"{media.name}: {error}")
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        kept = io.BytesIO()
        image.save(kept, format="PNG")
        return Shown(pictures=(kept.getvalue(),))

    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return what becomes of a picture."""
        size, fit = self.pixels.size, self.pixels.fit
        ways = {"crop": "of a longer side only the middle", "squash": "both sides scaled", "pad": "with borders"}
        return Facts({"pixels of a picture": f"{size} x {size}"}, [f"A picture is read as a square, {ways[fit]}."])


@torch.no_grad()
def _try_size(network: Any, size: int) -> None:
    """Raise ConfigError where a network cannot read a picture of `size` pixels a side."""
    was_training, device = network.training, next(network.parameters()).device
    try:
        network.eval()(torch.zeros(1, 3, size, size, device=device))
    except Exception as error:  # whatever its layers raise of a size that they were not made for
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model.image_size: the model cannot read pictures of {size} x {size} ({reason}); leave it out: its own "
            f"size is {network.size}"
        ) from error
    finally:
        network.train(was_training)


def _media(content: Content) -> list[Media]:
    (media,) = cast(Cells, content).columns.values()
    return media
