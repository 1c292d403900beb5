"""How pictures become numbers, as a network was trained to read them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from jenga.errors import ConfigError, SetupError
from jenga.modalities.media import Media
from jenga.modalities.text.pretrained import cannot_load
from jenga.modalities.vision.pictures import Fit, picture, square
from jenga.peft.base import read_object

FILE = "jenga_pictures.json"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures, by colour."""
_PUBLISHED = "preprocessor_config.json"
_UNKNOWN = ("do_flip_channel_order", "rescale_offset", "do_grayscale", "do_color_quantize", "do_map_pixels")
"""What some checkpoints do with pictures and is not done here."""


@dataclass(frozen=True)
class Pixels:
    """How pictures become numbers: squares of `size`, each colour less its `mean` by its `std`, of values 0 to 1."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit = "crop"

    def of(self, media: Media) -> torch.Tensor:
        """Return float32 ``(3, S, S)``. Raises UnusablePictureError."""
        array = np.asarray(square(picture(media), self.size, self.fit), np.float32) / 255
        scaled = (array - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))

    def write(self, folder: Path) -> None:
        """Write it beside the weights in `folder`."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` wrote. Raises SetupError where it is something else."""
        saved = read_object(folder / FILE)
        try:
            return cls(int(saved["size"]), tuple(saved["mean"]), tuple(saved["std"]), saved["fit"])
        except (KeyError, TypeError, ValueError) as error:
            raise SetupError(f"{folder / FILE}: {error!r}; restore the folder from a copy or train again") from error

    @classmethod
    def of_checkpoint(cls, name: str, usual_size: int) -> Self:
        """Return how a checkpoint of transformers reads pictures; what Jenga trained says it itself.

        usual_size: where it names none. Raises ConfigError where it does something that is not done here, SetupError
        where its files cannot be read.
        """
        if (Path(name) / FILE).is_file():
            return cls.read(Path(name))
        read = _published(name)
        if unknown := [key for key in _UNKNOWN if read.get(key)]:
            raise ConfigError(
                f"model.base_model: '{name}' reads pictures with {unknown[0]}, which is not done here; choose another "
                "model"
            )
        side = read.get("crop_size") or read.get("size") or usual_size
        side = next(iter(side.values())) if isinstance(side, dict) else side
        size = int(side[0] if isinstance(side, list | tuple) else side)
        # Means and deviations are of values that were scaled, usually by 1/255; here all values are from 0 to 1.
        most = 255 * float(read.get("rescale_factor") or 1 / 255) if read.get("do_rescale", True) else 255.0
        mean, std = tuple(read.get("image_mean") or MEAN), tuple(read.get("image_std") or STD)
        if not read.get("do_normalize", True):
            mean, std = (0.0,) * 3, (1.0,) * 3
        return cls(size, tuple(each / most for each in mean), tuple(each / most for each in std))


def _published(name: str) -> dict[str, Any]:
    """Return what a checkpoint says of how pictures become its inputs; {} where it says nothing."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        found, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except OSError as error:
        if (Path(name) / _PUBLISHED).is_file():
            raise cannot_load("model.base_model", name, error) from error
        return {}
    return dict(found)
