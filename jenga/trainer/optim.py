"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from typing import Any

import torch

from jenga.config.schema import ResolvedTraining, TrainingConfig
from jenga.model import MultiTaskModel


def trained_groups(model: MultiTaskModel) -> list[str]:
    """Return the names of the parameter groups of `model`, each with a rate of its own.

    Heads are always there: a teacher may add what is trained with them.
    """
    return list(dict.fromkeys((*_parts(model), "heads")))


def make_optimizer(model: MultiTaskModel, training: ResolvedTraining) -> torch.optim.AdamW:
    """Return AdamW with groups backbone (adapters, where there are some), fusion and heads.

    What projects a student's states to its teacher's width is trained with the heads.

    Each is split into decayed weights and the rest.

    Biases and normalisation weights are not decayed (Loshchilov & Hutter 2019).
    """
    groups: list[dict[str, Any]] = []
    for name, named in _parts(model).items():
        for decay, decayed in ((training.weight_decay, True), (0.0, False)):
            chosen = [p for key, p in named if _is_decayed(key, p) == decayed]
            if chosen:
                rate = getattr(training.learning_rate, name)
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay, "name": name})
    return torch.optim.AdamW(groups, fused=True)


def _parts(model: MultiTaskModel) -> dict[str, list[tuple[str, torch.nn.Parameter]]]:
    """Return the trained parameters with their names, by group."""
    encoder = "adapters" if model.backbone.adapted else "backbone"
    modules: dict[str, list[torch.nn.Module | None]] = {
        encoder: [model.backbone],
        "fusion": [model.fusion],
        "heads": [model.tasks, model.matching],
    }
    found = {
        name: [
            (key, p) for each in parts if each is not None for key, p in each.named_parameters() if p.requires_grad
        ]
        for name, parts in modules.items()
    }  # fmt: skip
    return {name: parameters for name, parameters in found.items() if parameters}


def _is_decayed(name: str, parameter: torch.nn.Parameter) -> bool:
    """Fusion packs one bias a task into a matrix, so the dimensions alone do not tell."""
    return parameter.ndim > 1 and not name.endswith("bias")


def make_scheduler(
    optimizer: torch.optim.Optimizer, training: TrainingConfig, total_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule over `total_steps` optimizer steps: linear warmup, then the chosen shape."""
    from transformers import get_scheduler

    warmup = training.warmup_steps
    if warmup is None:
        warmup = round(training.warmup_ratio * total_steps)
    name = "constant_with_warmup" if training.scheduler == "constant" else training.scheduler
    schedule: torch.optim.lr_scheduler.LRScheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=total_steps
    )
    return schedule


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the present rate of each named group."""
    return {group["name"]: group["lr"] for group in optimizer.param_groups}
