"""Which names there are, and what stands behind each."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from pydantic import Field, create_model
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from jenga.config.strict import Strict
from jenga.errors import ConfigError, suggest
from jenga.extras import command, is_here
from jenga.imports import collector_at_rest
from jenga.optimizers.beside import Beside
from jenga.optimizers.signature import parameters_of, settings_of
from jenga.optimizers.traits import FLAG, parts_matrices, swaps_weights, takes_matrices_only
from jenga.registry import Registry

Part = TypeVar("Part")

OPTIMIZER_REGISTRY: Registry[Optimizer] = Registry("optimizer", entry_point_group="jenga.optimizers")
SCHEDULER_REGISTRY: Registry[LRScheduler] = Registry("scheduler", entry_point_group="jenga.schedulers")

LIBRARY = "pytorch_optimizer"
"""Optional: more than a hundred optimizers by name. Imported only once a name is asked for that is not ours."""

OF_GROUPS = ("params", "lr", "weight_decay", "adamw_lr", "adamw_wd")
"""What every optimizer is handed: the groups of parameters, each with its rate and its decay."""

_REST = "adamw"
_LIKE_ADAMW: Mapping[str, object] = {"adjust_lr_fn": "match_rms_adamw", "use_adjusted_lr": True}

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

    def rates(self, name: str) -> frozenset[str]:
        """Return which rates of `LearningRates` there are for its sake alone. Raises ConfigError as `named` does."""
        self.named(name)
        return frozenset()

    def make(self, name: str, parameters: Mapping[str, object], handed: Mapping[str, object]) -> Part:
        """Return the part `name` made with `parameters`, and with what of `handed` its signature names."""
        part = self.named(name)
        wanted = {key: value for key, value in handed.items() if key in parameters_of(part)}
        return part(**wanted, **parameters)


class OptimizerChoices(Choices[Optimizer]):
    """The optimizers; beside one that takes hidden matrices only AdamW trains the rest, by its block `adamw`."""

    def settings(self, name: str) -> type[Strict]:
        """Return the block of the parameters of `name`. Raises ConfigError as `named` does."""
        block = super().settings(name)
        if not takes_matrices_only(self.named(name)):
            return block
        rest: Any = (super().settings(_REST) | None, Field(None, description="AdamW's parameters, for all else."))
        return create_model(block.__name__, __base__=block, **{_REST: rest})

    def rates(self, name: str) -> frozenset[str]:
        """Return ``rest`` where it has a way of its own with hidden matrices. Raises ConfigError as `named` does."""
        return frozenset({"rest"} if parts_matrices(self.named(name)) else ())

    def make(self, name: str, parameters: Mapping[str, object], handed: Mapping[str, object]) -> Optimizer:
        """Return the optimizer `name` made with `parameters`, over the groups in ``handed["params"]``.

        Where it has a way of its own with hidden matrices, their groups have `FLAG` set. Raises ConfigError where it
        needs such a group, and none has.
        """
        part = self.named(name)
        if not parts_matrices(part):
            return super().make(name, parameters, handed)
        groups: Any = handed["params"]
        matrices = [group for group in groups if group.get(FLAG)]
        if not matrices:
            raise ConfigError(
                f"training.optimizer: '{name}' is for the hidden matrices of encoders, and none is trained here: "
                "adapters freeze the encoder, or it has none; choose adamw"
            )
        if not takes_matrices_only(part):
            return super().make(name, parameters, handed)
        others = [group for group in groups if not group.get(FLAG)]
        own = {key: each for key, each in parameters.items() if key != _REST}
        first = super().make(name, own, {**handed, "params": matrices})
        if not others:
            return first
        given = parameters.get(_REST)
        rest = {key: getattr(given, key) for key in given.model_fields_set} if isinstance(given, Strict) else {}
        return Beside(first, super().make(_REST, {**usual(_REST, rest), **rest}, {"params": others}))


def usual(name: str, given: Collection[str]) -> dict[str, object]:
    """Return what stands in for the defaults of the optimizer `name` where other parameters are `given`.

    AdamW is fused: one kernel for all parameters of a group. Muon's rates are scaled to those of AdamW (Liu et al.
    2025, section 2.2), which the rates that are not given are.
    """
    if name == _REST:
        return {} if {"fused", "foreach", "differentiable"} & set(given) else {"fused": True}
    taken = parameters_of(OPTIMIZERS.named(name))
    return {key: each for key, each in _LIKE_ADAMW.items() if key in taken and key not in given}


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
    if takes_matrices_only(part) and swaps_weights(part):
        return "takes hidden matrices only and has other weights for evaluations, which are not swapped beside AdamW's"
    return None


def _refused_schedule(part: Callable[..., LRScheduler]) -> str | None:
    if reason := _NOT_HERE.get(part) if isinstance(part, type) else None:
        return reason
    return None if "optimizer" in parameters_of(part) else "takes no optimizer"


def _optimizer_library() -> Mapping[str, Callable[..., Optimizer]]:
    if not is_here(LIBRARY):
        return {}
    library = importlib.import_module(LIBRARY)
    return {name: library.load_optimizer(name) for name in library.get_supported_optimizers()}


def _more_optimizers() -> list[str]:
    if not is_here(LIBRARY):
        return [f"and more with {command('optimizers')}"]
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

OPTIMIZERS = OptimizerChoices(OPTIMIZER_REGISTRY, _optimizer_library, _more_optimizers, _refused_optimizer, OF_GROUPS)
SCHEDULERS: Choices[LRScheduler] = Choices(
    SCHEDULER_REGISTRY, _schedule_library, lambda: sorted(_schedule_library()), _refused_schedule, OF_RUN
)
