"""Pictures as red, green and blue: every kind of file turned right, and thirty ways to be none."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jenga.errors import SetupError
from jenga.modalities.media import Media
from jenga.modalities.vision.pictures import UnusablePictureError, picture, square

RED, GREEN = (200, 30, 30), (30, 160, 60)
HALVES = Image.new("RGB", (8, 6), RED)
HALVES.paste(GREEN, (4, 0, 8, 6))
"""Red on the left, green on the right."""


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def read(content: bytes) -> Image.Image:
    return picture(Media("x", content=content))


def near(image: Image.Image, at: tuple[int, int], colour: tuple[int, int, int], by: int = 25) -> bool:
    found = image.getpixel(at)
    assert isinstance(found, tuple)
    return max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= by


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_format_has_the_same_colours(kind: str) -> None:
    image = read(file_of(HALVES, kind))
    assert image.mode == "RGB"
    assert image.size == (8, 6)
    assert near(image, (0, 3), RED)
    assert near(image, (7, 3), GREEN)


def test_a_picture_is_turned_as_its_exif_data_say() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned a quarter clockwise
    image = read(file_of(HALVES, "JPEG", exif=turned, quality=95))
    assert image.size == (6, 8)
    assert near(image, (3, 0), RED)
    assert near(image, (3, 7), GREEN)


def test_cmyk_palettes_greys_and_the_first_of_an_animation_become_rgb() -> None:
    assert near(read(file_of(HALVES.convert("CMYK"), "JPEG", quality=95)), (0, 3), RED, by=40)
    assert near(read(file_of(HALVES.quantize(4), "PNG")), (7, 3), GREEN)
    grey = read(file_of(HALVES.convert("L"), "PNG"))
    assert len(set(grey.getpixel((0, 0)))) == 1  # type: ignore[arg-type]
    frames = [HALVES, Image.new("RGB", HALVES.size, GREEN)]
    assert near(read(file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])), (0, 3), RED)


def test_what_is_transparent_is_white() -> None:
    clear = HALVES.convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    assert read(file_of(clear, "PNG")).getpixel((0, 0)) == (255, 255, 255)
    palette = HALVES.quantize(4)
    seen = palette.getpixel((0, 3))
    assert read(file_of(palette, "PNG", transparency=seen)).getpixel((0, 3)) == (255, 255, 255)


def test_16_bits_become_8() -> None:
    deep = Image.fromarray(np.array([[0, 32768, 65535]], np.uint16))
    assert [read(file_of(deep, "PNG")).getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]  # type: ignore[index]


@pytest.mark.parametrize(
    "values",
    [
        np.full((4, 5), 200, np.uint8),
        np.full((4, 5, 3), 200, np.int64),
        np.full((3, 4, 5), 200 / 255),
        np.full((4, 5, 1), 200 / 255, np.float32),
    ],
    ids=["grey", "colours last", "colours first, 0 to 1", "one colour"],
)
def test_numbers_are_pixels(values: np.ndarray) -> None:
    image = picture(Media("x", values=values))
    assert image.size == (5, 4)
    assert image.getpixel((0, 0)) == (200, 200, 200)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """Return the header of a picture of that size, with nothing of it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GOOD = file_of(HALVES.resize((64, 64)), "PNG")
JPEG = file_of(HALVES.resize((256, 256)), "JPEG")
BROKEN: list[tuple[str, bytes, str]] = [
    ("empty", b"", "no known format"),
    ("one byte", b"x", "no known format"),
    ("text", b"hello", "no known format"),
    ("a page", b"<html>404</html>", "no known format"),
    ("a zip", b"PK\x03\x04" + bytes(100), "no known format"),
    ("sound", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40), "no known format"),
    ("a program of Ghostscript", file_of(HALVES, "EPS"), "no known format"),
    ("a format of few", file_of(HALVES, "TGA"), "no known format"),
    ("an icon", file_of(HALVES, "ICO"), "no known format"),
    ("vector graphics", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no known format"),
    ("a header alone", GOOD[:33], "no picture"),
    ("cut in half", GOOD[: len(GOOD) // 2], "no picture"),
    ("a JPEG cut in half", JPEG[: len(JPEG) // 2], "no picture"),
    ("0 x 0", png_of_size(0, 0), "no picture"),
    ("a bomb of 100 megapixels", png_of_size(10_000, 10_000), "pixels; allowed"),
    ("a bomb of 4 gigapixels", png_of_size(65_535, 65_535), "too many pixels"),
]


@pytest.mark.parametrize(("content", "reason"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN])
def test_what_is_no_picture_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(UnusablePictureError, match=reason):
        read(content)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((2, 3, 4, 5)), "2 x 3 x 4 x 5"),
        (np.zeros((4, 5, 2)), "4 x 5 x 2"),
        (np.zeros(7), "7; allowed: height x width"),
        (np.full((4, 5), 300), "outside 0 to 255"),
        (np.full((4, 5), -1.0), "outside 0 to 255"),
        (np.full((4, 5), np.nan), "no numbers"),
    ],
)
def test_numbers_that_are_no_picture_say_why(values: np.ndarray, reason: str) -> None:
    with pytest.raises(UnusablePictureError, match=reason):
        picture(Media("x", values=values))


def test_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnusablePictureError, match="No such file"):
        picture(Media("x", path=tmp_path / "gone.png"))


def test_a_square_is_the_middle_both_sides_or_all_with_borders() -> None:
    wide = Image.new("RGB", (30, 10), RED)
    wide.paste(GREEN, (10, 0, 20, 10))
    assert near(square(wide, 10, "crop"), (1, 5), GREEN)
    assert near(square(wide, 10, "squash"), (1, 5), RED)
    padded = square(wide, 30, "pad")
    assert padded.getpixel((15, 1)) == (0, 0, 0)
    assert near(padded, (15, 15), GREEN)


def test_without_the_extra_an_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SetupError, match=r"pip install 'jenga\[vision\]'"):
        read(GOOD)


@pytest.mark.parametrize(
    ("values", "wanted"), [([[0.0, 0.5, 1.0]], [0, 128, 255]), ([[0.0, 128.0, 255.0]], [0, 128, 255])]
)
def test_floating_point_pictures_are_read_as_numbers_in_rows_are(values: list[list[float]], wanted: list[int]) -> None:
    array = np.array(values, np.float32)
    for image in (read(file_of(Image.fromarray(array), "TIFF")), picture(Media("x", values=array))):
        assert [image.getpixel((x, 0)) for x in range(3)] == [(each,) * 3 for each in wanted]


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "no numbers"), (np.inf, "no numbers"), (-1.0, "outside 0"), (256.0, "outside 0")]
)
def test_floating_point_pictures_of_other_values_are_refused(value: float, reason: str) -> None:
    with pytest.raises(UnusablePictureError, match=reason):
        read(file_of(Image.fromarray(np.array([[0.5, value]], np.float32)), "TIFF"))


def test_a_dark_deep_picture_stays_dark() -> None:
    for kind in (np.uint16, np.int32):
        dark = Image.fromarray(np.array([[0, 200, 257]], kind))
        image = read(file_of(dark, "TIFF"))
        assert [image.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (0, 0, 0), (1, 1, 1)]
