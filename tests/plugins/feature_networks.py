"""Backbones over five features."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from jenga.modalities import BackboneManager
from jenga.modalities.events.backbone import SequentialBackbone, SequentialConfig

N_FEATURES = 5


def config(base_model: str = "security_mlp_v1", n_features: int = N_FEATURES, **settings: Any) -> SequentialConfig:
    return SequentialConfig(base_model=base_model, **settings).with_features(n_features)


def made(*names: str, **settings: Any) -> SequentialBackbone:
    found = config(*names, **settings)
    backbone = BackboneManager.create("sequential", found.base_model, found)
    assert isinstance(backbone, SequentialBackbone)
    return backbone


def training_features() -> Any:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, N_FEATURES)).astype(np.float32)
    features[:, 1] = np.where(np.arange(400) % 50 == 0, np.arange(400), 0)  # nearly always 0
    features[:, 2] = features[:, 2] > 0
    return features


def fitted(**settings: Any) -> SequentialBackbone:
    with tempfile.TemporaryDirectory() as folder:
        found = config("mlp", **{"hidden_sizes": [6, 4], **settings}).fitted(training_features, Path(folder))
    backbone = BackboneManager.create("sequential", found.base_model, found)
    assert isinstance(backbone, SequentialBackbone)
    return backbone
