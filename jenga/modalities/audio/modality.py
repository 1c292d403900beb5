"""Sound as a modality: recordings, or clips of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jenga.config.checks import frozen_from_nothing, parted_windows
from jenga.config.explain import Finding
from jenga.config.schema import ExperimentConfig
from jenga.config.tasks import TaskConfig
from jenga.config.yaml12 import Document
from jenga.files import cache_folder
from jenga.modalities.audio.backbone import AudioBackbone
from jenga.modalities.audio.clips import AudioColumns
from jenga.modalities.audio.encoder import AudioEncoder
from jenga.modalities.audio.settings import TINY_AUDIO, AudioColumnKeys, AudioConfig
from jenga.modalities.base import MODALITIES, Modality
from jenga.modalities.store import FeatureStore
from jenga.rows.content import ContentSpec
from jenga.rows.loaded import LoadedSource

__all__ = ["AudioBackbone", "AudioModality"]


@MODALITIES.register("audio")
class AudioModality(Modality):
    """Recordings, read as spectra or samples."""

    noun = "sound"
    inputs = ("input_features", "input_values")
    settings = AudioConfig
    columns = AudioColumnKeys
    content_specs = (AudioColumns,)
    hub_noun = "audio"
    extra = "audio"
    keys = frozenset({"data.cache_dir"})
    frames = True

    def checks(self, document: Document) -> Iterable[Finding]:
        """Return that adapters freeze a preset, whose weights would stay random, and windows of parted encoders."""
        if document.value_at(("model", "base_model")) == TINY_AUDIO:
            yield from frozen_from_nothing(document, TINY_AUDIO)
        yield from parted_windows(document, ("model", "window_seconds"))

    def content(self, tasks: Sequence[TaskConfig], config: ExperimentConfig) -> AudioColumns:
        """Return where the recordings of tasks stand, and the columns of a clip's bounds."""
        columns: Any = tasks[0].columns
        return AudioColumns(
            columns=(("audio", (columns.audio or "audio",)),),
            root=config.data_root or "",
            start=(columns.start or "start",),
            end=(columns.end or "end",),
        )

    def fit(self, loaded: Sequence[LoadedSource], config: ExperimentConfig, workdir: Path) -> AudioEncoder:
        """Return the features as the checkpoint's own extractor makes them; nothing is fitted."""
        cache_dir = config.data.cache_dir
        return AudioEncoder.of(config.model, FeatureStore(Path(cache_dir) if cache_dir else cache_folder("features")))

    def load(self, folder: Path, config: ExperimentConfig) -> AudioEncoder:
        """Read the extractor in `folder`."""
        return AudioEncoder.load(folder, config)

    def example(self, specs: Sequence[ContentSpec], described: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with a second of silence."""
        silence = {"array": [0.0] * 16_000, "sampling_rate": 16_000}
        return {column: silence for spec in specs for column in spec.wanted}
