"""Whose rows a training takes when, by its configuration."""

from __future__ import annotations

from collections.abc import Sequence

from jenga.config.schema import ExperimentConfig
from jenga.config.training import resolved
from jenga.errors import ConfigError
from jenga.rows.batches import Source
from jenga.rows.sampling import Sampler
from jenga.trainer.recipe import trainings_of


def make_sampler(sources: Sequence[Source], config: ExperimentConfig, *, halves: bool = False) -> Sampler:
    """Return the sampler over the training rows of `sources`; halves: as `Sampler` has it.

    Raises ConfigError for rows_per_step that gives tasks of the same rows different numbers.
    """
    training, own = resolved(config.training), trainings_of(config)
    rows = {source.name: own[source.encoder].batch_size * training.gradient_accumulation_steps for source in sources}
    for source in sources:
        given = {task: training.rows_per_step[task] for task in source.tasks if task in training.rows_per_step}
        if len(set(given.values())) > 1:
            told = ", ".join(f"{task} {number}" for task, number in given.items())
            raise ConfigError(f"training.rows_per_step: {told}: these tasks read the same rows; give them one number")
        if given:
            rows[source.name] = next(iter(given.values()))
    return Sampler(
        {source.name: source.splits["train"].lengths for source in sources},
        kind=training.sampler,
        rows_per_turn=rows,
        temperature=training.temperature,
        seed=training.seed,
        halves=halves,
        passes={source.name: own[source.encoder].epochs / training.epochs for source in sources},
    )
