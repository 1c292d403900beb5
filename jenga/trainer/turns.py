"""Whose rows a training takes when, by its configuration."""

from __future__ import annotations

from collections.abc import Sequence

from jenga.config.schema import ExperimentConfig, resolved
from jenga.rows.batches import Source
from jenga.rows.sampling import Sampler
from jenga.trainer.recipe import trainings_of


def make_sampler(sources: Sequence[Source], config: ExperimentConfig, *, halves: bool = False) -> Sampler:
    """Return the sampler over the training rows of `sources`; halves: as `Sampler` has it."""
    training, own = resolved(config.training), trainings_of(config)
    return Sampler(
        {source.name: source.splits["train"].lengths for source in sources},
        kind=training.sampler,
        rows_per_turn={
            source.name: own[source.encoder].batch_size * training.gradient_accumulation_steps for source in sources
        },
        temperature=training.temperature,
        seed=training.seed,
        halves=halves,
        passes={source.name: own[source.encoder].epochs / training.epochs for source in sources},
    )
