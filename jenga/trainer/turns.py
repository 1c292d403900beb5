"""Whose rows a training takes when, by its configuration."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from jenga.balance import BALANCES, reads_losses_after
from jenga.config.optimization import part_of
from jenga.config.schema import ExperimentConfig
from jenga.config.training import resolved
from jenga.errors import ConfigError
from jenga.model import MultiTaskModel
from jenga.processes import Processes
from jenga.rows.batches import Source
from jenga.rows.memory import kept_rows
from jenga.rows.sampling import Sampler
from jenga.rows.split import TRAIN
from jenga.rows.stages import Replay, Stage, StagedSampler
from jenga.rows.stream import StreamSampler
from jenga.trainer.feed import Feed
from jenga.trainer.recipe import tokens_of_pass, trainings_of
from jenga.trainer.stages import stages_of
from jenga.trainer.together import in_step

logger = logging.getLogger(__name__)


def make_sampler(
    sources: Sequence[Source], config: ExperimentConfig, *, halves: bool = False
) -> Sampler | StagedSampler:
    """Return the sampler over the training rows of `sources`; halves: as `Sampler` has it.

    Raises ConfigError for rows_per_step that gives tasks of the same rows different numbers, for tokens_per_step where
    no tokens can be counted or a step must be one batch, and as `stages_of`.
    """
    if config.data.streaming:
        return StreamSampler(_rows_per_turn(sources, config))
    lengths = {source.name: source.splits[TRAIN].lengths for source in sources}
    if not config.stages:
        return _sampler(sources, lengths, config, halves)
    stages = stages_of(sources, config)
    samplers = []
    for stage in stages:
        own = [source for source in sources if source.name in stage.rows]
        samplers.append(_sampler(own, {name: lengths[name][rows] for name, rows in stage.rows.items()}, config, halves))
    return StagedSampler(stages, samplers, lengths, replay=_replay(stages, config))


def in_halves(model: MultiTaskModel, config: ExperimentConfig, device: torch.device) -> bool:
    """Whether steps are of rows of any length, whose padding is spared: by encoders that skip it, else in two batches.

    On a GPU, where no encoder skips it, two small passes cost twice what one does.

    Raises ConfigError as `reads_losses_after` does.
    """
    whole = reads_losses_after(config.training)
    return device.type == "cpu" and model.cost_follows_tokens and not whole and not config.data.streaming


def make_feed(
    sources: Sequence[Source], config: ExperimentConfig, model: MultiTaskModel, device: torch.device,
    *, halves: bool, workers: int, processes: Processes,
) -> Feed:  # fmt: skip
    """Return what makes the batches of turns; halves: as these are dealt."""
    training = resolved(config.training)
    return Feed(
        {source.name: source.stream or source.splits[TRAIN] for source in sources},
        sizes=batch_rows(sources, config),
        tokens=batch_tokens(sources, config),
        halves=halves and not model.skips_padding,
        padded=not model.skips_padding or device.type != "cpu",
        seed=training.seed,
        workers=workers,
        processes=processes,
        in_step=in_step(training, processes),
    )


def batch_rows(sources: Sequence[Source], config: ExperimentConfig) -> dict[str, int]:
    """Return the most rows of a batch by source: all rows of a step where the balance needs them in one."""
    own, whole = trainings_of(config), reads_losses_after(config.training)
    sizes = {source.name: own[source.encoder].batch_size for source in sources}
    return {name: sys.maxsize if whole else size for name, size in sizes.items() if size is not None}


def batch_tokens(sources: Sequence[Source], config: ExperimentConfig) -> dict[str, int]:
    """Return the most tokens of a batch by source, of those whose steps are planned by tokens."""
    own = trainings_of(config)
    found = {source.name: tokens_of_pass(own[source.encoder]) for source in sources}
    return {name: tokens for name, tokens in found.items() if tokens is not None}


def warn_of_lone_tasks(sources: Sequence[Source], config: ExperimentConfig) -> None:
    """Warn of a balance that holds tasks against one another, and of reconciled gradients, where no two ever meet."""
    training = resolved(config.training)
    name, _ = part_of(training.loss_balance)
    idle = [f"loss_balance '{name}'"] if getattr(BALANCES.named(name), "compares", False) else []
    idle += [] if training.gradient_conflict is None else [f"gradient_conflict '{training.gradient_conflict}'"]
    if idle and config.continual.replay is None and not _tasks_meet(sources, config):
        logger.warning(
            "training.%s changes nothing: no step has rows of two tasks; set training.sampler to together where tasks "
            "read different rows, or remove it", " and training.".join(idle),
        )  # fmt: skip


def _tasks_meet(sources: Sequence[Source], config: ExperimentConfig) -> bool:
    together = config.training.sampler == "together"
    stages = [stage.tasks for stage in config.stages] or [None]
    for chosen in stages:
        counts = [sum(chosen is None or task in chosen for task in source.tasks) for source in sources]
        if (sum(counts) if together else max(counts)) > 1:
            return True
    return False


def epochs_of(config: ExperimentConfig) -> int:
    """Return the epochs of a built experiment, over all of its stages."""
    epochs = resolved(config.training).epochs
    return sum(stage.epochs or epochs for stage in config.stages) if config.stages else epochs


def planned_steps(sampler: Sampler | StagedSampler, config: ExperimentConfig) -> list[int]:
    """Return the optimizer steps of each stage of a built experiment; where it has none, of the whole."""
    training = resolved(config.training)
    if isinstance(sampler, Sampler):
        return [training.max_steps or _turns_of(sampler, training.epochs)]
    return [_turns_of(each, stage.epochs) for stage, each in zip(sampler.stages, sampler.samplers, strict=True)]


def _turns_of(sampler: Sampler, epochs: int) -> int:
    """Return the turns of the first epochs, which may differ in how many they have."""
    return sum(map(sampler.turns_in, range(epochs)))


def _replay(stages: Sequence[Stage], config: ExperimentConfig) -> Replay | None:
    given, seed = config.continual.replay, config.training.seed
    if given is None:
        return None
    memory = kept_rows([stage.kept for stage in stages], given.memory, keep=given.keep, seed=seed)
    return Replay(memory, given.rows_per_step, seed)


def _sampler(
    sources: Sequence[Source], lengths: Mapping[str, np.ndarray], config: ExperimentConfig, halves: bool
) -> Sampler:
    training, own = resolved(config.training), trainings_of(config)
    return Sampler(
        lengths,
        kind=training.sampler,
        rows_per_turn=_rows_per_turn(sources, config),
        tokens_per_turn=_tokens_per_turn(sources, config),
        temperature=training.temperature,
        seed=training.seed,
        halves=halves,
        passes={source.name: own[source.encoder].epochs / training.epochs for source in sources},
    )


def _rows_per_turn(sources: Sequence[Source], config: ExperimentConfig) -> dict[str, int]:
    training, own = resolved(config.training), trainings_of(config)
    sizes = {source.name: own[source.encoder].batch_size for source in sources}
    rows = {name: size * training.gradient_accumulation_steps for name, size in sizes.items() if size is not None}
    for source in sources:
        given = {task: training.rows_per_step[task] for task in source.tasks if task in training.rows_per_step}
        if len(set(given.values())) > 1:
            told = ", ".join(f"{task} {number}" for task, number in given.items())
            raise ConfigError(f"training.rows_per_step: {told}: these tasks read the same rows; give them one number")
        if given and source.name not in rows:
            raise ConfigError(
                f"training.rows_per_step: {', '.join(given)}: the steps of these rows are planned by the "
                "tokens_per_step of their backbone; remove one of the two"
            )
        if given:
            rows[source.name] = next(iter(given.values()))
    return rows


def _tokens_per_turn(sources: Sequence[Source], config: ExperimentConfig) -> dict[str, int]:
    own = trainings_of(config)
    found = {}
    for source in sources:
        if (tokens := own[source.encoder].tokens_per_step) is None:
            continue
        if not source.splits[TRAIN].encoded.in_tokens:
            raise ConfigError(
                f"training.tokens_per_step: what {', '.join(source.tasks)} read is not counted in tokens, as text is; "
                "set training.batch_size instead, or, of several backbones, that of their own"
            )
        if reads_losses_after(config.training):
            name, _ = part_of(config.training.loss_balance)
            raise ConfigError(
                f"training.loss_balance: '{name}' needs the rows of a step in one batch, which tokens_per_step may "
                "part; set training.batch_size instead"
            )
        found[source.name] = tokens
    return found
