"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from jenga.balance import LossBalance
from jenga.callbacks.chain import Chain
from jenga.config.explain import validate
from jenga.config.optimization import NamedPart, part_of
from jenga.config.training import ResolvedTraining, TrainingConfig
from jenga.modalities import BaseBackbone
from jenga.model import MultiTaskModel
from jenga.optimizers import OPTIMIZERS, SCHEDULERS
from jenga.optimizers.groups import Group
from jenga.optimizers.registries import Choices, Part, usual
from jenga.optimizers.signature import parameters_of
from jenga.optimizers.traits import parts_matrices, swaps_weights

logger = logging.getLogger(__name__)


def trained_groups(model: MultiTaskModel, training: TrainingConfig) -> dict[str, list[str]]:
    """Return by encoder the names of the parameter groups of `model`, each with a rate of its own.

    Heads are always there: a teacher may add what is trained with them.
    """
    found = _parts(model, matrices=_parts_matrices(training))
    return {encoder: list(dict.fromkeys((*parts, "heads"))) for encoder, parts in found.items()}


def parameter_groups(model: MultiTaskModel, trainings: Mapping[str, ResolvedTraining]) -> list[Group]:
    """Return of each encoder the groups backbone (adapters, where there are some), fusion and heads.

    What projects a student's states to its teacher's width is trained with the heads.

    Where the optimizer has a way of its own with hidden matrices, the backbone's group is they alone, and `rest` what
    it has beside them.

    Each is split into decayed weights and the rest, and a backbone with ``training.layer_decay`` by its layers.

    Biases and normalisation weights are not decayed (Loshchilov & Hutter 2019).

    trainings: by encoder, as `trainings_of` returns them.
    """
    groups: list[Group] = []
    matrices = any(_parts_matrices(each) for each in trainings.values())
    for encoder, parts in _parts(model, matrices=matrices).items():
        training = trainings[encoder]
        for name, named in parts.items():
            full = name if len(trainings) == 1 else f"{encoder}.{name}"
            factors = _layer_factors(model, encoder, training) if name in ("backbone", "rest") else {}
            for decay, decayed in ((training.weight_decay, True), (0.0, False)):
                by_factor: dict[float, list[torch.nn.Parameter]] = {}
                for key, p in named:
                    if _is_decayed(key, p) == decayed:
                        by_factor.setdefault(factors.get(key, 1.0), []).append(p)
                for factor, chosen in by_factor.items():
                    rate = getattr(training.learning_rate, name) * factor
                    group: Group = {"params": chosen, "lr": rate, "weight_decay": decay, "name": full}
                    groups.append(group | {"use_muon": name == "backbone"} if matrices else group)
    return groups


def balance_groups(balance: LossBalance, trainings: Mapping[str, ResolvedTraining]) -> list[Group]:
    """Return the group of what a balance of losses learns, at its rate or else the greatest of heads."""
    params = list(balance.parameters())
    rates = [each.learning_rate.heads for each in trainings.values() if each.learning_rate.heads is not None]
    rate = max(rates) if balance.learning_rate is None else balance.learning_rate
    return [{"params": params, "lr": rate, "weight_decay": 0.0, "name": "balance"}] if params else []


def all_groups(
    model: MultiTaskModel, balance: LossBalance, trainings: Mapping[str, ResolvedTraining]
) -> tuple[list[Group], dict[torch.nn.Parameter, str]]:
    """Return the groups of all that a run trains, and the names of their parameters."""
    groups = [*parameter_groups(model, trainings), *balance_groups(balance, trainings)]
    return groups, parameter_names(model=model, balance=balance)


def shared_parameters(model: MultiTaskModel) -> dict[str, list[torch.nn.Parameter]]:
    """Return by encoder the trained parameters of those that several tasks read."""
    read = {name: tuple(model.joints[name].parts) if name in model.joints else (name,) for name in model.reads.values()}
    readers = Counter(part for task in model.tasks for part in read[model.reads[task]])
    found = {name: [p for p in model.encoders[name].parameters() if p.requires_grad] for name in model.encoders}
    return {name: parameters for name, parameters in found.items() if parameters and readers[name] > 1}


def last_shared_layer(model: MultiTaskModel, *, whole: bool) -> dict[str, list[torch.nn.Parameter]]:
    """Return by encoder what is trained in the last layer of those that several tasks read, as `depths` tells it.

    whole: whether one that tells of no layers comes whole, at the price of a backward pass a task, or not at all.
    """
    found: dict[str, list[torch.nn.Parameter]] = {}
    for name, parameters in shared_parameters(model).items():
        backbone, known = model.encoders[name], {id(p) for p in parameters}
        depths = backbone.depths()
        if not whole and len(set(depths.values())) < 2:
            continue
        trained = {key: p for key, p in backbone.named_parameters() if id(p) in known}
        last = max(depths.get(key, 0) for key in trained)
        found[name] = [p for key, p in trained.items() if depths.get(key, 0) == last]
    return found


def _layer_factors(model: MultiTaskModel, encoder: str, training: TrainingConfig) -> dict[str, float]:
    """Return by parameter of a backbone what its rate is multiplied by: 1 in the last layer, ever less before it."""
    if training.layer_decay is None or has_no_layers(model.encoders[encoder]):
        return {}
    depths = model.encoders[encoder].depths()
    last = max(depths.values())
    return {key: training.layer_decay ** (last - depth) for key, depth in depths.items()}


def has_no_layers(backbone: BaseBackbone) -> str | None:
    """Return why ``training.layer_decay`` changes nothing of `backbone`; None where it has layers that are trained."""
    if backbone.adapted:
        return "peft freezes the layers of the encoder; remove one of the two"
    if len(set(backbone.depths().values())) < 2:
        return f"{type(backbone).__name__} ('{backbone.model_name}') tells of no layers by its depths(); remove the key"
    return None


def make_optimizer(
    groups: Sequence[Group], training: TrainingConfig, named: str | NamedPart | None = None
) -> torch.optim.Optimizer:
    """Return the optimizer `named`, or else the one of `training`, over `groups`.

    Raises ConfigError where there is none of this name. What it raises itself, of parameters that it cannot train,
    comes through; `rehearse` tells of it in our words.
    """
    chosen = training.optimizer if named is None else named
    name, given = part_of(chosen)
    parameters = {**usual(name, given), **_parameters(OPTIMIZERS, chosen)}
    handed: dict[str, object] = {"params": list(groups)}
    # Each group has its own; a signature without defaults asks for them once more.
    asked = parameters_of(OPTIMIZERS.named(name))
    for key, value in (("lr", groups[0]["lr"]), ("weight_decay", training.weight_decay)):
        if key in asked and asked[key].default is inspect.Parameter.empty:
            handed[key] = value
    return OPTIMIZERS.make(name, parameters, handed)


@dataclass(frozen=True)
class Maker:
    """Makes the run's optimizer: the one that a callback gives, or the one that `training` names."""

    training: TrainingConfig
    chain: Chain

    def __call__(self, groups: Sequence[Group], names: Mapping[torch.nn.Parameter, str]) -> torch.optim.Optimizer:
        """Return it over `groups`, whose parameters have `names`. Raises as `make_optimizer` and `Chain` do."""

        def make(chosen: Sequence[Group], named: str | NamedPart | None = None) -> torch.optim.Optimizer:
            return make_optimizer(chosen, self.training, named)

        return self.chain.make_optimizer(groups, names, make)

    @property
    def what(self) -> str:
        """Which one that is, as an error begins."""
        if (by := self.chain.gives_optimizer) is not None:
            return f"callbacks: the optimizer that {by} gives"
        return f"training.optimizer: '{part_of(self.training.optimizer)[0]}'"


def parameter_names(**modules: torch.nn.Module) -> dict[torch.nn.Parameter, str]:
    """Return the names of the parameters of `modules`: as ``model`` has them, of others with their keyword before."""
    return {
        p: name if key == "model" else f"{key}.{name}"
        for key, module in modules.items()
        for name, p in module.named_parameters()
    }


def make_scheduler(
    optimizer: torch.optim.Optimizer, training: ResolvedTraining, total_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule over `total_steps` optimizer steps: linear warmup, then the chosen shape."""
    warmup = _warmup(training, total_steps)
    handed = {"optimizer": optimizer, "num_warmup_steps": warmup, "num_training_steps": total_steps}
    return SCHEDULERS.make(part_of(training.scheduler)[0], _parameters(SCHEDULERS, training.scheduler), handed)


def usual_schedule(training: TrainingConfig) -> str:
    """Return the schedule where none is given: the rate falls, unless the optimizer averages weights instead."""
    return "constant" if swaps_weights(OPTIMIZERS.named(part_of(training.optimizer)[0])) else "linear"


def warn_of_settings(training: ResolvedTraining, total_steps: int) -> None:
    """Warn of settings that the optimizer has no use for: decay, a falling rate, and a second warmup."""
    (name, given), (shape, _) = part_of(training.optimizer), part_of(training.scheduler)
    part = OPTIMIZERS.named(name)
    if training.weight_decay and "weight_decay" not in parameters_of(part):
        logger.warning(
            "optimizer '%s' has no weight decay, so training.weight_decay (%g) changes nothing; set it to 0 to say so",
            name, training.weight_decay,
        )  # fmt: skip
    if swaps_weights(part) and shape != "constant":
        logger.warning(
            "optimizer '%s' averages weights so that the rate need not fall, and training.scheduler '%s' lets it fall "
            "as well; set it to constant, or remove it", name, shape,
        )  # fmt: skip
    if given.get("warmup_steps") and _warmup(training, total_steps):
        logger.warning(
            "optimizer '%s' warms up by its warmup_steps, and the schedule by training.%s: the rate is their product; "
            "set one of them to 0", name, "warmup_ratio" if training.warmup_steps is None else "warmup_steps",
        )  # fmt: skip


def _warmup(training: TrainingConfig, total_steps: int) -> int:
    """Return the steps of linear warmup."""
    return round(training.warmup_ratio * total_steps) if training.warmup_steps is None else training.warmup_steps


def _parameters(choices: Choices[Part], given: str | NamedPart) -> dict[str, object]:
    """Return the parameters that are given, as the part's signature has them; what is not given stays its default."""
    name, parameters = part_of(given)
    block = validate(choices.settings(name), parameters) if parameters else None
    return {} if block is None else {key: getattr(block, key) for key in block.model_fields_set}


def _parts_matrices(training: TrainingConfig) -> bool:
    return parts_matrices(OPTIMIZERS.named(part_of(training.optimizer)[0]))


def _parts(model: MultiTaskModel, *, matrices: bool) -> dict[str, dict[str, list[tuple[str, torch.nn.Parameter]]]]:
    """Return the trained parameters with their names, by encoder and group.

    matrices: whether ``backbone`` is to be hidden matrices alone, beside its ``rest``.
    """
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
        if matrices and backbone is not None and "backbone" in named:
            hidden = backbone.hidden_matrices()
            whole = named.pop("backbone")
            rest = [(key, p) for key, p in whole if key not in hidden]
            named = {"backbone": [(key, p) for key, p in whole if key in hidden], "rest": rest, **named}
        found[encoder] = {name: parameters for name, parameters in named.items() if parameters}
    return found


def _is_decayed(name: str, parameter: torch.nn.Parameter) -> bool:
    """Fusion packs one bias a task into a matrix, so the dimensions alone do not tell."""
    return parameter.ndim > 1 and not name.endswith("bias")


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the present rate of each named group; of layers with rates of their own, the greatest, the last one's."""
    found: dict[str, float] = {}
    for group in optimizer.param_groups:
        found[group["name"]] = max(group["lr"], found.get(group["name"], 0.0))
    return found
