"""Smaller models made of bigger ones: some of the layers, as they are."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from jenga.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_KEY = "model.teacher_student_config.student"


def n_layers(model: PreTrainedModel) -> int:
    """Return the number of layers of `model`. Raises ConfigError where they are no one stack of layers of their own."""
    return len(_stack(model)[1])


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """Return a model of the numbered layers of `model` (from 0, rising), and of all that is no layer of it.

    It is made anew, since some architectures scale a layer by its place when they make it. Raises ConfigError for a
    layer that is not there, and as `n_layers` does.
    """
    name, stack = _stack(model)
    total = len(stack)
    if beyond := [number for number in layers if number >= total]:
        raise ConfigError(
            f"{_KEY}.from_teacher: layer {beyond[0]}, but '{model.name_or_path}' has {total} (0 to {total - 1})"
        )
    settings = copy.deepcopy(model.config)
    for key, value in list(vars(settings).items()):
        # Whatever is listed by layer, such as the kinds of attention, is listed for those that stay.
        if isinstance(value, list | tuple) and len(value) == total:
            setattr(settings, key, type(value)(value[number] for number in layers))
    settings.num_hidden_layers = len(layers)
    with torch.random.fork_rng(devices=[]):
        student: PreTrainedModel = type(model)(settings)
    place = {f"{name}.{number}.": f"{name}.{at}." for at, number in enumerate(layers)}
    state = {}
    for key, weight in model.state_dict().items():
        layer = re.match(rf"{re.escape(name)}\.\d+\.", key)
        if layer is None:
            state[key] = weight
        elif layer[0] in place:
            state[place[layer[0]] + key[layer.end() :]] = weight
    student.load_state_dict(state)
    student.tie_weights()
    if model.can_generate():
        student.generation_config = model.generation_config
    return student.to(model.dtype).eval()


def _stack(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    total = getattr(model.config, "num_hidden_layers", None)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == total
    ]
    outermost = [each for each in found if not any(each[0].startswith(f"{other}.") for other, _ in found)]
    if len(outermost) != 1 or getattr(model.config, "num_hidden_groups", None) is not None:
        raise ConfigError(
            f"{_KEY}: the layers of '{model.name_or_path}' ({model.config.model_type}) are no one stack, of which some "
            "could be kept; name a student of its own in model.base_model"
        )
    return outermost[0]
