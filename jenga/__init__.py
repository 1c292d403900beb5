"""Jenga: train many tasks over shared encoders from one YAML file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

_LIBRARIES = ("_C", "_C_off")
"""The compiled library, or what says that this installation does without."""

_PUBLIC = {
    "train": "jenga.run.experiment",
    "tune": "jenga.tuning.study",
    "load": "jenga.inference.loading",
    "Predictor": "jenga.inference.predictor",
    "JengaClassifier": "jenga.estimator",
    "accelerate": "jenga.peft.accelerate",
    "acceleration": "jenga.peft.accelerate",
    "restore": "jenga.peft.accelerate",
    "backend_info": "jenga.kernels",
    "SecurityRefinery": "jenga.refinery",
    "BackboneManager": "jenga.modalities",
    "BaseBackbone": "jenga.modalities",
    "MODALITIES": "jenga.modalities",
    "Modality": "jenga.modalities",
    "Encoder": "jenga.modalities",
    "TASK_REGISTRY": "jenga.tasks",
    "BaseTask": "jenga.tasks",
    "Metric": "jenga.labels.metric",
    "CALLBACK_REGISTRY": "jenga.callbacks",
    "BaseCallback": "jenga.callbacks",
    "Action": "jenga.callbacks",
    "OPTIMIZER_REGISTRY": "jenga.optimizers",
    "SCHEDULER_REGISTRY": "jenga.optimizers",
    "JengaError": "jenga.errors",
}

__all__ = ["__version__", *_PUBLIC]


def _installed() -> ModuleSpec | None:
    """Return the installed jenga where this is a clone's folder; None where this is the one to use.

    Python that starts in the clone's root finds the sources first, without the compiled library. An editable
    installation has a finder that knows where the library is.
    """
    if any(importlib.util.find_spec(f"jenga.{name}") for name in _LIBRARIES):
        return None
    for entry in sys.path:
        spec = PathFinder.find_spec("jenga", [entry])
        if spec is None or spec.loader is None or spec.origin == __file__:
            continue
        if any(PathFinder.find_spec(f"jenga.{name}", spec.submodule_search_locations) for name in _LIBRARIES):
            return spec
    raise ImportError(
        f"jenga._C, the compiled kernels, is missing beside {__file__}, and no installed jenga is on sys.path; is this "
        "the source? run pip install . in its folder"
    )


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("jenga")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'jenga' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


if (_spec := _installed()) is not None:
    # The import system hands out what stands here in the end; so none of the clone's files mixes with the installed.
    assert _spec.loader is not None
    sys.modules["jenga"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["jenga"])
else:
    from jenga.threads import limit_spinning

    limit_spinning()
