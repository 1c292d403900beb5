"""Projections of one hidden state, such as query, key and value: the first that is called computes all of them."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jenga.peft.fused import LayerCall

logger = logging.getLogger(__name__)

SIBLINGS = (
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("q_proj", "k_proj", "v_proj"),
    ("query_proj", "key_proj", "value_proj"),
    ("q", "k", "v"),
    ("gate_proj", "up_proj"),
    ("wi_0", "wi_1"),
)
"""Names, in one module, of layers that as a rule read the same input."""
_LONGEST_REST = 1024
"""Calls after which a group is tried again at the latest; a try that fails costs the other layers' products."""
_TOLD_AT = 3
"""Misses running that one exception and its retry do not explain."""


@dataclass
class Waiting:
    """Outputs for the layers of a group that are still to be called, by place, and all that they hang on."""

    x: Tensor
    state: tuple[Any, ...]
    calls: list[LayerCall]
    signatures: list[tuple[Any, ...]]
    outputs: dict[int, Tensor]


class ProjectionGroup:
    """Layers that read the same x. Whether they do is seen at each call: by the very tensor that they are called with.

    The first that is called computes all, and holds x and the others' outputs until these are called. An output is
    handed out once, and only where x, the layer's adapters and torch's modes are those that it was computed with. Where
    another x comes to a layer, the group is given up, with a word: each layer then computes its own. Where the others
    are not called twice running, it rests, for twice as many calls each time: an exception may have come between.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        self.layers = layers
        self.given_up = False
        self._missed = 0
        self._first = -1
        self._rest = 0
        # Threads that run one model each wait for their own.
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        # A copy begins anew: outputs that wait for their layers are of this graph.
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def output(self, layer: nn.Module, x: Tensor) -> Tensor | None:
        """The output of `layer` for x, together with those of the others; None where it has to compute its own."""
        place = -1 if self.given_up else self._place(layer)
        if place < 0:
            return None
        waiting: Waiting | None = getattr(self._local, "waiting", None)
        if waiting is None:
            return None if self._rests(place) else self._begin(place, x)
        output = waiting.outputs.pop(place, None)
        if output is None:
            # The others were not called: an exception came between, or they are not used.
            self._local.waiting = None
            self._missed += 1
            if self._missed > 1:
                self._first, self._rest = place, min(2**self._missed, _LONGEST_REST)
                if self._missed == _TOLD_AT:
                    logger.info("layers that were to be computed together are not all called; each computes its own")
                return None
            return self._begin(place, x)
        if x is not waiting.x:
            self._give_up("do not read the same input")
            return None
        if waiting.state != _state(x) or waiting.signatures[place] != _signature(layer, waiting.calls[place]):
            self._local.waiting = None
            return None
        if not waiting.outputs:
            self._local.waiting, self._missed = None, 0
        return output

    @property
    def together(self) -> bool:
        """Whether the next call computes all of them."""
        return not self.given_up and not self._rest

    def _rests(self, place: int) -> bool:
        # A rest ends where a pass begins, with the layer that is called first.
        if self._rest and place == self._first:
            self._rest -= 1
            return self._rest > 0
        return self._rest > 0

    def _place(self, layer: nn.Module) -> int:
        return next((place for place, each in enumerate(self.layers) if each is layer), -1)

    def _begin(self, place: int, x: Tensor) -> Tensor | None:
        from jenga.peft.fused import layer_call, run, why_not_now

        # Where nothing counts the writes to x, nobody could tell later that it is still what it was.
        if x.is_inference():
            return None
        calls: list[LayerCall] = []
        for each in self.layers:
            if each._disable_adapters or each.merged_adapters or why_not_now(each, x, (), {}):
                return None
            call = layer_call(each)
            if isinstance(call, str) or (calls and call.dropout != calls[0].dropout):
                return None
            calls.append(call)
        outputs = dict(enumerate(run(x, calls, None)))
        own = outputs.pop(place)
        signatures = [_signature(each, call) for each, call in zip(self.layers, calls, strict=True)]
        self._local.waiting = Waiting(x, _state(x), calls, signatures, outputs)
        return own

    def _give_up(self, reason: str) -> None:
        self.given_up, self._local.waiting = True, None
        logger.info("layers that were to be computed together %s; each computes its own", reason)


def _state(x: Tensor) -> tuple[Any, ...]:
    kind = x.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return x._version, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocast


def _signature(layer: Any, call: LayerCall) -> tuple[Any, ...]:
    """What an output of a layer hangs on besides x, as far as that changes between two calls of a model."""
    # Plain attributes only: what nn.Module looks up among parameters and modules costs as much as a small layer.
    versions = [-1 if tensor.is_inference() else tensor._version for tensor in call.tensors()]
    return layer.training, layer._active_adapter, {**layer.scaling}, versions


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
