"""Which layers of an encoder get an update of low rank."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from jenga.errors import ConfigError, suggest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

USUAL: Mapping[str, Sequence[str]] = {
    "camembert": ("query", "value"),
    "distilbert": ("q_lin", "v_lin"),
    "modernbert": ("Wqkv",),
    "mpnet": ("q", "v"),
    "vit": ("q_proj", "v_proj"),
    "whisper": ("q_proj", "v_proj"),
}
"""Ends of the names of the layers that are usually targeted, by `model_type`, where PEFT's own table has none."""

_SHOWN = 12


def resolve(encoder: PreTrainedModel, target: str | Sequence[str]) -> list[str]:
    """Return the names of the linear layers that `target` picks: auto, all-linear, a regular expression, or names.

    A regular expression has to match a whole name; a name picks every layer whose name is it or ends in it, from a dot
    on. Raises ConfigError where nothing is picked, with what exists.
    """
    linear = linear_layers(encoder)
    if target == "auto":
        return _usual(encoder, linear)
    if target == "all-linear":
        return linear
    if isinstance(target, str):
        found = [name for name in linear if re.fullmatch(target, name)]
        if not found:
            raise ConfigError(f"peft.target: {_unmatched(encoder, target, linear)}. {_existing(linear)}")
        return found
    unknown = [name for name in target if not _ending(linear, [name])]
    if unknown:
        raise ConfigError("; ".join(f"peft.target: {_unknown(encoder, n, linear)}" for n in unknown) + _tail(linear))
    return _ending(linear, target)


def linear_layers(encoder: nn.Module) -> list[str]:
    """Return the names of the linear layers whose forward is called; torch's own attention reads its one's weights.

    The output layer of a language model is none of them: losses over its vocabulary read its weight.
    """
    from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
    from transformers.pytorch_utils import Conv1D

    output = _output_layer(encoder)
    return [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and not isinstance(module, NonDynamicallyQuantizableLinear)
        and module is not output
    ]


def _usual(encoder: PreTrainedModel, linear: list[str]) -> list[str]:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFTS

    kind = encoder.config.model_type
    known = PEFTS.get(kind) or USUAL.get(kind)
    if isinstance(known, str):
        found = [name for name in linear if re.fullmatch(known, name)]
    else:
        found = _ending(linear, known or ())
    if found:
        return found
    logger.warning("peft.target: auto knows no usual layers of a %s model; all %d linear ones it is", kind, len(linear))
    return linear


def _ending(names: Sequence[str], ends: Sequence[str]) -> list[str]:
    return [name for name in names if any(name == end or name.endswith(f".{end}") for end in ends)]


def _unmatched(encoder: nn.Module, pattern: str, linear: Sequence[str]) -> str:
    other = [(name, module) for name, module in encoder.named_modules() if re.fullmatch(pattern, name)]
    if other:
        return f"'{pattern}' matches {other[0][0]}, {_why_none(encoder, other[0][1])}"
    if _ending(linear, [pattern]):
        return f"'{pattern}' is a regular expression and matches no whole name; for the ends of names write [{pattern}]"
    return f"the regular expression '{pattern}' matches the whole name of no linear layer{_meant(pattern, linear)}"


def _unknown(encoder: nn.Module, name: str, linear: Sequence[str]) -> str:
    modules = dict(encoder.named_modules())
    if other := _ending(list(modules), [name]):
        return f"'{name}' is {other[0]}, {_why_none(encoder, modules[other[0]])}"
    return f"no linear layer is named '{name}', or ends in '.{name}'{_meant(name, linear)}"


def _why_none(encoder: nn.Module, module: nn.Module) -> str:
    """Return why a module gets no update, though it is there."""
    if module is _output_layer(encoder):
        return (
            "the output layer, whose weight the loss over the vocabulary reads itself, so that no update would be seen"
        )
    if isinstance(module, nn.Linear):
        return f"a {type(module).__name__}, whose weight torch's own attention reads without calling it"
    return f"a {type(module).__name__}, which is no linear layer"


def _output_layer(encoder: nn.Module) -> nn.Module | None:
    find: Any = getattr(encoder, "get_output_embeddings", None)
    found: nn.Module | None = find() if find is not None else None
    return found


def _meant(name: str, linear: Sequence[str]) -> str:
    ends = dict.fromkeys(end for each in linear for end in (each.rsplit(".", 1)[-1], each))
    return suggest(name, ends).rstrip("?")


def _tail(linear: Sequence[str]) -> str:
    return f". {_existing(linear)}"


def _existing(linear: Sequence[str]) -> str:
    """Return the names that exist, layers of a stack once, N standing for their numbers."""
    kinds = list(dict.fromkeys(re.sub(r"(?<![^.])\d+(?![^.])", "N", name) for name in linear))
    more = f", and {len(kinds) - _SHOWN} more" if len(kinds) > _SHOWN else ""
    return f"Linear layers (N: a number): {', '.join(kinds[:_SHOWN])}{more}; or all-linear, or auto"
