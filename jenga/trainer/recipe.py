"""The numbers of a training that the configuration leaves open, from its rows and its encoder's recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jenga.config.schema import ExperimentConfig
from jenga.config.training import LearningRates, OwnTraining, ResolvedTraining, TrainingConfig, resolved
from jenga.errors import ConfigError
from jenga.modalities import Recipe
from jenga.model import MultiTaskModel
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.split import TRAIN
from jenga.trainer.directions import chosen_metric
from jenga.trainer.optim import has_no_layers, trained_groups, usual_schedule
from jenga.types import SHARED

_OWN = tuple(OwnTraining.model_fields)

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
    rates = {name: given if isinstance(given, float) else _rate(given, name, recipe) for name in groups}
    numbers = {
        "epochs": training.epochs or epochs(recipe, mean_rows),
        "batch_size": None if training.tokens_per_step else training.batch_size or batch_size(recipe, mean_rows),
        "learning_rate": LearningRates(**rates),
        "weight_decay": recipe.weight_decay if training.weight_decay is None else training.weight_decay,
        "scheduler": training.scheduler or usual_schedule(training),
    }
    return ResolvedTraining(**{**dict(training), **numbers})


def _rate(given: LearningRates, name: str, recipe: Recipe) -> float:
    if name == "rest":
        return given.rest or _rate(given, "backbone", recipe)
    rate: float | None = getattr(given, name)
    return rate or recipe.rates[name]


def resolved_config(config: ExperimentConfig, model: MultiTaskModel, sources: Sequence[Source]) -> ExperimentConfig:
    """Return `config` with every number of its training, of each backbone by the rows that its tasks learn from.

    And with the metric that picks the best model.

    Of several backbones each has its own; a pass of all is then one of the backbone with the fewest, and the rows of
    the others come more often in it. Raises ConfigError for a layer_decay that changes nothing.
    """
    _check_layer_decay(config, model)
    metric = chosen_metric(config.evaluation.metric, model, sources)
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"metric": metric})})
    found = {}
    groups = trained_groups(model, config.training)
    for encoder, (first, *others) in config.encoders.items():
        if others:
            groups[first] = list(dict.fromkeys([*groups[first], *groups[encoder]]))
    for name in config.backbones:
        read = [source for source in sources if name in config.encoders[source.encoder]]
        n_rows = [len(source.splits[TRAIN]) for source in read]
        found[name] = resolve(config.of_backbone(name).training, model.encoders[name].recipe, n_rows, groups[name])
    if not config.several:
        return config.model_copy(update={"training": found[SHARED]})
    if config.training.sampler == "together":
        common = config.training.epochs or _epochs_together(config, found, sources)
        found = {name: each.model_copy(update={"epochs": common}) for name, each in found.items()}
    blocks = {
        name: block.model_copy(update={"training": OwnTraining(**{key: getattr(found[name], key) for key in _OWN})})
        for name, block in config.backbones.items()
    }
    sizes = [] if config.training.tokens_per_step else [each.batch_size for each in found.values() if each.batch_size]
    numbers = {
        "epochs": min(each.epochs for each in found.values()),
        "batch_size": max(sizes, default=None),
        "learning_rate": LearningRates(),
        "weight_decay": max(each.weight_decay for each in found.values()),
        "scheduler": config.training.scheduler or usual_schedule(config.training),
    }
    training = ResolvedTraining(**{**dict(config.training), **numbers})
    return config.with_blocks(blocks).model_copy(update={"training": training})


def _epochs_together(config: ExperimentConfig, found: Mapping[str, ResolvedTraining], sources: Sequence[Source]) -> int:
    """Return the epochs after which every backbone has had its steps, where each step has rows of all of them."""
    turns, wanted = [], []
    for source in sources:
        each = found[config.encoders[source.encoder][0]]
        turns.append(_turns(source.splits[TRAIN], each))
        wanted.append(turns[-1] * each.epochs)
    return math.ceil(max(wanted) / max(turns))


def _turns(part: EncodedSplit, training: ResolvedTraining) -> int:
    """Return about how many turns a pass over `part` takes."""
    if training.tokens_per_step is not None:
        return -(-int(part.lengths.sum()) // training.tokens_per_step)
    assert training.batch_size is not None
    return -(-len(part) // training.batch_size)


def _check_layer_decay(config: ExperimentConfig, model: MultiTaskModel) -> None:
    """A common one is for whichever backbone has layers that are trained."""
    why = {name: has_no_layers(model.encoders[name]) for name in config.backbones}
    own = {name: block.training.layer_decay for name, block in config.backbones.items()} if config.several else {}
    for name, given in own.items():
        if given is not None and why[name] is not None:
            raise ConfigError(f"model.backbones.{name}.training.layer_decay: {why[name]}")
    if config.training.layer_decay is not None and (useless := [each for each in why.values() if each]) == [
        *why.values()
    ]:
        raise ConfigError(f"training.layer_decay: {useless[0]}")


def trainings_of(config: ExperimentConfig) -> dict[str, ResolvedTraining]:
    """Return the training of each encoder of a built experiment, and of each backbone."""
    names = dict.fromkeys([*config.backbones, *config.encoders])
    return {
        name: resolved(config.of_backbone(name).training if name in config.backbones else config.seen_by(name).training)
        for name in names
    }


def rows_of_pass(training: ResolvedTraining, longest: int) -> int:
    """Return the rows of a forward pass where nobody counts tokens: as many as fit into their number at any rate.

    longest: tokens of a row at most.
    """
    tokens = tokens_of_pass(training)
    if tokens is not None:
        return max(1, tokens // longest)
    assert training.batch_size is not None
    return training.batch_size


def tokens_of_pass(training: ResolvedTraining) -> int | None:
    """Return the most tokens of a forward pass; None where its rows are counted."""
    if training.tokens_per_step is None:
        return None
    return max(1, training.tokens_per_step // training.gradient_accumulation_steps)


def longest_row(config: ExperimentConfig) -> int:
    """Return the most tokens of a row of any task."""
    return max(getattr(task, "max_length", None) or config.data.max_length for task in config.tasks)


def evaluation_batch_sizes(config: ExperimentConfig) -> dict[str, int]:
    """Return the rows of a forward pass without gradients by encoder, of a built experiment."""
    longest = longest_row(config)
    return {
        name: config.evaluation.batch_size or 2 * rows_of_pass(each, longest)
        for name, each in trainings_of(config).items()
    }


def evaluation_batch_tokens(config: ExperimentConfig) -> dict[str, int]:
    """Return the most tokens of a forward pass without gradients, by encoder; of those whose rows are counted: none."""
    if config.evaluation.batch_size is not None:
        return {}
    found = {name: tokens_of_pass(each) for name, each in trainings_of(config).items()}
    return {name: 2 * tokens for name, tokens in found.items() if tokens is not None}


def epochs(recipe: Recipe, n_rows: int) -> int:
    """Return how many passes over `n_rows` rows are enough."""
    visits = max(recipe.visits, min(recipe.usual_epochs * n_rows, recipe.most_visits))
    return min(recipe.most_epochs, math.ceil(visits / n_rows))


def batch_size(recipe: Recipe, n_rows: int) -> int:
    """Return the rows of a step: a power of two."""
    fitting = 1 << max(0, (n_rows // ROWS_PER_BATCH_ROW).bit_length() - 1)
    return min(recipe.largest_batch, max(SMALLEST_BATCH, fitting))


def told(given: ExperimentConfig, found: ExperimentConfig, steps: int) -> list[str]:
    """Return a line of what is trained how, with what was chosen here, for each backbone of several a line more.

    given, found: the experiment as it was configured, and as it was built. steps: of the optimizer, in all.
    """
    stages = _told_stages(found)
    if not found.several:
        return [_told(given.training, resolved(found.training), steps), *stages]
    training = resolved(found.training)
    length = f"{steps} steps" if training.max_steps else f"{training.epochs} epochs ({steps} steps)"
    own = [
        f"  {name}: {_told(given.of_backbone(name).training, resolved(found.of_backbone(name).training), None)}"
        for name in found.backbones
    ]
    return [f"training: {length}", *own, *stages]


def _told_stages(found: ExperimentConfig) -> list[str]:
    """Return a line of the stages with the epochs of each; none where there are none."""
    epochs = resolved(found.training).epochs
    told = ", ".join(f"{stage.name} {stage.epochs or epochs}" for stage in found.stages)
    return [f"  epochs by stage: {told}"] if told else []


def _told(given: TrainingConfig, resolved: ResolvedTraining, steps: int | None) -> str:
    rates = {name: rate for name, rate in dict(resolved.learning_rate).items() if rate is not None}
    chosen = _chosen(given, rates)
    length = f"{resolved.epochs} epochs" if steps is None else f"{resolved.epochs} epochs ({steps} steps)"
    if resolved.max_steps:
        length = "steps" if steps is None else f"{steps} steps"
    line = f"{'' if steps is None else 'training: '}{length} of {size_of_step(resolved)}; rates " + ", ".join(
        f"{name} {rate:g}" for name, rate in rates.items()
    )
    if resolved.layer_decay is not None and "backbone" in rates:
        line += f"; x {resolved.layer_decay:g} of backbone for each layer before the last"
    if given.weight_decay is None and resolved.weight_decay != Recipe.weight_decay:
        line += f"; weight decay {resolved.weight_decay:g}"
        chosen.append("weight_decay")
    return f"{line}; by the rows and the encoder: {', '.join(chosen)}" if chosen else line


def size_of_step(training: ResolvedTraining) -> str:
    """Return in words what a step of a source has at most."""
    if training.batch_size is None:
        return f"{training.tokens_per_step:,} tokens, or one longer row"
    return f"{training.batch_size * training.gradient_accumulation_steps} rows"


def _chosen(given: TrainingConfig, rates: Mapping[str, float]) -> list[str]:
    """Return the keys whose numbers the configuration left open."""
    chosen = [] if given.epochs or given.max_steps else ["epochs"]
    chosen += [] if given.batch_size or given.tokens_per_step else ["batch_size"]
    by_group = given.learning_rate
    if isinstance(by_group, LearningRates):
        chosen += [f"learning_rate.{name}" for name in rates if getattr(by_group, name) is None]
    return chosen
