"""Whether an optimizer and a schedule can train here and go on from a checkpoint: tried, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from safetensors.torch import load, save

from jenga.config.optimization import part_of
from jenga.config.training import ResolvedTraining
from jenga.errors import ConfigError
from jenga.optimizers.groups import PERIODS, Group
from jenga.trainer.checkpoint import load_optimizer, mapping
from jenga.trainer.judged import Judged
from jenga.trainer.memory import pack, unpack
from jenga.trainer.optim import Maker, make_scheduler

SIDE, STEPS, PERIOD, RATE = 4, 3, 2, 1e-3
"""Length of each dimension of a stand-in, the steps before and after its checkpoint, and its rate.

What happens once in a number of steps (`PERIODS`) does so every PERIOD, and is in the middle at the checkpoint. A rate
that is too high is not the optimizer's fault: the run itself tells of it when it diverges.
"""


def rehearse(
    groups: Sequence[Group],
    names: Mapping[torch.nn.Parameter, str],
    training: ResolvedTraining,
    device: torch.device,
    *,
    make: Maker,
    total_steps: int,
) -> None:
    """Train stand-ins of the parameters in `groups` for a few steps, and once more from a checkpoint of the middle.

    The stand-ins have the names and the dimensions of the parameters, at a length of 4. Global random states stay as
    they were. make: makes the optimizer. total_steps: those that the schedule is planned for.
    Raises ConfigError where the optimizer takes no such parameters, its state holds what no checkpoint can, or it goes
    on differently: then it remembers something that is not in its state. With ``training.fsdp`` also where what it does
    to a part of a parameter is not that part of what it does to the whole.
    """
    shapes = _stand_ins(groups, names, each=make.chain.gives_optimizer is not None)  # by their names, it may be
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if training.fsdp:
            _check_parts(shapes, make, training, device, total_steps)
        straight = _Stage(shapes, make, training, device, total_steps)
        straight.show()
        straight.step(seed=0)
        if not all(bool(weight.isfinite().all()) for weight in straight.weights()):
            raise ConfigError(
                f"{make.what} makes weights that are not finite (tried on small tensors); look at its "
                "parameters, set training.warmup_ratio to 0 where it divides by the rate, or choose another"
            )
        weights, saved = straight.weights(), straight.saved()
        straight.show()
        straight.step(seed=1)
        resumed = _Stage(shapes, make, training, device, total_steps)
        resumed.restore(saved, weights)
        resumed.step(seed=1)
    same = all(map(torch.equal, straight.weights(), resumed.weights()))
    if not same or straight.saved() != resumed.saved():
        raise ConfigError(
            f"{make.what} would go on differently after a resume (tried on small tensors): it "
            "remembers something that its state_dict does not hold; keep that in self.state or in param_groups, or "
            "choose another"
        )


def _check_parts(
    shapes: _Shapes, make: Maker, training: ResolvedTraining, device: torch.device, total_steps: int
) -> None:
    """Raise ConfigError unless each half of the stand-ins is trained as in the whole: then each number is by itself."""
    half = SIDE // 2
    longs, halves = (
        [(group, [(name, [rows, *shape[1:]] if shape else shape) for name, shape in own]) for group, own in shapes]
        for rows in (SIDE, half)
    )
    whole = _Stage(longs, make, training, device, total_steps)
    cut = [slice(0, half), slice(half, SIDE)]
    parts = [
        _Stage(halves, make, training, device, total_steps, [_rows_of(each, rows) for each in whole.weights()])
        for rows in cut
    ]
    for number in range(STEPS):
        grads = [torch.randn_like(p) for p in whole.parameters]
        whole.take([each.clone() for each in grads], seed=number)  # some write to their gradients
        for part, rows in zip(parts, cut, strict=True):
            part.take([_rows_of(each, rows) for each in grads], seed=number)
    same = all(
        # Wide and narrow instructions differ in the last bits.
        torch.allclose(_rows_of(each, rows), own, rtol=1e-4, atol=1e-6, equal_nan=True)
        for part, rows in zip(parts, cut, strict=True)
        for each, own in zip(whole.weights(), part.weights(), strict=True)
    )
    alike = all(part.keeps_like() and part.numbers() == whole.numbers() for part in parts)
    if not same or not alike or not whole.keeps_like():
        raise ConfigError(
            f"{make.what} trains a part of a matrix otherwise than the whole (tried on small tensors), and "
            "training.fsdp leaves each process a part; remove training.fsdp, or choose one that treats each number by "
            "itself, such as adamw"
        )


def _rows_of(tensor: torch.Tensor, rows: slice) -> torch.Tensor:
    """Return some rows of a stand-in; all of a single number."""
    return tensor[rows].clone() if tensor.ndim else tensor.clone()


_Shapes: TypeAlias = Sequence[tuple[Group, Sequence[tuple[str, Sequence[int]]]]]


class _Stage:
    """Stand-ins with their optimizer and schedule."""

    def __init__(
        self,
        shapes: _Shapes,
        make: Maker,
        training: ResolvedTraining,
        device: torch.device,
        total_steps: int,
        weights: Sequence[torch.Tensor] | None = None,
    ) -> None:
        """weights: of the stand-ins, in their order; default: drawn, always the same."""
        torch.manual_seed(0)
        given = None if weights is None else iter(weights)
        names: dict[torch.nn.Parameter, str] = {}
        groups: list[Group] = []
        for group, stand_ins in shapes:
            drawn = [torch.rand(list(shape), device=device) for _, shape in stand_ins]
            params = [torch.nn.Parameter(each if given is None else next(given)) for each in drawn]
            names |= {p: name for p, (name, _) in zip(params, stand_ins, strict=True)}
            groups.append({**group, "lr": RATE, "params": params})
        self.parameters, self.what = list(names), make.what
        try:
            self.optimizer = make(groups, names)
        except Exception as error:  # whatever a class of others comes up with
            raise self._refused("cannot train this model", error) from error
        for settings in self.optimizer.param_groups:
            settings.update({key: min(settings[key], PERIOD) for key in PERIODS if isinstance(settings.get(key), int)})
        try:
            self.scheduler = make_scheduler(self.optimizer, training, total_steps)
        except Exception as error:  # as above
            shape, _ = part_of(training.scheduler)
            raise ConfigError(
                f"training.scheduler: '{shape}' cannot be made for {total_steps} steps: {error}"
            ) from error

        self.judged = Judged({str(at): p for at, p in enumerate(self.parameters)}, self.optimizer, decay=None)
        if training.ema is not None and self.judged.swapping is not None:
            raise ConfigError(
                f"training.ema: optimizer '{type(self.optimizer).__name__}' has an average of its own, by which the "
                "model is judged and saved; remove the key, or choose another optimizer"
            )

    def show(self) -> None:
        """Let the weights for evaluations stand there for a moment, which must leave no trace."""
        try:
            with self.judged.shown():
                pass
        except Exception as error:  # as above
            raise self._refused("cannot show its weights for evaluations", error) from error

    def _refused(self, what: str, error: Exception) -> ConfigError:
        if isinstance(error, ConfigError):
            return error
        return ConfigError(f"{self.what} {what}: {error}; choose another")

    def step(self, *, seed: int) -> None:
        torch.manual_seed(seed)
        for _ in range(STEPS):
            self._take([torch.randn_like(p) for p in self.parameters])

    def take(self, grads: Sequence[torch.Tensor], *, seed: int) -> None:
        """Take one step of `grads`; what the optimizer draws at random follows from `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._take(grads)

    def _take(self, grads: Sequence[torch.Tensor]) -> None:
        for p, grad in zip(self.parameters, grads, strict=True):
            p.grad = grad
        try:
            self.optimizer.step(None)  # with a closure's place, as accelerate calls it
        except Exception as error:  # as above
            raise self._refused("cannot take a step on this model", error) from error
        self.scheduler.step()

    def numbers(self) -> list[str]:
        """Return the numbers that the optimizer keeps of its groups, such as a rate that it finds itself."""
        found = [each for group in self.optimizer.param_groups for key, each in group.items() if key != "params"]
        single = [each for each in found if isinstance(each, float) or (torch.is_tensor(each) and not each.ndim)]
        return [f"{float(each):.4g}" for each in single]

    def keeps_like(self) -> bool:
        """Whether each tensor in the optimizer's state is a single number, or has the shape of its parameter."""
        states = [(p, each) for p in self.parameters for each in _tensors(self.optimizer.state.get(p))]
        return all(not each.ndim or each.shape == p.shape for p, each in states)

    def weights(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.parameters]

    def saved(self) -> tuple[bytes, str]:
        tensors: dict[str, torch.Tensor] = {}
        states = {"optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()}
        try:
            state = json.dumps(pack(states, "state_dict", tensors))
            return save({name: each.detach().contiguous().clone() for name, each in tensors.items()}), state
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(
                f"training.optimizer and .scheduler: what they remember cannot be put into a checkpoint: {error}; "
                "choose another"
            ) from error

    def restore(self, saved: tuple[bytes, str], weights: Sequence[torch.Tensor]) -> None:
        tensors = load(saved[0])
        states = mapping(unpack(json.loads(saved[1]), tensors))
        load_optimizer(self.optimizer, states["optimizer"])
        self.scheduler.load_state_dict(states["scheduler"])
        with torch.no_grad():
            for p, weight in zip(self.parameters, weights, strict=True):
                p.copy_(weight)


def _tensors(value: object) -> Iterator[torch.Tensor]:
    """Yield the tensors in what an optimizer keeps of a parameter."""
    if isinstance(value, torch.Tensor):
        yield value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for each in inner:
        yield from _tensors(each)


def _stand_ins(
    groups: Sequence[Group], names: Mapping[torch.nn.Parameter, str], *, each: bool
) -> list[tuple[Group, list[tuple[str, list[int]]]]]:
    """Return each of `groups` with names and shapes of stand-ins, SIDE long at most.

    each: for every parameter, in place of one for those with as many dimensions in a group.
    """
    found = []
    for group in groups:
        chosen = group["params"] if each else {p.ndim: p for p in group["params"]}.values()
        found.append((group, [(names.get(p, ""), [min(SIDE, length) for length in p.shape]) for p in chosen]))
    return found
