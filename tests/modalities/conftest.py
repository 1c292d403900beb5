"""What a modality makes of an experiment's rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jenga.config.schema import ExperimentConfig
from jenga.modalities import modality_of
from jenga.modalities.base import Prepared
from jenga.rows.load import load_sources
from jenga.run.specs import source_specs


@pytest.fixture
def prepared() -> Callable[[ExperimentConfig, Path], Prepared]:
    """Return a function that reads the rows of an experiment and makes what turns them into inputs."""

    def make(config: ExperimentConfig, workdir: Path) -> Prepared:
        modality, specs = modality_of(config.model.backbone_type), source_specs(config)
        reads = modality.reads(config, specs)
        loaded = load_sources(specs, data=config.data, files=[reads] * len(specs))
        return modality.prepare(loaded, reads.files, config, workdir)

    return make
