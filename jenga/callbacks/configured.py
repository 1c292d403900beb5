"""The callbacks of a run, in their order: those of the configuration, early stopping, tracking, progress."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from jenga.callbacks.base import CALLBACK_REGISTRY, BaseCallback
from jenga.callbacks.early_stopping import EarlyStopping
from jenga.callbacks.mlflow import MlflowCallback
from jenga.callbacks.mlflow_server import is_tracked
from jenga.callbacks.progress import ProgressCallback
from jenga.config.schema import ExperimentConfig


def named_callbacks(config: ExperimentConfig) -> list[BaseCallback]:
    """Return those in the block ``callbacks`` of `config`."""
    blocks = {name: getattr(config.callbacks, name) for name in type(config.callbacks).model_fields}
    return [CALLBACK_REGISTRY[name](**block.model_dump()) for name, block in blocks.items() if block is not None]


def beside_callbacks(config: ExperimentConfig) -> list[BaseCallback]:
    """Return those that each process of a run has: all that `config` asks for but tracking and progress."""
    found = named_callbacks(config)
    if (stopping := config.early_stopping) is not None:
        found.append(EarlyStopping(patience=stopping.patience, min_delta=stopping.min_delta))
    return found


def configured_callbacks(config: ExperimentConfig, console: Console) -> list[BaseCallback]:
    """Return the callbacks that `config` asks for; progress is shown on `console`."""
    found = beside_callbacks(config)
    if is_tracked(config.tracking):
        found.append(
            MlflowCallback(config.tracking, project=str(config.project_name), output_dir=Path(config.output_dir))
        )
    return [*found, ProgressCallback(console)]
