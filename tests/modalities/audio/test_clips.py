"""Recordings as samples: formats, rates, channels, and thirty ways to be none."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tones import RATE, tone

from jenga.errors import SetupError
from jenga.labels.column import RowError
from jenga.modalities.audio.clips import AudioColumns, Clip, UnusableClipError, samples, seconds_of
from jenga.modalities.media import Media
from jenga.rows.raw import RawRows


def of(path: Path, **bounds: Any) -> Clip:
    return Clip(Media(path.name, path=path), **bounds)


def loudest(sound: np.ndarray, rate: int = RATE) -> float:
    """Return the frequency that a sound has most of."""
    return float(np.abs(np.fft.rfft(sound)).argmax() * rate / len(sound))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_every_format_gives_the_same_tone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(440, 1.0), RATE)
    sound = samples(of(path), RATE, most_seconds=30)
    assert sound.dtype == np.float32
    assert len(sound) == pytest.approx(RATE, rel=0.1)
    assert loudest(sound) == pytest.approx(440, abs=5)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 192_000])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440, 1.0, rate=rate), rate)
    sound = samples(of(tmp_path / "a.wav"), RATE, most_seconds=30)
    assert len(sound) == pytest.approx(RATE, abs=2)
    assert loudest(sound) == pytest.approx(440, abs=2)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tone(440, 0.5)
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left, left], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(samples(of(tmp_path / "a.wav"), RATE, most_seconds=30), left / 3, atol=1e-6)


def test_a_clip_is_cut_out_of_its_recording_and_a_long_one_is_read_no_further(tmp_path: Path) -> None:
    parts = [tone(hertz, 1.0) for hertz in (200, 600, 1000)]
    soundfile.write(tmp_path / "a.wav", np.concatenate(parts), RATE)
    middle = samples(of(tmp_path / "a.wav", start=1.0, end=2.0), RATE, most_seconds=30)
    assert len(middle) == RATE
    assert loudest(middle) == pytest.approx(600, abs=2)
    assert loudest(samples(of(tmp_path / "a.wav", start=2.0), RATE, most_seconds=30)) == pytest.approx(1000, abs=2)
    assert len(samples(of(tmp_path / "a.wav"), RATE, most_seconds=0.5)) == RATE // 2


def test_numbers_are_samples_or_channels_of_samples() -> None:
    sound = tone(440, 0.2)
    for values in (sound, np.stack([sound, sound]), np.stack([sound, sound], axis=1)):
        read = samples(Clip(Media("x", values=values, rate=RATE)), RATE, most_seconds=30)
        np.testing.assert_allclose(read, sound, atol=1e-6)
    read = samples(Clip(Media("x", values=(sound * 32767).astype(np.int16), rate=RATE)), RATE, most_seconds=30)
    np.testing.assert_allclose(read, sound, atol=1e-4)


def wav(sound: np.ndarray, rate: int = RATE, **options: Any) -> bytes:
    made = io.BytesIO()
    soundfile.write(made, sound, rate, format="WAV", **options)
    return made.getvalue()


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.wav", wav(tone(440, 0.1)))
    return made.getvalue()


GOOD = wav(tone(440, 0.5))
BROKEN: list[tuple[str, bytes, str]] = [
    ("empty", b"", "no recording"),
    ("one byte", b"R", "no recording"),
    ("text", b"hello world", "no recording"),
    ("a zip", zipped(), "no recording"),
    ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(100), "no recording"),
    ("a page", b"<html>404</html>", "no recording"),
    ("zeros", bytes(5000), "no recording"),
    ("a header alone", GOOD[:44], "breaks off|no samples|no recording"),
    ("cut in half", GOOD[: len(GOOD) // 2], "breaks off"),
    ("cut by one byte", GOOD[:-1], "breaks off"),
    ("no samples", wav(np.zeros(0, np.float32)), "no samples"),
    ("not a number", wav(np.full(800, np.nan, np.float32), subtype="FLOAT"), "no numbers"),
    ("infinite", wav(np.full(800, np.inf, np.float32), subtype="FLOAT"), "no numbers"),
    ("100 channels", wav(np.zeros((10, 100), np.float32)), "channels"),
    ("10 Hz", wav(np.zeros(100, np.float32), rate=10), "rate is 10 Hz"),
    ("2 MHz", wav(np.zeros(100, np.float32), rate=2_000_000), "rate is 2000000 Hz"),
]


@pytest.mark.parametrize(("content", "reason"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN])
def test_what_is_no_recording_says_why(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    for media in (Media("a.wav", path=tmp_path / "a.wav"), Media("bytes", content=content)):
        with pytest.raises(UnusableClipError, match=reason):
            samples(Clip(media), RATE, most_seconds=30)


def test_a_ten_hour_recording_costs_no_more_than_the_seconds_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_U8") as file:
        file.write(np.zeros(8000, np.float32))
    with path.open("r+b") as raw:
        # Sparse: what lies behind the first second is zeros that no disk holds.
        raw.truncate(44 + 36_000 * 8000)
        raw.seek(4)
        raw.write((36 + 36_000 * 8000).to_bytes(4, "little"))
        raw.seek(40)
        raw.write((36_000 * 8000).to_bytes(4, "little"))
    assert len(samples(of(path), RATE, most_seconds=2)) == pytest.approx(2 * RATE, abs=2)


def test_a_clip_that_begins_behind_the_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(GOOD)
    with pytest.raises(UnusableClipError, match=r"ends after 0\.50 s"):
        samples(of(tmp_path / "a.wav", start=3.0), RATE, most_seconds=30)


@pytest.mark.parametrize(
    ("values", "rate", "reason"),
    [
        (np.zeros(5), None, "without a rate"),
        (np.zeros((2, 2, 2)), RATE, "3 dimensions"),
        (np.zeros(5), 3, "rate is 3 Hz"),
        (np.array([0.0, np.nan]), RATE, "no numbers"),
    ],
)
def test_numbers_that_are_no_sound_say_why(values: np.ndarray, rate: int | None, reason: str) -> None:
    with pytest.raises(UnusableClipError, match=reason):
        samples(Clip(Media("x", values=values, rate=rate)), RATE, most_seconds=30)


def test_bounds_are_read_of_rows_where_they_have_them(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(GOOD)
    rows = [{"audio": "a.wav", "start": "0.1", "end": 0.3}, {"audio": "a.wav"}, {"audio": "a.wav", "start": -1},
            {"audio": "a.wav", "start": 0.3, "end": 0.3}, {"audio": "a.wav", "start": "soon"}]  # fmt: skip
    raw = RawRows(str(tmp_path / "rows.jsonl"), rows, list(range(5)))
    (tmp_path / "rows.jsonl").write_text("")
    reader = AudioColumns(columns=(("audio", ("audio",)),)).reader(raw, learning=True, per_word=False)
    first, second = (reader.read(row).value["audio"] for row in rows[:2])
    assert (first.start, first.end) == (0.1, 0.3)
    assert (second.start, second.end) == (0.0, None)
    for row in rows[2:]:
        with pytest.raises(RowError, match=r"seconds, 0 or more|or before"):
            reader.read(row)


def test_without_the_extra_an_error_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(GOOD)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(SetupError, match=r"pip install 'jenga\[audio\]'"):
        samples(of(tmp_path / "a.wav"), RATE, most_seconds=30)


@pytest.mark.parametrize("name", ["a.raw", "a.RAW", "a", "a.mp3", "a.wav.part", "a.flac"])
def test_what_a_recording_is_called_decides_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD)
    assert len(samples(of(tmp_path / name), RATE, most_seconds=30)) == RATE // 2


def test_samples_without_a_header_are_no_recording(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(tone(440, 0.5).tobytes())
    with pytest.raises(UnusableClipError, match="no recording"):
        samples(of(tmp_path / "a.raw"), RATE, most_seconds=30)


@pytest.mark.parametrize("said", [0x7FFF_0000, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_wav_that_was_piped_says_no_length_and_is_read_to_its_end(tmp_path: Path, said: int) -> None:
    content = bytearray(GOOD)
    at = content.index(b"data") + 4
    content[4:8], content[at : at + 4] = said.to_bytes(4, "little"), said.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    for media in (Media("a.wav", path=tmp_path / "a.wav"), Media("bytes", content=bytes(content))):
        np.testing.assert_allclose(
            samples(Clip(media), RATE, most_seconds=30), samples(Clip(Media("x", content=GOOD)), RATE, most_seconds=30)
        )


def test_a_clip_is_as_long_as_its_bounds_and_its_recording_allow(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(440, 2.0), RATE)
    assert seconds_of(of(path)) == 2.0
    assert seconds_of(of(path, start=0.5)) == 1.5
    assert seconds_of(of(path, start=0.5, end=9.0)) == 1.5
    assert seconds_of(of(path, start=0.5, end=1.5)) == 1.0
    assert seconds_of(Clip(Media("b", values=np.zeros((2, 2 * RATE), np.float32), rate=RATE))) == 2.0
