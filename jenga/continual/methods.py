"""The callbacks of a training in stages, by its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator

from jenga.callbacks import BaseCallback
from jenga.config.schema import ExperimentConfig
from jenga.continual.agem import Agem
from jenga.continual.ewc import Ewc
from jenga.continual.judging import judged_heads
from jenga.continual.place import place_of
from jenga.continual.record import ContinualRecord
from jenga.model import MultiTaskModel
from jenga.rows.batches import Source
from jenga.trainer.stages import stages_of


def continual_callbacks(
    config: ExperimentConfig, model: MultiTaskModel, sources: Sequence[Source], accelerator: Accelerator
) -> list[BaseCallback[Any]]:
    """Return what a built experiment in stages adds to its training; nothing where it has none.

    Raises ConfigError and DataError as `stages_of` and `judged_heads` do.
    """
    if not config.stages:
        return []
    place, given = place_of(config, sources, accelerator), config.continual
    found: list[BaseCallback[Any]] = []
    if given.ewc is not None:
        found.append(Ewc(place, **dict(given.ewc)))
    if given.agem is not None:
        found.append(Agem(place, **dict(given.agem)))
    return [*found, ContinualRecord(place, model, prototypes=given.prototypes)]


def check_stages(config: ExperimentConfig, model: MultiTaskModel, sources: Sequence[Source]) -> None:
    """Raise ConfigError or DataError where the stages of a built experiment cannot be told apart or judged."""
    if config.stages:
        judged_heads(stages_of(sources, config), {source.name: source for source in sources}, model)
