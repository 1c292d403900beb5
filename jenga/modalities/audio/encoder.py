"""Recordings as the features that a model of sound reads, computed once."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch

from jenga.ahead import checked
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, JengaError, SetupError
from jenga.extras import command, is_here
from jenga.modalities.audio.augment import augmented
from jenga.modalities.audio.clips import Clip, UnusableClipError, samples, seconds_of
from jenga.modalities.audio.settings import TINY_AUDIO, AudioConfig, AugmentConfig
from jenga.modalities.audio.spectrogram import spectrogram
from jenga.modalities.audio.tiny import tiny_extractor
from jenga.modalities.audio.windows import starts
from jenga.modalities.base import Encoder, Facts, Shown
from jenga.modalities.store import FeatureStore, PassingStore
from jenga.modalities.text.pretrained import cannot_load, checkpoint_of
from jenga.modalities.text.remote_code import never_asked
from jenga.rows.batches import Encoded
from jenga.rows.content import Cells, Content
from jenga.rows.parse import Rows, SourceSpec

logger = logging.getLogger(__name__)
_FORMAT = 2
SPECTRA = "input_features"
"""What Whisper calls its inputs, log-mel spectra whose time is the last axis."""
SUPPORTED = "Whisper, Wav2Vec2, HuBERT, WavLM or AST"
_USUAL_SECONDS, _MOST_SECONDS = 30.0, 600.0
"""Kept of a clip where nothing is said: heard at once, and in windows."""
_FRAMES_A_SECOND = 100
"""Of AST's spectra."""
_LEAST_SECONDS = 0.1
"""What every extractor and network takes: their windows and first layers are of 25 ms, and some need two of them."""


class EncodedClips(Encoded):
    """The features of M clips, read from a store when a batch is made of them.

    Features are samples ``(T,)``, or a spectrum: ``(F, T)`` of Whisper, ``(T, F)`` of others. `keys`: of each clip, or
    of each of its windows where it is `windowed`. `least`: frames that a batch has at least. `augment`: how training
    changes them; None: it does not.
    """

    unit: ClassVar[str] = "frames"

    def __init__(
        self, name: str, store: FeatureStore, keys: Sequence[Sequence[str]], *, windowed: bool, least: int,
        truncated: np.ndarray, augment: AugmentConfig | None = None,
    ) -> None:  # fmt: skip
        self.name, self.store, self.keys, self.windowed = name, store, list(keys), windowed
        self.least, self.truncated, self.augment = least, truncated, augment
        self._lengths = np.array([sum(self._shape(key)[self._axis] for key in each) for each in self.keys], np.int64)

    @property
    def _axis(self) -> int:
        return 1 if self.name == SPECTRA else 0

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each clip, or samples where the model reads these; int64 (M,)."""
        return self._lengths

    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return the features, filled up behind with silence, and ``attention_mask (B, T)`` of what is no filling.

        Where clips are windowed, a further axis behind the first one is that of a row's windows.
        """
        values, mask = self._filled([self._features(key) for row in index for key in self.keys[row]])
        if self.windowed:
            counts = [len(self.keys[row]) for row in index]
            values, mask = (
                torch.nn.utils.rnn.pad_sequence(list(each.split(counts)), batch_first=True) for each in (values, mask)
            )
        return {self.name: values, "attention_mask": mask}

    def _filled(self, clips: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(self.least, *(clip.shape[self._axis] for clip in clips))
        mask = torch.zeros(len(clips), width, dtype=torch.int64)
        filled = []
        for row, clip in enumerate(clips):
            length = clip.shape[self._axis]
            mask[row, :length] = 1
            behind = [0, 0] * (clip.ndim - 1 - self._axis) + [0, width - length]
            filled.append(torch.nn.functional.pad(clip, behind, value=self._silence(clip)))
        return torch.stack(filled), mask

    def changed(self, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return `inputs` with stretches of each clip blanked, where that is set."""
        if self.augment is None:
            return inputs
        # Whisper's spectra have their time last, those of others are frames of bands.
        values, mask = inputs[self.name], inputs["attention_mask"]
        there = mask.any(-1) if self.windowed else slice(None)
        values, mask = values[there], mask[there]
        turned = self._axis == 0 and values.ndim == 3
        sound = values.transpose(1, 2) if turned else values
        changed = augmented(sound, mask, self.augment, generator)
        made = inputs[self.name].clone()
        made[there] = changed.transpose(1, 2) if turned else changed
        return {**inputs, self.name: made}

    def extent(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """Return the frames, or samples, of the longest clip of a batch."""
        return math.prod(inputs["attention_mask"].shape[1:])

    def _silence(self, clip: torch.Tensor) -> float:
        # Whisper's features end 8 powers of ten below a clip's loudest place, and four of them are one unit.
        return float(clip.max()) - 2.0 if self.name == SPECTRA else 0.0

    def _features(self, key: str) -> torch.Tensor:
        features = self.store.get(key)
        if features is None:
            raise SetupError(f"{self.store.folder}: cached features are gone while they are in use; start again")
        return features.float()

    def _shape(self, key: str) -> tuple[int, ...]:
        shape = self.store.shape(key)
        assert shape is not None, "features are computed before rows are encoded"
        return shape


class AudioEncoder(Encoder):
    """Features by a feature extractor of transformers.

    `seconds`: kept of a clip; `window`: what of it is heard at a time, each `stride` seconds.
    """

    decodes = True

    def __init__(self, extractor: Any, config: AudioConfig, *, store: FeatureStore) -> None:
        self.extractor, self.store = extractor, store
        self.windowed = config.window_seconds is not None
        self.window = _seconds(config, extractor)
        self.seconds = config.max_seconds or _MOST_SECONDS if self.windowed else self.window
        self.stride = config.window_stride_seconds or self.window
        self.least_seconds = min(config.min_seconds, self.window)
        # As much sound as of rows that are heard at once.
        self.rows_at_once = max(1, int(self.rows_at_once * self.window / self.seconds))
        self.rate = int(extractor.sampling_rate)
        self.augment = config.augment
        self.name: str = extractor.model_input_names[0]
        settings = json.dumps(extractor.to_dict(), sort_keys=True, default=str)
        self._made_by = hashlib.sha256(f"{_FORMAT} {self.window} {settings}".encode()).digest()

    @classmethod
    def of(cls, config: AudioConfig, store: FeatureStore, folder: str | None = None) -> Self:
        """Return the encoder of a model; folder: where its extractor stands, default: with the model.

        Raises SetupError where the extractor cannot be had, ConfigError where it is of an unknown kind, or reads less
        than `config` says.
        """
        from transformers import AutoFeatureExtractor

        name = folder or checkpoint_of(config.base_model)
        if folder is None and config.base_model == TINY_AUDIO:
            return cls(tiny_extractor(), config, store=store)
        try:
            with never_asked(config.trust_remote_code):
                extractor = AutoFeatureExtractor.from_pretrained(name, trust_remote_code=config.trust_remote_code)
        except JengaError:
            raise
        except Exception as error:  # whatever files that say anything make transformers raise
            raise cannot_load("model.base_model", name, error) from error
        if not hasattr(extractor, "sampling_rate"):
            raise SetupError(f"model.base_model: '{name}' is no model of sound: its extractor has no sampling_rate")
        if extractor.model_input_names[0] == SPECTRA and not _is_whispers(extractor):
            # Their time is another axis, and some join neighbouring frames.
            kind = type(extractor).__name__
            raise ConfigError(f"model.base_model: the extractor of '{name}' is a {kind}; choose {SUPPORTED}")
        return cls(extractor, config, store=store)

    def save(self, folder: Path) -> None:
        """Write the extractor's settings beside the weights, as transformers does."""
        self.extractor.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path, config: ExperimentConfig) -> Self:
        """Read what `save` wrote; where the run cached features is no part of the model."""
        return cls.of(config.model, PassingStore(), str(folder))

    def passing(self) -> Self:
        """Return an encoder that leaves no features of rows behind."""
        made = copy.copy(self)
        made.store = PassingStore()
        return made

    def unusable(self, rows: Rows, spec: SourceSpec) -> Mapping[int, str]:
        """Compute the features of all clips that have none yet, and return which cannot be read, and why."""
        clips = _clips(rows.content)

        def compute(row: int) -> str | bytes:
            """Return the digest of a clip's file; or why it cannot be read."""
            try:
                for window in self._windows(clips[row]):
                    self._kept(window)
                return clips[row].media.digest()
            except (UnusableClipError, OSError) as error:
                return f"{clips[row].media.name}: {error}"

        found = {}
        found_of = checked("features of sound", compute, len(clips), workers=self.workers, progress=self.progress)
        for row, said in enumerate(found_of):
            if isinstance(said, str):
                found[row] = said
                continue
            clips[row].media.know(said)
        return found

    def encode(self, rows: Rows, spec: SourceSpec) -> EncodedClips:
        """Return the features of clips, all of which `unusable` has passed."""
        clips = _clips(rows.content)
        keys = [[self._kept(window) for window in self._windows(clip)] for clip in clips]
        cut = np.array([seconds_of(clip) > self.seconds + 1 / self.rate for clip in clips], bool)
        return EncodedClips(
            self.name,
            self.store,
            keys,
            windowed=self.windowed,
            least=self.least_frames,
            truncated=cut,
            augment=self.augment,
        )

    def _windows(self, clip: Clip) -> Iterator[Clip]:
        """Yield what of a clip is heard at a time; where that is all of it, the clip.

        The first one comes before the recording is asked how long it is, which only one that can be read knows.
        """
        if not self.windowed:
            yield clip
            return
        last = min(clip.start + self.seconds, math.inf if clip.end is None else clip.end)
        cut = lambda at: replace(clip, start=clip.start + at, end=min(clip.start + at + self.window, last))  # noqa: E731
        yield cut(0.0)
        seconds = min(seconds_of(clip), self.seconds)
        for at in islice(starts(seconds, self.window, self.stride, least=_LEAST_SECONDS), 1, None):
            yield cut(at)

    @property
    def longest(self) -> str:
        """The seconds that are kept of a clip."""
        return f"{self.seconds:g} s"

    @property
    def least_frames(self) -> int:
        """Frames that a spectrum of Whisper is filled up to; 0 of others."""
        if self.name != SPECTRA:
            return 0
        return round(self.least_seconds * self.rate / int(self.extractor.hop_length))

    def shown(self, content: Content, row: int) -> Shown:
        """Return the spectrogram of a clip; where its file is gone since its features were made, that it is."""
        clip = _clips(content)[row]
        if not is_here("matplotlib"):
            return Shown(f"{clip.media.name}: not drawn, as matplotlib is not installed here: {command('report')}")
        try:
            return Shown(pictures=(spectrogram(clip, self.rate),))
        except (UnusableClipError, OSError) as error:
            return Shown(f"{clip.media.name}: {error}")

    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return how much of a recording is read."""
        data = {"rate of sound": f"{self.rate} Hz, one channel", "seconds of a clip": f"{self.seconds:g}"}
        if self.windowed:
            data["seconds of a window"] = f"{self.window:g}, one each {self.stride:g}"
        return Facts(data, [f"Of a longer recording, only the first {self.seconds:g} seconds are read."])

    def _kept(self, clip: Clip) -> str:
        """Return the key of a clip's features, which are computed where the store has none."""
        key = self._key(clip)
        if self.store.shape(key) is None:
            self.store.put(key, self._features(clip))
        return key

    def _key(self, clip: Clip) -> str:
        digest = hashlib.sha256(self._made_by + clip.media.digest())
        digest.update(f"{clip.start} {clip.end}".encode())
        return digest.hexdigest()

    def _features(self, clip: Clip) -> np.ndarray:
        sound = samples(clip, self.rate, most_seconds=self.window)
        # What the longest clip reads, to the sample: resampling may add one.
        sound = sound[: round(self.window * self.rate)]
        sound = np.pad(sound, (0, max(0, round(_LEAST_SECONDS * self.rate) - len(sound))))
        made = self.extractor(sound, sampling_rate=self.rate, padding=False, return_tensors="np")
        return np.asarray(made[self.name][0], np.float16)


def _is_whispers(extractor: Any) -> bool:
    from transformers import WhisperFeatureExtractor

    return isinstance(extractor, WhisperFeatureExtractor)


def _seconds(config: AudioConfig, extractor: Any) -> float:
    """Return the seconds heard at a time. Raises ConfigError where the extractor would cut what `config` asks for."""
    from transformers import ASTFeatureExtractor

    readable = math.inf
    if _is_whispers(extractor):
        readable = float(extractor.chunk_length)
    elif isinstance(extractor, ASTFeatureExtractor):
        readable = extractor.max_length / _FRAMES_A_SECOND
    key = "max_seconds" if config.window_seconds is None else "window_seconds"
    wanted: float | None = getattr(config, key)
    if wanted is not None and wanted > readable:
        fix = "lower it, or give window_seconds" if key == "max_seconds" else "lower it"
        raise ConfigError(
            f"model.{key}: {wanted:g} is more than the {readable:g} seconds that '{config.base_model}' reads of a clip"
            f"; {fix}"
        )
    return wanted or min(_USUAL_SECONDS, readable)


def _clips(content: Content) -> list[Clip]:
    (clips,) = cast(Cells, content).columns.values()
    return list(clips)
