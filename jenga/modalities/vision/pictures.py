"""Pictures as rows name them, and as red, green and blue."""

from __future__ import annotations

import functools
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from jenga.extras import required
from jenga.modalities.media import Media, MediaColumns

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 89_478_485
"""Pillow's own bound, above which a small file fills the memory."""
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What is opened, where Pillow has it here. It knows more, of which some start other programs, as EPS does."""
Fit = Literal["crop", "squash", "pad"]


class UnusablePictureError(Exception):
    """A picture cannot be read; the message says why, in words for a person."""


@dataclass(frozen=True)
class ImageColumns(MediaColumns):
    """Where pictures stand."""

    form: ClassVar[str] = "image"


def picture(media: Media) -> Image:
    """Return a picture in RGB, turned as its EXIF data say; of an animation the first.

    What is transparent is white; 16 bits become 8, scaled by what the format can hold; floating-point values are read
    as numbers in rows are, from 0 to 1 or to 255. Raises UnusablePictureError where it is none, SetupError without the
    extra ``vision``.
    """
    pillow, ops = _pillow()
    if media.values is not None:
        return _of_values(media.values)
    try:
        with warnings.catch_warnings():
            # Pillow warns of large files, and of broken EXIF data, which only turn a picture.
            warnings.simplefilter("ignore")
            with pillow.open(io.BytesIO(media.read()), formats=_formats()) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    size = f"{opened.width} x {opened.height}"
                    raise UnusablePictureError(f"it has {size} pixels; allowed: {MOST_PIXELS:,} in all")
                opened.load()
                turned = ops.exif_transpose(opened)
                return _rgb(turned if turned is not None else opened)
    except pillow.DecompressionBombError:
        raise UnusablePictureError(f"it has too many pixels; allowed: {MOST_PIXELS:,} in all") from None
    except UnusablePictureError:
        raise
    except Exception as error:  # whatever content that says anything makes a decoder raise
        if isinstance(error, OSError) and error.strerror:
            raise UnusablePictureError(f"it cannot be read ({error.strerror})") from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        reason = "no known format" if "cannot identify" in reason else reason
        raise UnusablePictureError(f"it is no picture that can be read ({reason})") from error


def square(image: Image, size: int, fit: Fit) -> Image:
    """Return `image` as a square of `size`, made as `fit` says; bicubic."""
    pillow, ops = _pillow()
    if image.size == (size, size):
        return image
    if fit == "squash":
        return image.resize((size, size), pillow.Resampling.BICUBIC)
    if fit == "pad":
        return ops.pad(image, (size, size), pillow.Resampling.BICUBIC)  # type: ignore[no-any-return]
    return ops.fit(image, (size, size), pillow.Resampling.BICUBIC)  # type: ignore[no-any-return]


def _rgb(image: Image) -> Image:
    pillow, _ = _pillow()
    if image.mode == "F":
        return _of_values(np.asarray(image))
    if image.mode.startswith("I"):
        # Of 16 bits, which Pillow may hand on as 32.
        image = pillow.fromarray((np.clip(np.asarray(image) / 65535, 0, 1) * 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = pillow.new("RGBA", seen.size, "white")
        image = pillow.alpha_composite(white, seen)
    return image.convert("RGB")


def _of_values(values: np.ndarray) -> Image:
    pillow, _ = _pillow()
    if values.ndim == 3 and values.shape[0] in (1, 3) and values.shape[2] not in (1, 3):
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
        shape = " x ".join(map(str, values.shape))
        raise UnusablePictureError(f"its numbers are {shape}; allowed: height x width, with 1 or 3 colours")
    if not np.isfinite(values).all():
        raise UnusablePictureError("it holds values that are no numbers")
    # From 0 to 1, or to 255.
    scale = 255.0 if np.issubdtype(values.dtype, np.floating) and values.max(initial=0) <= 1 else 1.0
    if values.min(initial=0) < 0 or values.max(initial=0) * scale > 255:
        raise UnusablePictureError("its numbers lie outside 0 to 255")
    return pillow.fromarray((values * scale).round().astype(np.uint8)).convert("RGB")  # type: ignore[no-any-return]


@functools.cache
def _formats() -> tuple[str, ...]:
    pillow, _ = _pillow()
    pillow.init()
    return tuple(name for name in _FORMATS if name in pillow.OPEN)


def _pillow() -> tuple[Any, Any]:
    need = "pictures need Pillow"
    return required("PIL.Image", extra="vision", need=need), required("PIL.ImageOps", extra="vision", need=need)
