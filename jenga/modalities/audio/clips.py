"""Recordings as rows name them, and as one channel of samples at the rate that a model reads."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from jenga.extras import required
from jenga.labels.cells import is_missing
from jenga.labels.column import RowError, show
from jenga.modalities.media import Media, MediaColumns
from jenga.rows.columns import find_column, lookup
from jenga.rows.content import CellReader, Item
from jenga.rows.raw import RawRows

MOST_CHANNELS = 64
RATES = (1_000, 768_000)
_UNKNOWN_BYTES = 0x7FFF_0000
_FORMATS = ("WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG", "MP3")
"""What is read. libsndfile knows more kinds, and does not tell of most where their files are cut."""
_BYTE_ORDERS: dict[tuple[bytes, bytes], Literal["little", "big"]] = {
    (b"RIFF", b"WAVE"): "little", (b"RIFX", b"WAVE"): "big", (b"FORM", b"AIFF"): "big", (b"FORM", b"AIFC"): "big",
}  # fmt: skip
"""In which a file says its length, by its mark and kind."""


class UnusableClipError(Exception):
    """A recording cannot be read; the message says why, in words for a person."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of a recording, in seconds; `end`: None for all of it."""

    media: Media
    start: float = 0.0
    end: float | None = None

    def __repr__(self) -> str:
        return f"{self.media!r}[{self.start}:{self.end}]"


@dataclass(frozen=True)
class AudioColumns(MediaColumns):
    """Where recordings stand, and the columns, which may be absent, that say where a clip of one begins and ends."""

    form: ClassVar[str] = "audio"

    start: tuple[str, ...] = ("start",)
    end: tuple[str, ...] = ("end",)

    def reader(self, raw: RawRows, *, learning: bool, per_word: bool) -> ClipReader:
        """Return what reads clips. Raises DataError where the file has no column of recordings."""
        return ClipReader(self, raw)


class ClipReader(CellReader):
    """Reads the clips of one file."""

    def __init__(self, spec: AudioColumns, raw: RawRows) -> None:
        super().__init__(spec, raw)
        self.bounds = [find_column(raw.rows, spec.start), find_column(raw.rows, spec.end)]

    def read(self, row: Mapping[str, Any]) -> Item:
        """Return the clip of a row. Raises RowError where there is none, or it ends before it begins."""
        item = super().read(row)
        start, end = (None if column is None else _second(row, column) for column in self.bounds)
        if end is not None and end <= (start or 0.0):
            raise RowError(f"the clip ends at {end:g} s, where it begins ({start or 0:g} s) or before")
        (name,) = item.value
        return Item({name: Clip(item.value[name], start or 0.0, end)})


def _second(row: Mapping[str, Any], column: str) -> float | None:
    value = lookup(row, column)
    if is_missing(value):
        return None
    try:
        second = float(value)
    except (TypeError, ValueError):
        second = math.nan
    if not (math.isfinite(second) and second >= 0):
        raise RowError(f"column '{column}' is {show(value)}; allowed: seconds, 0 or more")
    return second


def samples(clip: Clip, rate: int, *, most_seconds: float) -> np.ndarray:
    """Return a clip as float32 ``(N,)`` at `rate`, its channels averaged; at most `most_seconds` of it are read.

    Raises UnusableClipError where it is no recording, or holds nothing; SetupError without the extra ``audio``.
    """
    sound, own_rate = _values(clip) if clip.media.values is not None else _decoded(clip, most_seconds)
    if not len(sound):
        raise UnusableClipError("it has no samples there")
    if not np.isfinite(sound).all():
        raise UnusableClipError("it holds values that are no numbers")
    if own_rate == rate:
        return np.ascontiguousarray(sound, np.float32)
    return np.asarray(_library("soxr").resample(np.ascontiguousarray(sound, np.float32), own_rate, rate), np.float32)


def seconds_of(clip: Clip) -> float:
    """Return how long a clip is that `samples` reads, within its recording."""
    if clip.media.values is not None:
        count, rate = max(clip.media.values.shape), clip.media.rate
        assert rate is not None
    else:
        with _source(clip.media) as source, _library("soundfile").SoundFile(source, closefd=False) as file:
            count, rate = file.frames, file.samplerate
    end = count if clip.end is None else min(count, round(clip.end * rate))
    return float(max(0, end - round(clip.start * rate)) / rate)


def _values(clip: Clip) -> tuple[np.ndarray, int]:
    values, rate = clip.media.values, clip.media.rate
    assert values is not None
    if rate is None:
        raise UnusableClipError("numbers without a rate; give {array, sampling_rate}")
    _check_rate(rate)
    sound = values.astype(np.float32)
    if np.issubdtype(values.dtype, np.integer):
        sound /= float(np.iinfo(values.dtype).max) if values.dtype.itemsize < 8 else 32768.0
    if sound.ndim == 2:
        # Whichever side is the shorter is the channels'.
        sound = sound.mean(axis=0 if sound.shape[0] <= sound.shape[1] else 1)
    if sound.ndim != 1:
        raise UnusableClipError(f"its numbers have {sound.ndim} dimensions; allowed: samples, or channels of samples")
    end = len(sound) if clip.end is None else round(clip.end * rate)
    return sound[round(clip.start * rate) : end], rate


def _decoded(clip: Clip, most_seconds: float) -> tuple[np.ndarray, int]:
    soundfile = _library("soundfile")
    try:
        _check_whole(clip.media)
        with _source(clip.media) as source, soundfile.SoundFile(source, closefd=False) as file:
            rate = int(file.samplerate)
            _check_rate(rate)
            if file.format not in _FORMATS:
                raise UnusableClipError(f"it is a file of the kind {file.format}; allowed: {', '.join(_FORMATS)}")
            if not 1 <= file.channels <= MOST_CHANNELS:
                raise UnusableClipError(f"it has {file.channels} channels; allowed: 1 to {MOST_CHANNELS}")
            if not file.frames:
                raise UnusableClipError("it has no samples")
            begin = round(clip.start * rate)
            if begin >= file.frames:
                raise UnusableClipError(
                    f"it ends after {file.frames / rate:.2f} s, before the clip begins ({clip.start:g} s)"
                )
            end = file.frames if clip.end is None else min(round(clip.end * rate), file.frames)
            wanted = min(end - begin, math.ceil(most_seconds * rate))
            file.seek(begin)
            sound = file.read(wanted, dtype="float32", always_2d=True)
    except OSError as error:
        raise UnusableClipError(f"it cannot be read ({error.strerror or error})") from error
    except soundfile.LibsndfileError as error:
        raise UnusableClipError(f"it is no recording that can be read ({error.error_string})") from error
    except (TypeError, ValueError, RuntimeError) as error:  # what soundfile raises of contents that it cannot seek in
        raise UnusableClipError(f"it is no recording that can be read ({error})") from error
    if len(sound) < wanted:
        raise UnusableClipError(f"it breaks off: {len(sound)} of {wanted} samples are there")
    return sound.mean(axis=1), rate


@contextmanager
def _source(media: Media) -> Iterator[int | io.BytesIO]:
    """Yield what soundfile reads of, without a name: by some, such as .raw, it takes any content for samples."""
    if media.content is not None:
        yield io.BytesIO(media.read())
        return
    assert media.path is not None
    with media.path.open("rb") as file:
        yield file.fileno()


def _check_whole(media: Media) -> None:
    """Raise UnusableClipError where a WAV or AIFF file ends before its header says: libsndfile reads what there is."""
    if media.content is not None:
        content = media.read()
        head, size = content[:12], len(content)
    else:
        assert media.path is not None
        with media.path.open("rb") as file:
            head = file.read(12)
        size = media.path.stat().st_size
    order = _BYTE_ORDERS.get((head[:4], head[8:]))
    if order is not None:
        said = int.from_bytes(head[4:8], order) + 8
        # Written to a pipe, a file does not know its length, and says one of the greatest.
        if size < said < _UNKNOWN_BYTES:
            raise UnusableClipError(f"it breaks off: {size} of {said} bytes are there")


def _check_rate(rate: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise UnusableClipError(f"its rate is {rate} Hz; allowed: {RATES[0]} to {RATES[1]}")


def _library(name: str) -> Any:
    return required(name, extra="audio", need=f"sound needs {name}")
