"""Where a training in stages is, and what its parts work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from jenga.config.schema import ExperimentConfig
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.memory import Kept
from jenga.rows.order import OnDemand
from jenga.rows.split import TRAIN
from jenga.rows.stages import Stage
from jenga.trainer.recipe import longest_row, rows_of_pass, trainings_of
from jenga.trainer.stages import stages_of


@dataclass(frozen=True)
class Place:
    """The stages, the sources by name, and the machine that trains. `sizes`: rows of a forward pass by source."""

    stages: Sequence[Stage]
    sources: Mapping[str, Source]
    seed: int
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]
    scale: Callable[[], float]
    sizes: Mapping[str, int]

    def of(self, epoch: int) -> int:
        """Return the stage of `epoch`, both from 0; behind the last one it is the last."""
        for number, stage in enumerate(self.stages):
            epoch -= stage.epochs
            if epoch < 0:
                return number
        return len(self.stages) - 1

    def ending(self, epoch: int) -> int | None:
        """Return the stage whose last epoch `epoch` is; None where it goes on."""
        end = 0
        for number, stage in enumerate(self.stages):
            end += stage.epochs
            if epoch == end - 1:
                return number
        return None

    def split(self, source: str) -> EncodedSplit:
        """Return the training rows of a source."""
        return self.sources[source].splits[TRAIN]

    def learnt(self, rows: Sequence[Kept]) -> Sequence[Kept]:
        """Return those of `rows` that training has not left out."""
        if not any(source.splits[TRAIN].left_out for source in self.sources.values()):
            return rows
        there = np.fromiter((each.row not in self.split(each.source).left_out for each in rows), bool, len(rows))
        places = np.flatnonzero(there)
        return OnDemand(lambda at: rows[places[at]], range(len(places)))

    def size(self, source: str) -> int:
        """Return the rows of a forward pass."""
        return self.sizes[source]


def place_of(config: ExperimentConfig, sources: Sequence[Source], accelerator: Accelerator) -> Place:
    """Return the place of a built experiment. Raises as `stages_of`."""
    trainings = trainings_of(config)

    def scale() -> float:
        return 1.0 if accelerator.scaler is None else float(accelerator.scaler.get_scale())

    return Place(
        stages_of(sources, config),
        {source.name: source for source in sources},
        config.training.seed,
        accelerator.device,
        accelerator.autocast,
        scale,
        {source.name: rows_of_pass(trainings[source.encoder], longest_row(config)) for source in sources},
    )
