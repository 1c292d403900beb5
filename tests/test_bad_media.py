"""Media of all the kinds that folders of them hold: read right, or set aside with the reason; none ends a run."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
from PIL import Image
from tones import RATE, tone

from jenga.run.experiment import train

FINE = ""
"""The reason of what is read."""


class Case(NamedTuple):
    """A row of media. `cell`: of its column; bytes: of a file that it names. `more`: its other columns."""

    kind: str
    reason: str
    cell: Any
    name: str = "{}.bin"
    more: dict[str, Any] = {}  # noqa: RUF012


def wav(sound: np.ndarray, rate: int = RATE, kind: str = "WAV", **options: Any) -> bytes:
    made = io.BytesIO()
    soundfile.write(made, sound, rate, format=kind, **options)
    return made.getvalue()


def png(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def zipped(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a", content)
    return made.getvalue()


def said(content: bytes, size: int) -> bytes:
    """Return a WAV file whose header says `size` bytes of samples."""
    at = content.index(b"data") + 4
    sizes = [struct.pack("<I", min(each, 0xFFFF_FFFF)) for each in (size + at - 4, size)]
    return content[:4] + sizes[0] + content[8:at] + sizes[1] + content[at + 4 :]


def png_of_size(width: int, height: int) -> bytes:
    """Return a picture of that size whose pixels are few bytes, as zeros pack well; of 1 bit each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compressobj(9)
    pixels = b"".join([packed.compress(bytes((width + 7) // 8 + 1)) for _ in range(height)] + [packed.flush()])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


SOUND = tone(300, 0.5)
WAV, FLAC, OGG, MP3, AIFF = (wav(SOUND, kind=kind) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF"))
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8))
PNG = png(PICTURE)
ANYWHERE = [
    Case("missing", "there is no file", "no-such.bin"),
    Case("a folder", "there is no file", "folder"),
    Case("outside of the folder", "lies outside", "../outside.bin"),
    Case("an absolute path outside", "lies outside", "/etc/hostname"),
    Case("a link out of the folder", "lies outside", "out.bin"),
    Case("a link to itself", "is no path that can be followed|there is no file", "loop.bin"),
    Case("a NUL in the path", "is no path that can be followed", "a\0b"),
    Case("nobody's home", "is no path that can be followed", "~nobody-of-this-name/a"),
    Case("a path of 5,000 letters", "is no path that can be followed", "a" * 5000),
    Case("nothing", "is empty", None),
    Case("a number", "allowed: a path", 5),
    Case("a list of words", "allowed: numbers", ["a", "b"]),
    Case("an object of other keys", "allowed: a path", {"file": "a"}),
    Case("bytes in JSON", "JSON holds none", {"bytes": "UklGRg=="}),
    Case("lists of different lengths", "different lengths", [[1, 2], [3]]),
    Case("an empty file", "no recording|no known format", b""),
    Case("a text", "no recording|no known format", b"hello world\n"),
    Case("a page", "no recording|no known format", b"<html>404 not found</html>", "{}.wav"),
    Case("a zip", "no recording|no known format", zipped(WAV), "{}.png"),
    Case("zeros", "no recording|no known format", bytes(3000), "{}.wav"),
]
SOUNDS = [
    *ANYWHERE,
    Case("a picture", "no recording", PNG, "{}.wav"),
    Case("WAV cut in half", "breaks off", WAV[: len(WAV) // 2], "{}.wav"),
    Case("WAV cut by a byte", "breaks off", WAV[:-1], "{}.wav"),
    Case("a header alone", "breaks off|no samples", WAV[:44], "{}.wav"),
    Case("a header that says 10 hours", "breaks off", said(WAV, 36_000 * RATE * 2), "{}.wav"),
    Case("FLAC cut", "no recording", FLAC[: len(FLAC) // 2], "{}.flac"),
    Case("MP3 cut", "breaks off", MP3[: len(MP3) // 2], "{}.mp3"),
    Case("OGG cut", "no recording|no samples", OGG[: len(OGG) // 2], "{}.ogg"),
    Case("AIFF cut", "breaks off", AIFF[: len(AIFF) // 2], "{}.aiff"),
    Case("a kind whose cuts nobody tells", "of the kind AU; allowed: WAV", wav(SOUND, kind="AU"), "{}.au"),
    Case("NaN", "no numbers", wav(np.full(800, np.nan, np.float32), subtype="FLOAT"), "{}.wav"),
    Case("no samples", "no samples", wav(SOUND[:0]), "{}.wav"),
    Case("100 channels", "100 channels", wav(np.zeros((9, 100), np.float32)), "{}.wav"),
    Case("10 Hz", "rate is 10 Hz", wav(SOUND, rate=10), "{}.wav"),
    Case("samples without a header", "no recording", SOUND.tobytes(), "{}.raw"),
    Case("numbers without a rate", "without a rate", [0.0, 0.1]),
    Case("a start before the beginning", "seconds, 0 or more", WAV, more={"start": -1}),
    Case("a start that is a word", "seconds, 0 or more", WAV, more={"start": "soon"}),
    Case("a start called nan", "seconds, 0 or more", WAV, more={"start": "nan"}),
    Case("an end without end", "seconds, 0 or more", WAV, more={"end": float("inf")}),
    Case("a start behind the end", "where it begins", WAV, more={"start": 0.4, "end": 0.2}),
    Case("a start behind the recording", "ends after 0.50 s", WAV, more={"start": 3}),
    # What is odd, and read.
    Case("called a picture", FINE, WAV, "{}.png"),
    Case("called samples", FINE, WAV, "{}.raw"),
    Case("FLAC", FINE, FLAC, "{}.flac"),
    Case("OGG", FINE, OGG, "{}.ogg"),
    Case("MP3", FINE, MP3, "{}.mp3"),
    Case("AIFF", FINE, AIFF, "{}.aiff"),
    Case("8 bits", FINE, wav(SOUND, subtype="PCM_U8"), "{}.wav"),
    Case("24 bits", FINE, wav(SOUND, subtype="PCM_24"), "{}.wav"),
    Case("floating point", FINE, wav(SOUND, subtype="FLOAT"), "{}.wav"),
    Case("192 kHz", FINE, wav(SOUND, rate=192_000), "{}.wav"),
    Case("7 channels", FINE, wav(np.stack([SOUND] * 7, axis=1)), "{}.wav"),
    Case("written to a pipe", FINE, said(WAV, 0x7FFF_FFFF), "{}.wav"),
    Case("one sample", FINE, wav(SOUND[:1]), "{}.wav"),
    Case("silence", FINE, wav(SOUND * 0), "{}.wav"),
    Case("an array", FINE, {"array": SOUND[:1000].tolist(), "sampling_rate": RATE}),
    Case("a start that is not there", FINE, WAV, more={"start": float("nan"), "end": 0.3}),
]
PICTURES = [
    *ANYWHERE,
    Case("a recording", "no known format", WAV, "{}.png"),
    Case("PNG cut", "truncated", PNG[: len(PNG) // 2], "{}.png"),
    Case("a header alone", "no picture", PNG[:33], "{}.png"),
    *(
        Case(f"{kind} cut", "no picture", png(PICTURE, kind)[: len(png(PICTURE, kind)) // 2], "{}." + kind.lower())
        for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF")
    ),
    Case("0 x 0", "no picture", png_of_size(0, 0), "{}.png"),
    Case("a bomb of 100 megapixels", "pixels; allowed", png_of_size(10_000, 10_000), "{}.png"),
    Case("what Ghostscript would run", "no known format", png(PICTURE, "EPS"), "{}.eps"),
    Case("drawn", "no known format", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "{}.svg"),
    Case("NaN", "no numbers", png(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), "{}.tiff"),
    Case("values outside", "outside 0 to 255", [[300] * 8] * 8),
    Case("five colours", "allowed: height x width", [[[1] * 5] * 8] * 8),
    # What is odd, and read.
    Case("called a recording", FINE, PNG, "{}.wav"),
    *(Case(kind, FINE, png(PICTURE, kind), "{}." + kind.lower()) for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF")),
    Case("CMYK", FINE, png(PICTURE.convert("CMYK"), "JPEG"), "{}.jpg"),
    Case("16 bits", FINE, png(Image.fromarray(np.full((8, 8), 40_000, np.uint16))), "{}.png"),
    Case("transparent", FINE, png(PICTURE.convert("RGBA")), "{}.png"),
    Case("1 x 1", FINE, png(PICTURE.resize((1, 1))), "{}.png"),
    Case("a thousand times as wide as high", FINE, png(PICTURE.resize((1000, 1))), "{}.png"),
    Case("values", FINE, np.asarray(PICTURE)[..., 0].tolist()),
]


def lay_out(folder: Path, column: str, cases: Sequence[Case], good: Callable[[int], bytes], count: int) -> Path:
    """Write `count` rows with media that are right, and one of each case behind them; returns the file of rows."""
    (folder / "data" / "folder").mkdir(parents=True)
    (folder / "outside.bin").write_bytes(good(0))
    (folder / "data" / "out.bin").symlink_to(folder / "outside.bin")
    (folder / "data" / "loop.bin").symlink_to("loop.bin")
    rows: list[dict[str, Any]] = []
    for at in range(count):
        (folder / "data" / f"good{at}").write_bytes(good(at))
        rows.append({column: f"good{at}"})
    for at, case in enumerate(cases):
        cell = case.cell
        if isinstance(cell, bytes):
            cell = case.name.format(at)
            (folder / "data" / cell).write_bytes(case.cell)
        rows.append({column: cell, **case.more})
    path = folder / "data" / "rows.jsonl"
    path.write_text("".join(json.dumps({**row, "label": "ab"[at % 2]}) + "\n" for at, row in enumerate(rows)))
    return path


@pytest.mark.parametrize(
    ("modality", "column", "cases"),
    [("audio", "audio", SOUNDS), ("vision", "image", PICTURES)],
    ids=["audio", "vision"],
)
def test_each_is_read_or_set_aside_with_its_reason_and_none_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modality: str, column: str, cases: list[Case]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def good(at: int) -> bytes:
        if modality == "audio":
            return wav(tone(1500 if at % 2 else 200, 0.3))
        return png(Image.new("RGB", (16, 16), (200, 200, 200) if at % 2 else (20, 20, 20)))

    count = 40
    rows = lay_out(tmp_path, column, cases, good, count)
    run = train(
        {
            "model": {"backbone_type": modality, "base_model": f"jenga/tiny-{modality}"},
            "tasks": [{"name": "kind", "type": "classification", "data_path": str(rows)}],
            "training": {"max_steps": 2, "batch_size": 8},
            "data": {"max_bad_fraction": 0.9},
            "tracking": {"enabled": False},
            "output_dir": str(tmp_path / "runs"),
        },
        device="cpu",
    ).run
    listed = [json.loads(line) for line in (run / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {each["row"]: each["reason"] for each in listed}
    assert len(listed) == len(found), "each once"
    assert {each["file"] for each in listed} == {str(rows)}
    wrong = [
        f"{case.kind}: {found.get(number, 'is read')}"
        for number, case in enumerate(cases, start=count + 1)
        if (not re.search(case.reason, found.get(number, ""))) or (case.reason == FINE) != (number not in found)
    ]
    assert not wrong
    assert min(found) > count, "no row that is right is among them"
    # What is not set aside is in one of the splits, and nothing else is.
    used = json.loads((run / "run.json").read_text(encoding="utf-8"))["rows"]
    assert sum(used.values()) == count + len(cases) - len(found)
    assert sum(case.reason != FINE for case in cases) >= 30
