"""Projections of one hidden state, such as query, key and value: the first that is called computes all of them."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

SIBLINGS = (
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
)
"""Names, in one module, of layers that as a rule read the same input."""


class ProjectionGroup:
    """Layers that read the same x. Whether they do is seen at each call: by the very tensor that they are called with.

    Where the first layer's x does not come to the others too, the group is given up, with a word, and each layer
    computes its own.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        self.layers = layers
        self.given_up = False
        self._x: Tensor | None = None
        self._state: tuple[Any, ...] = ()
        self._outputs: dict[int, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A copy begins anew: outputs that wait for their layers are of this graph.
        return {**self.__dict__, "_x": None, "_state": (), "_outputs": {}}

    def output(self, layer: nn.Module, x: Tensor) -> Tensor | None:
        """The output of `layer` for x, together with those of the others; None where it has to compute its own."""
        if self.given_up:
            return None
        if layer is self.layers[0]:
            return self._begin(x)
        place = self._place(layer)
        if x is not self._x or place not in self._outputs or self._state != _state(x):
            return None
        output = self._outputs.pop(place)
        if not self._outputs:
            self._x = None
        return output

    def _place(self, layer: nn.Module) -> int:
        return next((place for place, each in enumerate(self.layers) if each is layer), -1)

    def _begin(self, x: Tensor) -> Tensor | None:
        from jenga.peft.fused import LayerCall, layer_call, run, why_not_now

        if self._outputs:
            self._give_up()
            return None
        calls: list[LayerCall] = []
        for each in self.layers:
            if each._disable_adapters or each.merged_adapters or why_not_now(each, x, (), {}):
                return None
            call = layer_call(each)
            if isinstance(call, str) or (calls and call.dropout != calls[0].dropout):
                return None
            calls.append(call)
        first, *others = run(x, calls, None)
        self._x, self._state = x, _state(x)
        self._outputs = dict(enumerate(others, start=1))
        return first

    def _give_up(self) -> None:
        self.given_up, self._x, self._outputs = True, None, {}
        logger.info("layers that were to be computed together do not read the same input; each computes its own")


def _state(x: Tensor) -> tuple[Any, ...]:
    return x._version, torch.is_grad_enabled(), torch.is_autocast_enabled(x.device.type)


def groups_of(layers: dict[str, nn.Module]) -> list[tuple[str, ...]]:
    """Names of the layers that are siblings by `SIBLINGS` and read equally wide inputs; each of two names or more."""
    found = []
    parents = dict.fromkeys(name.rpartition(".")[0] for name in layers)
    for parent in parents:
        for siblings in SIBLINGS:
            names = [f"{parent}.{each}" if parent else each for each in siblings]
            here = tuple(name for name in names if name in layers)
            if len(here) > 1 and len({layers[name].in_features for name in here}) == 1:
                found.append(here)
    return found
