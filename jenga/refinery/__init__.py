"""The Security Refinery: events in JSON or columns to a dense float32 tensor, as a scikit-learn estimator."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "SecurityRefinery": "jenga.refinery.estimator",
    "RefinerySchema": "jenga.refinery.schema",
    "read_schema": "jenga.refinery.schema",
    "infer_schema": "jenga.refinery.infer",
    "load_preset": "jenga.refinery.presets",
    "PRESETS": "jenga.refinery.presets",
    "Refined": "jenga.refinery.result",
    "RawColumns": "jenga.refinery.result",
    "Counters": "jenga.refinery.result",
    "QuarantineRecord": "jenga.refinery.quarantine",
    "drift": "jenga.refinery.stability",
    "explain_rows": "jenga.refinery.explain",
    "collisions": "jenga.refinery.explain",
    "RefineBatches": "jenga.refinery.distributed",
    "fit_shards": "jenga.refinery.distributed",
    "merge_states": "jenga.refinery.distributed",
    "refine_record_batches": "jenga.refinery.distributed",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'jenga.refinery' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
