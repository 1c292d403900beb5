"""Encoders of which each process keeps a part (FSDP2): of their weights, their gradients, and an optimizer's state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from jenga.errors import ConfigError
from jenga.modalities import BaseBackbone
from jenga.model import MultiTaskModel
from jenga.optimizers.groups import Group
from jenga.processes import Processes


class _Shard(NamedTuple):
    """A parameter of the model: `whole`, as torch knows it of all processes, and `own`, the part that is here.

    Both have one memory. `places`: the modules that have it, and its name there.
    """

    whole: DTensor
    own: nn.Parameter
    places: list[tuple[nn.Module, str]]


class Shards:
    """The parted parameters of `model` by name; none where it is whole in every process (`parted` false).

    A layer's weights are gathered before it runs, forward and backward, and its gradients are added up and parted
    behind it. What trains sees `own` parts, plain tensors, so that an optimizer of single numbers is as it was. Heads,
    fusions and backbones without layers are whole: their gradients are added up as without parts. All processes run
    the same layers in the same order.
    """

    def __init__(self, model: MultiTaskModel, processes: Processes, *, parted: bool) -> None:
        """Move the model to the processes' device, with the weights of the first; a part at a time where `parted`."""
        self.model, self.processes = model, processes
        self._shards: dict[str, _Shard] = {}
        self._roots: list[FSDPModule] = []
        self._reached: set[str] = set()
        if parted:
            check_layers(model)
            mesh = init_device_mesh(processes.device.type, (processes.size,))
            for name in model.encoders:
                if model.encoders[name].parted_layers():
                    self._part(f"encoders.{name}.", model.encoders[name], mesh)
            for module in model.modules():
                _move(module, processes.device)
        else:
            model.to(processes.device)
        left = [p for p in model.parameters() if not isinstance(p, DTensor)]
        processes.spread([*left, *model.buffers()])
        self._names = {id(each.whole): name for name, each in self._shards.items()}

    # --------------------------------------------------------------------------------------------------------- parting

    def _part(self, prefix: str, backbone: BaseBackbone, mesh: DeviceMesh) -> None:
        named = dict(backbone.named_parameters())
        places = _places(backbone)
        for module in (*backbone.parted_layers(), backbone):
            for each in module.modules():
                _move(each, self.processes.device)
            self.processes.spread([p for p in module.parameters() if not isinstance(p, DTensor)])
            # The outermost weights are there until the backward pass: an output layer is read outside of the backbone.
            fully_shard(
                module, mesh=mesh, reshard_after_forward=module is not backbone,
                ignored_params={p for p in module.parameters() if not p.ndim},
            )  # fmt: skip
            made = cast(FSDPModule, module)
            # Losses are divided by the labels of all processes already: gradients are added up, not averaged.
            made.set_gradient_divide_factor(1.0)
            made.set_force_sum_reduction_for_comms(True)
            found = {}
            for name, original in named.items():
                whole = backbone.get_parameter(name)
                if isinstance(whole, DTensor) and prefix + name not in self._shards:
                    own = nn.Parameter(whole.to_local().detach(), requires_grad=whole.requires_grad)
                    found[prefix + name] = _Shard(whole, own, places[id(original)])
                    for home, key in places[id(original)]:
                        home._parameters[key] = cast(nn.Parameter, whole)
            self._shards |= found
            self._watch(module, found)
        root = cast(FSDPModule, backbone)
        # A rank may have rows that do not reach what those of another do.
        root.set_reduce_scatter_unused_params(True)
        # After an evaluation they are still there, and may be others by now.
        backbone.register_forward_pre_hook(lambda *_: root.reshard(), prepend=True)
        self._roots.append(root)

    def _watch(self, module: nn.Module, shards: Mapping[str, _Shard]) -> None:
        """Note which of `shards` a backward pass reaches: torch gives zeros to the others, which no optimizer skips."""

        def begin(*_: object) -> None:
            handle.remove()
            for name, shard in shards.items():
                home, key = shard.places[0]
                gathered = home._parameters[key]
                assert gathered is not None
                if gathered.requires_grad:
                    gathered.register_post_accumulate_grad_hook(self._note(name))

        handle = module.register_forward_pre_hook(begin)

    def _note(self, name: str) -> Callable[[torch.Tensor], None]:
        return lambda _: self._reached.add(name)

    # -------------------------------------------------------------------------------------------------- what is trained

    def __len__(self) -> int:
        return len(self._shards)

    def own(self, parameter: torch.Tensor) -> nn.Parameter:
        """Return the part of a parameter of the model that is trained here; itself where it is whole."""
        name = self._names.get(id(parameter))
        return cast(nn.Parameter, parameter) if name is None else self._shards[name].own

    def own_groups(
        self, groups: Sequence[Group], names: Mapping[nn.Parameter, str]
    ) -> tuple[list[Group], dict[nn.Parameter, str]]:
        """Return groups of parameters, and the names of all, as an optimizer here has them."""
        parted: list[Group] = [{**group, "params": [self.own(p) for p in group["params"]]} for group in groups]
        return parted, {self.own(p): name for p, name in names.items()}

    def whole_ones(self, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
        """Return those of `parameters`, as `own` gives them, of which every process has the whole."""
        parts = {id(each.own) for each in self._shards.values()}
        return [p for p in parameters if id(p) not in parts]

    def take_gradients(self) -> None:
        """Give each part its gradient, which is added up already; one that no process has reached has none."""
        if not self._shards:
            return
        reached = self.processes.any(*(name in self._reached for name in self._shards))
        for shard, there in zip(self._shards.values(), reached, strict=True):
            grad = shard.whole.grad
            assert shard.own.data_ptr() == shard.whole.to_local().data_ptr(), "torch has moved a part elsewhere"
            shard.own.grad = grad.to_local() if there and isinstance(grad, DTensor) else None
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """Forget the gradients that no part has taken yet."""
        for shard in self._shards.values():
            shard.whole.grad = None
        self._reached.clear()

    def clip(self, parameters: Sequence[nn.Parameter], limit: float) -> torch.Tensor:
        """Scale the gradients of `parameters` down to a norm of `limit` and return the one before that, ``()``."""
        if not self._shards:
            return torch.nn.utils.clip_grad_norm_(parameters, limit)
        whole = self.whole_ones(parameters)
        known = {id(p) for p in whole}
        squares = self.processes.total(_square([p for p in parameters if id(p) not in known], self.processes.device))
        norm = (squares + _square(whole, self.processes.device)).sqrt().float()
        if math.isfinite(limit):
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return norm

    # ------------------------------------------------------------------------------------------------------ checkpoints

    def whole(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return `tensors` whole, by the names of the parameters that they are parts of, or have the shape of."""
        return {name: self._gathered(self._shards.get(name), each) for name, each in tensors.items()}

    def parts(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return of whole `tensors` the parts that are here, by the names of parameters."""
        return {name: self._cut(self._shards.get(name), each) for name, each in tensors.items()}

    def loadable(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return of the whole tensors of a model's state what its `load_state_dict` takes."""
        state: dict[str, Any] = self.model.state_dict() if self._shards else {}
        found = {}
        for name, each in tensors.items():
            there = state.get(name)
            if isinstance(there, DTensor) and there.shape == each.shape:
                own = _rows(each, self.processes).to(there.device, there.dtype)
                found[name] = cast(torch.Tensor, _of(own, there))
            else:
                found[name] = each
        return found

    def whole_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return the state of an optimizer as one of the whole parameters has it."""
        return self._state_of(optimizer, optimizer.state_dict(), self._gathered)

    def part_state(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """Return of the `state` of an optimizer of whole parameters what is of the parts here."""
        return self._state_of(optimizer, state, self._cut)

    def _state_of(
        self,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        made: Callable[[_Shard | None, torch.Tensor], torch.Tensor],
    ) -> dict[str, Any]:
        by_part = {id(each.own): each for each in self._shards.values()}
        numbered = [by_part.get(id(p)) for group in optimizer.param_groups for p in group["params"]]
        found = {
            key: _mapped(each, numbered[key], made) if isinstance(key, int) else each
            for key, each in state["state"].items()
        }
        return {**state, "state": found}

    def _gathered(self, shard: _Shard | None, own: torch.Tensor) -> torch.Tensor:
        if isinstance(own, DTensor):
            return self._kept(own)
        if shard is None or own.shape != shard.own.shape or not own.ndim:
            return own
        return self._kept(_of(own, shard.whole))

    def _cut(self, shard: _Shard | None, whole: torch.Tensor) -> torch.Tensor:
        parted = shard is not None and whole.ndim and whole.shape == shard.whole.shape
        return _rows(whole, self.processes).clone() if parted else whole

    def _kept(self, parted: DTensor) -> torch.Tensor:
        with torch.no_grad():
            whole: torch.Tensor = parted.full_tensor()
        return whole.cpu() if self.processes.first else whole.new_empty(0)

    @contextmanager
    def whole_model(self) -> Iterator[None]:
        """Let the model of the first process have whole parameters, on the CPU, so that it can be written.

        Of an encoder with adapters only what is trained: nothing else of it is written.
        """
        for root in self._roots:
            root.reshard()
        frozen = self.model.frozen_base() if self._shards else set()
        changed = []
        for name, shard in self._shards.items():
            if name in frozen:
                continue
            whole = self._kept(shard.whole)
            if self.processes.first:
                changed.append((shard, nn.Parameter(whole, requires_grad=shard.own.requires_grad)))
        for shard, plain in changed:
            _put(shard.places, plain)
        try:
            yield
        finally:
            for shard, _ in changed:
                _put(shard.places, cast(nn.Parameter, shard.whole))


def check_layers(model: MultiTaskModel) -> None:
    """Raise ConfigError where no backbone of `model` has layers to part."""
    if not any(each.parted_layers() for each in model.encoders.values()):
        kinds = " and ".join(dict.fromkeys(type(each).__name__ for each in model.encoders.values()))
        raise ConfigError(f"training.fsdp: {kinds} has no layers that could be parted; remove the key")


def _move(module: nn.Module, device: torch.device) -> None:
    """Move the tensors of `module` itself to `device`, but for those that are parted."""
    for each in (*module._parameters.values(), *module._buffers.values()):
        if each is not None and not isinstance(each, DTensor) and each.device != device:
            each.data = each.data.to(device)


def _places(backbone: BaseBackbone) -> dict[int, list[tuple[nn.Module, str]]]:
    """Return by parameter the modules that have it, of those around the backbone too, and its name there."""
    around = backbone.transformer
    modules = dict.fromkeys([*backbone.modules(), *([] if around is None else around.modules())])
    found: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in modules:
        for key, p in module._parameters.items():
            if p is not None:
                found.setdefault(id(p), []).append((module, key))
    return found


def _put(places: Sequence[tuple[nn.Module, str]], parameter: nn.Parameter) -> None:
    for module, key in places:
        module._parameters[key] = parameter


def _rows(whole: torch.Tensor, processes: Processes) -> torch.Tensor:
    """Return the part of `whole` that this process has: torch shards by the first dimension, as `torch.chunk` does."""
    size = -(-len(whole) // processes.size)
    return whole[processes.rank * size : (processes.rank + 1) * size]


def _of(own: torch.Tensor, like: DTensor) -> DTensor:
    return DTensor.from_local(
        own.contiguous(), like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def _square(parameters: Sequence[nn.Parameter], device: torch.device) -> torch.Tensor:
    """Return the square of the norm of the gradients, float64 ``()``: that of float32 overflows sooner than a norm."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads) if grads else torch.zeros((), device=device)
    return norm.double().square()


def _mapped(value: Any, shard: _Shard | None, made: Callable[[_Shard | None, torch.Tensor], torch.Tensor]) -> Any:
    """Return `value`, what is kept of one parameter, with `made` of each tensor in it."""
    if isinstance(value, torch.Tensor):
        return made(shard, value)
    if isinstance(value, Mapping):
        return {key: _mapped(each, shard, made) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(each, shard, made) for each in value)
    return value
