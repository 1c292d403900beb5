"""The numbers of a training that the configuration leaves open, from its rows and its encoder's recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jenga.config.schema import LearningRates, ResolvedTraining, TrainingConfig
from jenga.modalities import Recipe

SMALLEST_BATCH = 8
ROWS_PER_BATCH_ROW = 64
"""A step of one row in 64: small data get small batches, so that a pass over them is enough steps to learn from."""


def resolve(training: TrainingConfig, recipe: Recipe, n_rows: Sequence[int], groups: Sequence[str]) -> ResolvedTraining:
    """Return `training` with every number that it leaves open.

    n_rows: training rows of each source; groups: the parameter groups that are trained, of `LearningRates`.
    What is given stays. A pass is over all sources, so their mean decides.
    """
    mean_rows = max(1, round(sum(n_rows) / max(1, len(n_rows))))
    given = training.learning_rate
    rates = {name: given if isinstance(given, float) else getattr(given, name) or recipe.rates[name] for name in groups}
    numbers = {
        "epochs": training.epochs or epochs(recipe, mean_rows),
        "batch_size": training.batch_size or batch_size(recipe, mean_rows),
        "learning_rate": LearningRates(**rates),
    }
    return ResolvedTraining(**{**dict(training), **numbers})


def epochs(recipe: Recipe, n_rows: int) -> int:
    """Return how many passes over `n_rows` rows are enough."""
    visits = max(recipe.visits, min(recipe.usual_epochs * n_rows, recipe.most_visits))
    return min(recipe.most_epochs, math.ceil(visits / n_rows))


def batch_size(recipe: Recipe, n_rows: int) -> int:
    """Return the rows of a step: a power of two."""
    fitting = 1 << max(0, (n_rows // ROWS_PER_BATCH_ROW).bit_length() - 1)
    return min(recipe.largest_batch, max(SMALLEST_BATCH, fitting))


def told(given: TrainingConfig, resolved: ResolvedTraining, steps: int) -> str:
    """Return a line of what is trained how, with what was chosen here; steps: of the optimizer, in all."""
    rates = {name: rate for name, rate in dict(resolved.learning_rate).items() if rate is not None}
    chosen = _chosen(given, rates)
    length = f"{steps} steps" if resolved.max_steps else f"{resolved.epochs} epochs ({steps} steps)"
    line = (
        f"training: {length} of {resolved.batch_size * resolved.gradient_accumulation_steps} rows; rates "
        + ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
    )
    return f"{line}; by the rows and the encoder: {', '.join(chosen)}" if chosen else line


def _chosen(given: TrainingConfig, rates: Mapping[str, float]) -> list[str]:
    """Return the keys whose numbers the configuration left open."""
    chosen = [] if given.epochs or given.max_steps else ["epochs"]
    chosen += [] if given.batch_size else ["batch_size"]
    by_group = given.learning_rate
    if isinstance(by_group, LearningRates):
        chosen += [f"learning_rate.{name}" for name in rates if getattr(by_group, name) is None]
    return chosen
