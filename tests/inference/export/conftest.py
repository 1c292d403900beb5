"""Models of every kind with random weights, as folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jenga.run.build import build
from jenga.run.experiment import load_config

Saved = Callable[[dict[str, Any]], Path]


@pytest.fixture
def saved_model(tmp_path: Path) -> Saved:
    """Return a function that saves the model of an experiment, moved away from where it starts; gives its folder."""

    def make(experiment: dict[str, Any]) -> Path:
        bundle = build(load_config(experiment), tmp_path / "work").bundle
        with torch.no_grad():
            for parameter in bundle.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        bundle.save(tmp_path / "best")
        return tmp_path / "best"

    return make
