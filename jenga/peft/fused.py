"""PEFT's LoRA layers with a forward pass through `jenga.kernels.lora_linear`. Everything else of them is PEFT's.

Importing this module imports peft; jenga/peft/accelerate.py does so when it is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners import lora
from peft.tuners.lora.variants import DoraLinearVariant
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from torch.nn.modules import module as nn_module
from transformers.pytorch_utils import Conv1D

from jenga.kernels import FrozenWeight, Update, lora_linear_updates
from jenga.kernels.lora_linear import row_norm, row_square

logger = logging.getLogger(__name__)

_LEAST_TOKENS, _NEVER = 256, 2**62
_FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@dataclass
class LayerCall:
    """What one layer adds to a call of the op: its weight, bias and updates, and for DoRA what comes after."""

    weight: Tensor | FrozenWeight
    bias: Tensor | None
    updates: list[Update]
    dropout: float
    magnitude: Tensor | None = None
    norm: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """All that the result is computed from, besides x, and that may be written to."""
        adapters = (each for update in self.updates for each in (update.lora_a, update.lora_b))
        found = [self.weight, self.bias, self.magnitude, *adapters]
        return [each for each in found if isinstance(each, Tensor)]

    def finish(self, output: Tensor) -> Tensor:
        """The layer's result from the op's, which for DoRA has no bias and no magnitude yet."""
        if self.magnitude is None or self.norm is None:
            return output
        factor = (self.magnitude / self.norm).to(output.dtype)
        return output * factor if self.bias is None else torch.addcmul(self.bias.to(output.dtype), output, factor)


_classes: dict[type, type] = {}


def fused_class(kind: type[Any]) -> type:
    """The fused class of one of PEFT's layer classes; a layer becomes one, and PEFT's again, by its `__class__`.

    A plain subclass: with a second base it would have another layout in memory, to which no object may change. It bears
    the name that PEFT shows and reports of a layer.
    """
    if kind not in _classes:
        made = type(
            kind.__name__, (kind,), {"__module__": __name__, "forward": _by_size(kind.forward), "jenga_of": kind}
        )
        # By this name, in this module, a layer is found again in another process.
        made.__qualname__ = f"Fused{kind.__name__}"
        globals()[made.__qualname__] = made
        _classes[kind] = made
    return _classes[kind]


def is_fused(module: nn.Module) -> bool:
    """Whether a module is a layer that `accelerate` fused."""
    return type(module) in _classes.values()


def _by_size(of_peft: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The forward pass of a fused class: PEFT's where the kernel would cost more, without what that asks first."""

    def forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not kwargs and x.numel() < layer.__dict__.get("_jenga_least", 0) and x.is_cpu:
            output = None if args else _plain(layer, x)
            return of_peft(layer, x, *args) if output is None else output
        return _forward(layer, x, *args, **kwargs)

    return forward


def _plain(layer: Any, x: Tensor) -> Tensor | None:
    """PEFT's result of one active LoRA adapter, by PEFT's own operations; None where there is more to a call.

    What PEFT asks first shows where tokens are generated one by one: without it that takes .94 of the time.
    """
    active = layer._active_adapter
    name = active if isinstance(active, str) else active[0] if len(active) == 1 else None
    lora_a = layer.lora_A._modules.get(name)
    if (
        lora_a is None
        or layer._disable_adapters
        or layer.merged_adapters
        or name in layer.lora_variant
        or lora_a.weight.dtype is not x.dtype
    ):
        return None
    result: Tensor = layer.base_layer(x)
    update: Tensor = layer.lora_B._modules[name](lora_a(layer.lora_dropout._modules[name](x)))
    scale: float = layer.scaling[name]
    return result + update * scale


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """PEFT's result of ``x (..., K)``: (..., N). PEFT's own forward where the fused one has none."""
    # Merged, or with its adapters off, a layer is its base, which PEFT calls.
    if layer._disable_adapters or layer.merged_adapters:
        return _of_peft(layer, x, args, kwargs)
    group = layer.__dict__.get("_jenga_group")
    if group is not None and not (args or kwargs) and not torch.compiler.is_compiling():
        output: Tensor | None = group.output(layer, x)
        if output is not None:
            return output
    layer._check_forward_args(x, *args, **kwargs)
    adapter_names = kwargs.get("adapter_names")
    call = why_not_now(layer, x, args, kwargs) or layer_call(layer, adapter_names)
    if isinstance(call, str):
        _tell_once(layer, call)
        return _of_peft(layer, x, args, kwargs)
    return run(x, [call], None if adapter_names is None else rows_of(layer, x, adapter_names))[0]


def least_tokens(layer: lora.LoraLayer) -> int:
    """From how many tokens on the kernel costs a CPU no more than PEFT's forward pass does.

    Below, calling it costs more than it saves; beside a layer that is less than 16 times as wide as the rank, its
    products are slower than those of torch's library. DoRA pays from the first token on: PEFT's computes a norm of the
    whole weight each time. Quantised layers were not measured, and run the kernel.
    """
    quantised = getattr(type(layer), "jenga_of", type(layer)) is not lora.Linear
    if quantised or not layer.lora_A or len(layer.lora_magnitude_vector):
        return 0
    rank = max(layer.r[name] for name in layer.lora_A)
    return max(_LEAST_TOKENS, 8 * rank) if 16 * rank <= min(layer.in_features, layer.out_features) else _NEVER


def _of_peft(layer: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    output: Tensor = type(layer).jenga_of.forward(layer, x, *args, **kwargs)
    return output


def fusable_classes() -> tuple[type, ...]:
    """PEFT's layer classes that have a fused form here: linear layers, and quantised ones where their library is."""
    found: list[type] = [lora.Linear]
    for module, names in (("bnb", ("Linear8bitLt", "Linear4bit")), ("torchao", ("TorchaoLoraLinear",))):
        library = getattr(lora, module, None)
        found += [getattr(library, name) for name in names if hasattr(library, name)]
    return tuple(found)


# A layer that is to be copied to another process, or unpickled there, is looked up by its name.
fused_class(lora.Linear)


def run(x: Tensor, calls: Sequence[LayerCall], rows: Tensor | None) -> list[Tensor]:
    """The results of layers that read the same x."""
    updates = [
        Update(update.lora_a, update.lora_b, update.scale, projection, update.adapter)
        for projection, call in enumerate(calls)
        for update in call.updates
    ] if len(calls) > 1 else calls[0].updates  # fmt: skip
    outputs = lora_linear_updates(
        x,
        [call.weight for call in calls],
        [None if call.magnitude is not None else call.bias for call in calls],
        updates,
        rows=rows,
        dropout=calls[0].dropout,
    )
    return [call.finish(output) for call, output in zip(calls, outputs, strict=True)]


# ---------------------------------------------------------------------------------------------- what a layer is made of


def why_not(layer: lora.LoraLayer) -> str | None:
    """Why a layer has no fused form, whatever it is called with; None where it has."""
    kind = type(layer)
    if is_fused(layer):
        return None
    if kind not in fusable_classes():
        return f"{kind.__name__} is no linear layer that the kernel knows"
    base = layer.base_layer
    if base is not layer.get_base_layer():
        return "its base layer is an adapter's too"
    if not isinstance(base, (nn.Linear, Conv1D)):
        return f"its base layer is a {type(base).__name__}, no linear layer"
    if hasattr(base, "parametrizations"):
        return "its base weight is parametrised"
    if kind is lora.Linear and type(base).forward not in (nn.Linear.forward, Conv1D.forward):
        return f"its base layer, a {type(base).__name__}, has a forward of its own"
    if "forward" in layer.__dict__:
        return "its forward is another library's"
    variants = [layer.lora_variant.get(name) for name in layer.lora_A]
    if variants and all(each is not None and type(each) is not DoraLinearVariant for each in variants):
        return f"its adapter is a {type(variants[0]).__name__}, which has no fused form"
    return None


def why_not_now(layer: lora.LoraLayer, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Why this call has no fused form; None where it has."""
    if args or any(value is not None for key, value in kwargs.items() if key != "adapter_names"):
        return "it is called with more than x"
    if _hooked(layer.base_layer):
        return "its base layer has hooks"
    if x.dtype not in _FLOATING or x.device.type not in ("cpu", "cuda"):
        return f"x is {x.dtype} on {x.device.type}"
    return None


def _hooked(module: nn.Module) -> bool:
    """Whether a module's call is more than its class's forward. Offloading puts a forward into the module itself."""
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(hooks or any(_of_all_modules())) or "forward" in module.__dict__


def _of_all_modules() -> tuple[dict[int, Any], ...]:
    return (
        nn_module._global_forward_hooks, nn_module._global_forward_pre_hooks, nn_module._global_backward_hooks,
        nn_module._global_backward_pre_hooks,
    )  # fmt: skip


def layer_call(layer: lora.LoraLayer, adapter_names: list[str] | None = None) -> LayerCall | str:
    """What a layer adds to a call of the op, or why it cannot."""
    names = layer.active_adapters if adapter_names is None else dict.fromkeys(adapter_names)
    names = [name for name in names if name in layer.lora_A]
    variants = [name for name in names if name in layer.lora_variant]
    dropout = _dropout(layer, names)
    if isinstance(dropout, str):
        return dropout
    weight = base_weight(layer)
    if isinstance(weight, str):
        return weight
    bias = layer.base_layer.bias
    updates = []
    for adapter, name in enumerate(names):
        lora_a, lora_b, scale = layer.lora_A[name], layer.lora_B[name], layer.scaling[name]
        if type(lora_a) is not nn.Linear or type(lora_b) is not nn.Linear:
            return f"adapter '{name}' is no pair of linear layers"
        if _hooked(lora_a) or _hooked(lora_b) or _hooked(layer.lora_dropout[name]):
            return f"adapter '{name}' has hooks"
        updates.append(Update(lora_a.weight, lora_b.weight, scale, 0, adapter))
        if lora_b.bias is not None:
            if adapter_names is not None:
                return "adapters of single rows have biases"
            added = lora_b.bias * scale
            bias = added if bias is None else bias + added
    call = LayerCall(weight, bias, updates, dropout)
    return _with_dora(layer, names[0], call) if variants == names[:1] and len(names) == 1 else (
        f"adapter '{variants[0]}' is a variant of LoRA that is not alone, or has no fused form" if variants else call
    )  # fmt: skip


def _dropout(layer: lora.LoraLayer, names: Sequence[str]) -> float | str:
    rates = set()
    for name in names:
        module = layer.lora_dropout[name]
        if isinstance(module, nn.Dropout):
            rates.add(module.p if module.training else 0.0)
        elif isinstance(module, nn.Identity):
            rates.add(0.0)
        else:
            return f"its dropout is a {type(module).__name__}"
    if len(rates) > 1:
        return "its adapters differ in dropout"
    rate = rates.pop() if rates else 0.0
    return rate if rate < 1.0 else "its dropout is 1"


def base_weight(layer: lora.LoraLayer) -> Tensor | FrozenWeight | str:
    """The base weight as (N, K): itself, its transpose for Conv1D, or a function that dequantises it; or why not."""
    base = layer.base_layer
    weight: Tensor = base.weight
    if type(weight) in (nn.Parameter, Tensor) and weight.dtype in _FLOATING:
        return weight.t() if isinstance(base, Conv1D) else weight
    if getattr(type(layer), "jenga_of", type(layer)) is lora.Linear:
        return f"its base weight is a {type(weight).__name__} of {weight.dtype}"
    return lambda: dequantize_module_weight(base).detach()


def _with_dora(layer: lora.LoraLayer, name: str, call: LayerCall) -> LayerCall | str:
    if type(layer.lora_variant[name]) is not DoraLinearVariant:
        return f"adapter '{name}' is a {type(layer.lora_variant[name]).__name__}, which has no fused form"
    [update] = call.updates
    magnitude = layer.lora_magnitude_vector[name].weight
    square = None
    base = layer.base_layer.weight
    counts_writes = torch.compiler.is_compiling() or not base.is_inference()
    if isinstance(call.weight, Tensor) and not call.weight.requires_grad and counts_writes:
        # A merge, or another checkpoint, changes one of these. The kept alias holds on to the memory it was computed
        # from, so that no new weight can lie there.
        key = (base.data_ptr(), base._version, base.dtype)
        kept = getattr(layer, "_jenga_square", None)
        if kept is None or kept[0] != key:
            layer._jenga_square = kept = (key, row_square(call.weight), base.detach())
        square = kept[1]
    call.magnitude = magnitude
    call.norm = row_norm(call.weight, update.lora_a, update.lora_b, scale=update.scale, weight_square=square)
    return call


def rows_of(layer: lora.LoraLayer, x: Tensor, adapter_names: list[str]) -> Tensor:
    """Which adapter each row of x (B, ..., K) sees, int64 (B, ...), from the names of its first dimension's."""
    if len(adapter_names) != x.shape[0]:
        raise ValueError(f"adapter_names: got {len(adapter_names)} for a batch of {x.shape[0]}; give one a sample")
    known = {name: place for place, name in enumerate(n for n in dict.fromkeys(adapter_names) if n in layer.lora_A)}
    first = torch.tensor([known.get(name, -1) for name in adapter_names], device=x.device)
    return first.reshape(-1, *[1] * (x.dim() - 2)).expand(x.shape[:-1])


def _tell_once(layer: lora.LoraLayer, reason: str) -> None:
    """Log a reason once for all layers of a model, which share a set of those that were told."""
    told = getattr(layer, "_jenga_told", None)
    # A logger cannot be called from a graph that has to be whole.
    if told is None or reason in told or torch.compiler.is_compiling():
        return
    told.add(reason)
    logger.warning("LoRA layers run PEFT's own forward pass, at its cost, such as %s: %s", layer._jenga_name, reason)
