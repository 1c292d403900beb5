"""What a configuration says of a model of pictures, and of where its rows' pictures stand."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from jenga.config.paths import PathMark
from jenga.config.strict import Fraction, PositiveInt, Strict

TINY_VISION = "jenga/tiny-vision"


class AugmentConfig(Strict):
    """What is changed of training pictures, each time anew, drawn from training.seed."""

    flip: bool = Field(True, description="Mirror half of them, left to right.")
    crop: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="Smallest share of a picture's area that is cut out; 1: all of it."
    )
    shift: PositiveInt | None = Field(
        None, description="Instead of crop: move the picture by up to so many pixels, as small pictures want it."
    )
    brightness: Fraction = Field(0.2, description="Largest change of brightness, as a share.")
    erase: Fraction = Field(0.0, description="Share of the pictures of which a part is blanked (Zhong et al. 2020).")


class VisionConfig(Strict):
    """An encoder of pictures."""

    base_model: Annotated[str, PathMark.NAMED] = Field(
        min_length=1,
        description="Name of a model of timm, hub name or folder of an image model of transformers, or the preset "
        "'jenga/tiny-vision', a small network from nothing.",
    )
    image_size: PositiveInt | None = Field(
        None, le=2048, description="Side of the square that pictures are brought to; default: the model's own."
    )
    fit: Literal["crop", "squash", "pad"] = Field(
        "crop",
        description="How a picture becomes a square. crop: its middle; squash: both sides scaled; pad: with borders.",
    )
    augment: AugmentConfig | None = Field(None, description="Absent: training pictures as they are.")
    dropout: Fraction | None = Field(None, description="Dropout inside the encoder; default: as the model sets it.")
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")

    generates: ClassVar[bool] = False


class VisionColumnKeys(Strict):
    """Where a row's picture stands."""

    image: str | None = Field(None, description="Path of a picture, its {bytes}, or rows of pixels. Default: image.")
