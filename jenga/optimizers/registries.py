"""Which names there are, and what stands behind each."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from jenga.config.strict import Strict
from jenga.errors import ConfigError, suggest
from jenga.imports import collector_at_rest
from jenga.optimizers.signature import parameters_of, settings_of
from jenga.registry import Registry

Part = TypeVar("Part", Optimizer, LRScheduler)

OPTIMIZER_REGISTRY: Registry[Optimizer] = Registry("optimizer", entry_point_group="jenga.optimizers")
SCHEDULER_REGISTRY: Registry[LRScheduler] = Registry("scheduler", entry_point_group="jenga.schedulers")

LIBRARY = "pytorch_optimizer"
"""Optional: more than a hundred optimizers by name. Imported only once a name is asked for that is not ours."""

OF_GROUPS = ("params", "lr", "weight_decay")
"""What every optimizer is handed: the groups of parameters, each with its rate and its decay."""

OF_RUN = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")
"""What every schedule is handed, where its signature names it; `last_epoch` is the checkpoint's concern."""

_NOT_HERE: Mapping[type, str] = {
    torch.optim.SparseAdam: "takes sparse gradients only, and no part here has any",
    ReduceLROnPlateau: "follows a metric, and rates here follow the steps",
}


@dataclass(frozen=True)
class Choices(Generic[Part]):
    """The parts of one kind that a configuration can name: those registered, then those of a library.

    `library`: returns the parts of the library by name, imported only when it is called; `more`: returns what stands
    for them in a list of names. `refused`: returns why a part cannot be used, or None. `handed`: parameters that are no
    settings.
    """

    registry: Registry[Part]
    library: Callable[[], Mapping[str, Callable[..., Part]]]
    more: Callable[[], Sequence[str]]
    refused: Callable[[Callable[..., Part]], str | None]
    handed: Sequence[str]

    def named(self, name: str) -> Callable[..., Part]:
        """Return the class or function `name`. Raises ConfigError: there is none, or it cannot be used here."""
        self.registry.load_entry_points()
        found = self.registry[name] if name in self.registry else self.library().get(name)
        if found is None:
            known: list[str] = [each for each in self.registry if self.refused(self.registry[each]) is None]
            near = suggest(name.lower(), [*known, *self.library()])
            words = ", ".join([*known, *self.more()])
            raise ConfigError(f"unknown {self.registry.what} '{name}'{near or '.'} Known: {words}")
        if reason := self.refused(found):
            raise ConfigError(f"{self.registry.what} '{name}' {reason}; choose another")
        return found

    def settings(self, name: str) -> type[Strict]:
        """Return the block of the parameters of `name`. Raises ConfigError as `named` does."""
        part = self.named(name)
        registered: type[Strict] | None = self.registry.config_of(name)
        try:
            return registered or settings_of(part, handed=self.handed)
        except ValueError as error:
            raise ConfigError(f"{self.registry.what} '{name}' {error}; choose another") from None

    def make(self, name: str, parameters: Mapping[str, object], handed: Mapping[str, object]) -> Part:
        """Return the part `name` made with `parameters`, and with what of `handed` its signature names."""
        part = self.named(name)
        wanted = {key: value for key, value in handed.items() if key in parameters_of(part)}
        return part(**wanted, **parameters)


def _refused_optimizer(part: Callable[..., Optimizer]) -> str | None:
    """Return why the loop cannot drive an optimizer, as far as its class tells."""
    if reason := _NOT_HERE.get(part) if isinstance(part, type) else None:
        return reason
    if missing := [name for name in OF_GROUPS[:2] if name not in parameters_of(part)]:
        return f"takes no {' and no '.join(missing)}, which every optimizer here is handed"
    step = getattr(part, "step", None)
    needed = [
        name
        for name, each in (parameters_of(step) if step else {}).items()
        if name != "self" and each.default is inspect.Parameter.empty
    ]
    if needed:
        return (
            f"needs a {' and a '.join(needed)} in each step, to compute the loss again; a step here has its gradients"
        )
    if hasattr(part, "train") and hasattr(part, "eval"):
        return "has other weights for evaluations than for training (schedule-free), which are not swapped here"
    return None


def _refused_schedule(part: Callable[..., LRScheduler]) -> str | None:
    if reason := _NOT_HERE.get(part) if isinstance(part, type) else None:
        return reason
    return None if "optimizer" in parameters_of(part) else "takes no optimizer"


def _optimizer_library() -> Mapping[str, Callable[..., Optimizer]]:
    if importlib.util.find_spec(LIBRARY) is None:
        return {}
    library = importlib.import_module(LIBRARY)
    return {name: library.load_optimizer(name) for name in library.get_supported_optimizers()}


def _more_optimizers() -> list[str]:
    if importlib.util.find_spec(LIBRARY) is None:
        return ["and more with pip install 'jenga[optimizers]'"]
    return [f"and the {len(_optimizer_library())} of pytorch-optimizer"]


def _schedule_library() -> Mapping[str, Callable[..., LRScheduler]]:
    """Return transformers' schedules; 'constant' has a warmup here, as every other shape."""
    with collector_at_rest():
        from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    found = {kind.value: function for kind, function in TYPE_TO_SCHEDULER_FUNCTION.items()}
    of_metrics = ("reduce_lr_on_plateau", "greedy")
    return {name: each for name, each in found.items() if name not in of_metrics} | {
        "constant": found["constant_with_warmup"]
    }


for _each in vars(torch.optim).values():
    if isinstance(_each, type) and issubclass(_each, Optimizer) and _each is not Optimizer:
        OPTIMIZER_REGISTRY.register(_each.__name__.lower())(_each)

OPTIMIZERS: Choices[Optimizer] = Choices(
    OPTIMIZER_REGISTRY, _optimizer_library, _more_optimizers, _refused_optimizer, OF_GROUPS
)
SCHEDULERS: Choices[LRScheduler] = Choices(
    SCHEDULER_REGISTRY, _schedule_library, lambda: sorted(_schedule_library()), _refused_schedule, OF_RUN
)
