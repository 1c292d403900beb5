"""Jenga: train many tasks over shared encoders from one YAML file."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "train": "jenga.experiment",
    "load": "jenga.inference.predictor",
    "Predictor": "jenga.inference.predictor",
    "accelerate": "jenga.peft.accelerate",
    "acceleration": "jenga.peft.accelerate",
    "restore": "jenga.peft.accelerate",
    "backend_info": "jenga.kernels",
    "SecurityRefinery": "jenga.refinery",
    "BackboneManager": "jenga.backbones",
    "BaseBackbone": "jenga.backbones",
    "TASK_REGISTRY": "jenga.tasks",
    "BaseTask": "jenga.tasks",
    "Metric": "jenga.tasks.metrics",
    "CALLBACK_REGISTRY": "jenga.callbacks",
    "BaseCallback": "jenga.callbacks",
    "JengaError": "jenga.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("jenga")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'jenga' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
