"""`accelerate`: PEFT's LoRA layers through the fused op, in place, and back."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from peft import LoraConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Acceleration:
    """What `accelerate` did to a model.

    Attributes:
        fused: names of the layers whose forward pass is the fused op.
        groups: names of those, among them, that are computed together.
        kept: why each other adapter layer runs PEFT's own forward pass, by name.
    """

    fused: list[str] = field(default_factory=list)
    groups: list[tuple[str, ...]] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{len(self.fused)} LoRA layers fused, {len(self.groups)} groups of them computed together"]
        lines += [f"not fused: {name}: {reason}" for name, reason in self.kept.items()]
        return "\n".join(lines)


def accelerate(model: nn.Module, config: LoraConfig | None = None) -> nn.Module:
    """Run the LoRA layers of a PEFT model through `jenga.kernels.lora_linear`. In place; returns the model.

    Parameters, state dicts and configurations are untouched: saving, loading, merging, switching and adding adapters
    stay PEFT's. Layers of adapters that are added later are fused by another call, which leaves the others as they are.
    What was fused, and why a layer was not, is logged and told by `acceleration(model)`; `restore(model)` undoes it.

    Args:
        model: a model with LoRA layers, from `peft.get_peft_model`, `PeftModel.from_pretrained` or
            `transformers`' `add_adapter`; or any model, with `config`.
        config: adapters to put into a model that has none, as `peft.get_peft_model(model, config)` does.

    Raises:
        ValueError: the model has no LoRA layers; or it has adapters, and `config` is given; or `config` is of another
            kind, or names layers that the model does not have (PEFT's words).
    """
    from peft.tuners.lora import LoraLayer

    from jenga.peft.fused import fused_class, is_fused, why_not

    if config is not None:
        model = _with_adapters(model, config)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    if not layers:
        raise ValueError("model: has no LoRA layers; give a config, or make it with peft.get_peft_model")
    for layer in layers.values():
        if not is_fused(layer) and why_not(layer) is None:
            layer.__class__ = fused_class(type(layer))
    _join({name: layer for name, layer in layers.items() if is_fused(layer)})
    found = acceleration(model)
    logger.log(logging.WARNING if found.kept else logging.INFO, "%s", found)
    return model


def _with_adapters(model: nn.Module, config: LoraConfig) -> nn.Module:
    from peft import LoraConfig, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    if not isinstance(config, LoraConfig):
        raise ValueError(f"config: got a {type(config).__name__}; allowed: a peft.LoraConfig")
    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise ValueError(
            "config: the model has adapters already; add one with model.add_adapter, then accelerate(model)"
        )
    adapted: nn.Module = get_peft_model(model, config)
    return adapted


def _join(fused: dict[str, Any]) -> None:
    """Tell fused layers their names, what was logged of any of them, and which are computed together."""
    from jenga.peft.fused import least_tokens
    from jenga.peft.groups import ProjectionGroup, groups_of

    told: set[str] = next((layer._jenga_told for layer in fused.values() if hasattr(layer, "_jenga_told")), set())
    for name, layer in fused.items():
        layer._jenga_name, layer._jenga_told = name, told
        layer._jenga_least = least_tokens(layer) * layer.in_features
    for names in groups_of(fused):
        layers = [fused[name] for name in names]
        known = getattr(layers[0], "_jenga_group", None)
        # What was given up once would be again, at the cost of a call.
        group = known if known is not None and known.layers == layers else ProjectionGroup(layers)
        # Either all of them are computed by the kernel or none.
        least = max(layer._jenga_least for layer in layers)
        for layer in layers:
            layer._jenga_group, layer._jenga_least = group, least


def acceleration(model: nn.Module) -> Acceleration:
    """Which adapter layers of a model are fused, which are computed together, and why others are not."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    from jenga.peft.fused import is_fused, why_not

    found = Acceleration()
    groups: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        if is_fused(module):
            found.fused.append(name)
            group = getattr(module, "_jenga_group", None)
            if group is not None and group.together:
                groups.setdefault(id(group), []).append(name)
        elif isinstance(module, BaseTunerLayer):
            is_lora = hasattr(module, "lora_A")
            # Each method of PEFT has a package, and a class Linear in it.
            kind = f"{type(module).__module__.rpartition('.')[0]}.{type(module).__name__}"
            reason = why_not(module) if is_lora else f"{kind} is no layer of LoRA"
            found.kept[name] = reason or "accelerate was not called since it was added"
    found.groups.extend(tuple(names) for names in groups.values())
    return found


def restore(model: nn.Module) -> nn.Module:
    """Give every layer that `accelerate` fused PEFT's own forward pass back. In place; returns the model."""
    from jenga.peft.fused import is_fused

    for module in model.modules():
        if is_fused(module):
            for name in ("_jenga_group", "_jenga_least", "_jenga_square", "_jenga_told", "_jenga_name"):
                module.__dict__.pop(name, None)
            module.__class__ = type(module).jenga_of  # type: ignore[attr-defined]
    return model
