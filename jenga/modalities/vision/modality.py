"""Pictures as a modality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jenga.config.checks import frozen_from_nothing
from jenga.config.explain import Finding
from jenga.config.schema import ExperimentConfig
from jenga.config.tasks import TaskConfig
from jenga.config.yaml12 import Document
from jenga.modalities.base import MODALITIES, Modality
from jenga.modalities.vision.backbone import VisionBackbone
from jenga.modalities.vision.encoder import VisionEncoder
from jenga.modalities.vision.pictures import ImageColumns
from jenga.modalities.vision.pixels import MEAN, STD, Pixels
from jenga.modalities.vision.settings import TINY_VISION, VisionColumnKeys, VisionConfig
from jenga.rows.content import ContentSpec
from jenga.rows.loaded import LoadedSource

__all__ = ["VisionBackbone", "VisionModality"]

_USUAL_SIZE = 224


@MODALITIES.register("vision")
class VisionModality(Modality):
    """Pictures, read as pixels."""

    noun = "pictures"
    inputs = ("pixel_values",)
    settings = VisionConfig
    columns = VisionColumnKeys
    content_specs = (ImageColumns,)
    hub_noun = "image"
    extra = "vision"

    def checks(self, document: Document) -> Iterable[Finding]:
        """Return that adapters freeze a preset, whose weights would stay random."""
        if document.value_at(("model", "base_model")) == TINY_VISION:
            yield from frozen_from_nothing(document, TINY_VISION)

    def content(self, tasks: Sequence[TaskConfig], config: ExperimentConfig) -> ImageColumns:
        """Return where the pictures of tasks stand."""
        columns: Any = tasks[0].columns
        return ImageColumns(columns=(("image", (columns.image or "image",)),), root=config.data_root or "")

    def fit(self, loaded: Sequence[LoadedSource], config: ExperimentConfig, workdir: Path) -> VisionEncoder:
        """Return pixels as ImageNet's models have them, until the backbone says how its own were (`sources`)."""
        size = config.model.image_size or _USUAL_SIZE
        return VisionEncoder(Pixels(size, MEAN, STD, config.model.fit))

    def load(self, folder: Path, config: ExperimentConfig) -> VisionEncoder:
        """Read how pictures become numbers."""
        return VisionEncoder.load(folder, config)

    def example(self, specs: Sequence[ContentSpec], described: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with a grey picture."""
        return {column: [[128] * 32] * 32 for spec in specs for column in spec.wanted}
