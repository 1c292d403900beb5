"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import TypedDict

import torch

from jenga.config.explain import validate
from jenga.config.optimization import NamedPart, part_of
from jenga.config.schema import ResolvedTraining, TrainingConfig
from jenga.model import MultiTaskModel
from jenga.optimizers import OPTIMIZERS, SCHEDULERS
from jenga.optimizers.registries import Choices, Part
from jenga.optimizers.signature import parameters_of

logger = logging.getLogger(__name__)


class Group(TypedDict):
    """Parameters with one rate and one decay; `name`: the part of the model that they are of.

    Of several backbones, the backbone's name stands before it: ``audio.adapters``.
    """

    params: Sequence[torch.nn.Parameter]
    lr: float
    weight_decay: float
    name: str


def trained_groups(model: MultiTaskModel) -> dict[str, list[str]]:
    """Return by encoder the names of the parameter groups of `model`, each with a rate of its own.

    Heads are always there: a teacher may add what is trained with them.
    """
    return {encoder: list(dict.fromkeys((*parts, "heads"))) for encoder, parts in _parts(model).items()}


def parameter_groups(model: MultiTaskModel, trainings: Mapping[str, ResolvedTraining]) -> list[Group]:
    """Return of each encoder the groups backbone (adapters, where there are some), fusion and heads.

    What projects a student's states to its teacher's width is trained with the heads.

    Each is split into decayed weights and the rest.

    Biases and normalisation weights are not decayed (Loshchilov & Hutter 2019).

    trainings: by encoder, as `trainings_of` returns them.
    """
    groups: list[Group] = []
    for encoder, parts in _parts(model).items():
        training = trainings[encoder]
        for name, named in parts.items():
            full = name if len(trainings) == 1 else f"{encoder}.{name}"
            for decay, decayed in ((training.weight_decay, True), (0.0, False)):
                chosen = [p for key, p in named if _is_decayed(key, p) == decayed]
                if chosen:
                    rate = getattr(training.learning_rate, name)
                    groups.append({"params": chosen, "lr": rate, "weight_decay": decay, "name": full})
    return groups


def make_optimizer(groups: Sequence[Group], training: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer that `training` names, over `groups`. Raises ConfigError where there is none of this name.

    What it raises itself, of parameters that it cannot train, comes through; `rehearse` tells of it in our words.
    """
    name, given = part_of(training.optimizer)
    parameters = _parameters(OPTIMIZERS, training.optimizer)
    # One kernel for all parameters of a group; it excludes the others.
    if name == "adamw" and not {"fused", "foreach", "differentiable"} & given.keys():
        parameters["fused"] = True
    handed: dict[str, object] = {"params": list(groups)}
    # Each group has its own; a signature without defaults asks for them once more.
    asked = parameters_of(OPTIMIZERS.named(name))
    for key, value in (("lr", groups[0]["lr"]), ("weight_decay", training.weight_decay)):
        if key in asked and asked[key].default is inspect.Parameter.empty:
            handed[key] = value
    return OPTIMIZERS.make(name, parameters, handed)


def make_scheduler(
    optimizer: torch.optim.Optimizer, training: TrainingConfig, total_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule over `total_steps` optimizer steps: linear warmup, then the chosen shape."""
    warmup = training.warmup_steps
    if warmup is None:
        warmup = round(training.warmup_ratio * total_steps)
    handed = {"optimizer": optimizer, "num_warmup_steps": warmup, "num_training_steps": total_steps}
    return SCHEDULERS.make(part_of(training.scheduler)[0], _parameters(SCHEDULERS, training.scheduler), handed)


def warn_of_idle_decay(training: TrainingConfig) -> None:
    """Warn where the optimizer has no weight decay and the configuration asks for some."""
    name, _ = part_of(training.optimizer)
    if training.weight_decay and "weight_decay" not in parameters_of(OPTIMIZERS.named(name)):
        logger.warning(
            "optimizer '%s' has no weight decay, so training.weight_decay (%g) changes nothing; set it to 0 to say so",
            name, training.weight_decay,
        )  # fmt: skip


def _parameters(choices: Choices[Part], given: str | NamedPart) -> dict[str, object]:
    """Return the parameters that are given, as the part's signature has them; what is not given stays its default."""
    name, parameters = part_of(given)
    block = validate(choices.settings(name), parameters) if parameters else None
    return {} if block is None else {key: getattr(block, key) for key in block.model_fields_set}


def _parts(model: MultiTaskModel) -> dict[str, dict[str, list[tuple[str, torch.nn.Parameter]]]]:
    """Return the trained parameters with their names, by encoder and group."""
    found: dict[str, dict[str, list[tuple[str, torch.nn.Parameter]]]] = {}
    for encoder in (*model.encoders, *model.joints):
        backbone = None if encoder in model.joints else model.encoders[encoder]
        modules: dict[str, list[torch.nn.Module | None]] = {
            "adapters" if backbone is not None and backbone.adapted else "backbone": [backbone],
            "fusion": [part[encoder] for part in (model.joints, model.fusion) if encoder in part],
            "heads": [model.tasks[name] for name in model.tasks if model.reads[name] == encoder],
        }
        modules["heads"].append(model.matching if encoder == model.matched else None)
        named = {
            name: [
                (key, p) for each in parts if each is not None for key, p in each.named_parameters() if p.requires_grad
            ]
            for name, parts in modules.items()
        }
        found[encoder] = {name: parameters for name, parameters in named.items() if parameters}
    return found


def _is_decayed(name: str, parameter: torch.nn.Parameter) -> bool:
    """Fusion packs one bias a task into a matrix, so the dimensions alone do not tell."""
    return parameter.ndim > 1 and not name.endswith("bias")


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the present rate of each named group."""
    return {group["name"]: group["lr"] for group in optimizer.param_groups}
