"""Recordings as the features that a model of sound reads, computed once."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch

from jenga.ahead import checked
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, JengaError, SetupError
from jenga.modalities.audio.augment import augmented
from jenga.modalities.audio.clips import Clip, UnusableClipError, is_longer, samples
from jenga.modalities.audio.settings import TINY_AUDIO, AudioConfig, AugmentConfig
from jenga.modalities.audio.tiny import tiny_extractor
from jenga.modalities.base import Encoder, Facts
from jenga.modalities.store import FeatureStore, PassingStore
from jenga.modalities.text.pretrained import cannot_load, checkpoint_of
from jenga.modalities.text.remote_code import never_asked
from jenga.rows.batches import Encoded
from jenga.rows.content import Cells
from jenga.rows.parse import Rows, SourceSpec

logger = logging.getLogger(__name__)
_FORMAT = 2
SPECTRA = "input_features"
"""What Whisper calls its inputs, log-mel spectra whose time is the last axis."""
SUPPORTED = "Whisper, Wav2Vec2, HuBERT, WavLM or AST"
_USUAL_SECONDS = 30.0
_FRAMES_A_SECOND = 100
"""Of AST's spectra."""
_LEAST_SECONDS = 0.1
"""What every extractor and network takes: their windows and first layers are of 25 ms, and some need two of them."""


class EncodedClips(Encoded):
    """The features of M clips, read from a store when a batch is made of them.

    Features are samples ``(T,)``, or a spectrum: ``(F, T)`` of Whisper, ``(T, F)`` of others. `least`: frames that a
    batch has at least. `augment`: how training changes them; None: it does not.
    """

    unit: ClassVar[str] = "frames"

    def __init__(
        self,
        name: str,
        store: FeatureStore,
        keys: Sequence[str],
        *,
        least: int,
        truncated: np.ndarray,
        augment: AugmentConfig | None = None,
    ) -> None:
        self.name, self.store, self.keys, self.least, self.augment = name, store, list(keys), least, augment
        self.truncated = truncated
        self._lengths = np.array([self._shape(key)[self._axis] for key in self.keys], np.int64)

    @property
    def _axis(self) -> int:
        return 1 if self.name == SPECTRA else 0

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each clip, or samples where the model reads these; int64 (M,)."""
        return self._lengths

    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return the features, filled up behind with silence, and ``attention_mask (B, T)`` of what is no filling."""
        clips = [self._features(row) for row in index]
        width = max(self.least, *(clip.shape[self._axis] for clip in clips))
        mask = torch.zeros(len(clips), width, dtype=torch.int64)
        filled = []
        for row, clip in enumerate(clips):
            length = clip.shape[self._axis]
            mask[row, :length] = 1
            behind = [0, 0] * (clip.ndim - 1 - self._axis) + [0, width - length]
            filled.append(torch.nn.functional.pad(clip, behind, value=self._silence(clip)))
        return {self.name: torch.stack(filled), "attention_mask": mask}

    def changed(self, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return `inputs` with stretches of each clip blanked, where that is set."""
        if self.augment is None:
            return inputs
        # Whisper's spectra have their time last, those of others are frames of bands.
        turned = self._axis == 0 and inputs[self.name].ndim == 3
        sound = inputs[self.name].transpose(1, 2) if turned else inputs[self.name]
        changed = augmented(sound, inputs["attention_mask"], self.augment, generator)
        return {**inputs, self.name: changed.transpose(1, 2) if turned else changed}

    def extent(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """Return the frames, or samples, of the longest clip of a batch."""
        return inputs["attention_mask"].shape[1]

    def _silence(self, clip: torch.Tensor) -> float:
        # Whisper's features end 8 powers of ten below a clip's loudest place, and four of them are one unit.
        return float(clip.max()) - 2.0 if self.name == SPECTRA else 0.0

    def _features(self, row: int) -> torch.Tensor:
        features = self.store.get(self.keys[row])
        if features is None:
            raise SetupError(f"{self.store.folder}: cached features are gone while they are in use; start again")
        return features.float()

    def _shape(self, key: str) -> tuple[int, ...]:
        shape = self.store.shape(key)
        assert shape is not None, "features are computed before rows are encoded"
        return shape


class AudioEncoder(Encoder):
    """Features by a feature extractor of transformers. `seconds`: kept of a clip."""

    decodes = True

    def __init__(self, extractor: Any, *, seconds: float, least_seconds: float, store: FeatureStore) -> None:
        self.extractor, self.seconds, self.store = extractor, seconds, store
        self.least_seconds = min(least_seconds, seconds)
        self.rate = int(extractor.sampling_rate)
        self.augment: AugmentConfig | None = None
        self.name: str = extractor.model_input_names[0]
        settings = json.dumps(extractor.to_dict(), sort_keys=True, default=str)
        self._made_by = hashlib.sha256(f"{_FORMAT} {seconds} {settings}".encode()).digest()

    @classmethod
    def of(cls, config: AudioConfig, store: FeatureStore, folder: str | None = None) -> Self:
        """Return the encoder of a model; folder: where its extractor stands, default: with the model.

        Raises SetupError where the extractor cannot be had, ConfigError where it is of an unknown kind, or reads less
        than `config` says.
        """
        from transformers import AutoFeatureExtractor

        name = folder or checkpoint_of(config.base_model)
        if folder is None and config.base_model == TINY_AUDIO:
            return cls._as(config, tiny_extractor(), store)
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
        return cls._as(config, extractor, store)

    @classmethod
    def _as(cls, config: AudioConfig, extractor: Any, store: FeatureStore) -> Self:
        made = cls(extractor, seconds=_seconds(config, extractor), least_seconds=config.min_seconds, store=store)
        made.augment = config.augment
        return made

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
        clips = _clips(rows)

        def compute(row: int) -> str | bytes:
            """Return the digest of a clip's file; or why it cannot be read."""
            try:
                self._kept(clips[row])
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
        clips = _clips(rows)
        keys = [self._kept(clip) for clip in clips]
        cut = np.array([is_longer(clip, self.seconds) for clip in clips], bool)
        return EncodedClips(self.name, self.store, keys, least=self.least_frames, truncated=cut, augment=self.augment)

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

    def facts(self, specs: Sequence[SourceSpec]) -> Facts:
        """Return how much of a recording is read."""
        data = {"rate of sound": f"{self.rate} Hz, one channel", "seconds of a clip": f"{self.seconds:g}"}
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
        sound = samples(clip, self.rate, most_seconds=self.seconds)
        # What the longest clip reads, to the sample: resampling may add one.
        sound = sound[: round(self.seconds * self.rate)]
        sound = np.pad(sound, (0, max(0, round(_LEAST_SECONDS * self.rate) - len(sound))))
        made = self.extractor(sound, sampling_rate=self.rate, padding=False, return_tensors="np")
        return np.asarray(made[self.name][0], np.float16)


def _is_whispers(extractor: Any) -> bool:
    from transformers import WhisperFeatureExtractor

    return isinstance(extractor, WhisperFeatureExtractor)


def _seconds(config: AudioConfig, extractor: Any) -> float:
    """Return the seconds kept of a clip. Raises ConfigError where the extractor would cut what `config` asks for."""
    from transformers import ASTFeatureExtractor

    readable = math.inf
    if _is_whispers(extractor):
        readable = float(extractor.chunk_length)
    elif isinstance(extractor, ASTFeatureExtractor):
        readable = extractor.max_length / _FRAMES_A_SECOND
    if config.max_seconds is not None and config.max_seconds > readable:
        raise ConfigError(
            f"model.max_seconds: {config.max_seconds:g} is more than the {readable:g} seconds that "
            f"'{config.base_model}' reads of a clip; lower it, or leave it out"
        )
    return config.max_seconds or min(_USUAL_SECONDS, readable)


def _clips(rows: Rows) -> list[Clip]:
    (clips,) = cast(Cells, rows.content).columns.values()
    return list(clips)
