"""Whether an optimizer and a schedule can train here and go on from a checkpoint: tried, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from safetensors.torch import load, save

from jenga.config.optimization import part_of
from jenga.config.training import ResolvedTraining
from jenga.errors import ConfigError
from jenga.trainer.checkpoint import load_optimizer, mapping
from jenga.trainer.judged import Judged
from jenga.trainer.memory import pack, unpack
from jenga.trainer.optim import Group, make_optimizer, make_scheduler

SIDE, STEPS, RATE = 4, 3, 1e-3
"""Length of each dimension of a stand-in, the steps before and after its checkpoint, and its rate.

A rate that is too high is not the optimizer's fault: the run itself tells of it when it diverges.
"""


def rehearse(groups: Sequence[Group], training: ResolvedTraining, device: torch.device, *, total_steps: int) -> None:
    """Train stand-ins of the parameters in `groups` for a few steps, and once more from a checkpoint of the middle.

    The stand-ins have the dimensions of the parameters, at a length of 4. Global random states stay as they were.
    total_steps: those that the schedule is planned for.
    Raises ConfigError where the optimizer takes no such parameters, its state holds what no checkpoint can, or it goes
    on differently: then it remembers something that is not in its state.
    """
    shapes, name = _shapes(groups), part_of(training.optimizer)[0]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        straight = _Stage(shapes, training, device, total_steps)
        straight.show()
        straight.step(seed=0)
        if not all(bool(weight.isfinite().all()) for weight in straight.weights()):
            raise ConfigError(
                f"training.optimizer: '{name}' makes weights that are not finite (tried on small tensors); look at its "
                "parameters, set training.warmup_ratio to 0 where it divides by the rate, or choose another"
            )
        weights, saved = straight.weights(), straight.saved()
        straight.show()
        straight.step(seed=1)
        resumed = _Stage(shapes, training, device, total_steps)
        resumed.restore(saved, weights)
        resumed.step(seed=1)
    same = all(map(torch.equal, straight.weights(), resumed.weights()))
    if not same or straight.saved() != resumed.saved():
        raise ConfigError(
            f"training.optimizer: '{name}' would go on differently after a resume (tried on small tensors): it "
            "remembers something that its state_dict does not hold; keep that in self.state or in param_groups, or "
            "choose another"
        )


class _Stage:
    """Stand-ins, one of each number of dimensions a group, with their optimizer and schedule."""

    def __init__(
        self, shapes: Sequence[Group], training: ResolvedTraining, device: torch.device, total_steps: int
    ) -> None:
        torch.manual_seed(0)
        groups: list[Group] = [
            {**group, "params": [torch.nn.Parameter(torch.rand(p.shape, device=device)) for p in group["params"]]}
            for group in shapes
        ]
        self.parameters = [p for group in groups for p in group["params"]]
        self.name, _ = part_of(training.optimizer)
        try:
            self.optimizer = make_optimizer(groups, training)
        except Exception as error:  # whatever a class of others comes up with
            raise self._refused("cannot train this model", error) from error
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
                f"training.ema: optimizer '{self.name}' has an average of its own, by which the model is judged and "
                "saved; remove the key, or choose another optimizer"
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
        return ConfigError(f"training.optimizer: '{self.name}' {what}: {error}; choose another")

    def step(self, *, seed: int) -> None:
        torch.manual_seed(seed)
        for _ in range(STEPS):
            for p in self.parameters:
                p.grad = torch.randn_like(p)
            try:
                self.optimizer.step(None)  # with a closure's place, as accelerate calls it
            except Exception as error:  # as above
                raise self._refused("cannot take a step on this model", error) from error
            self.scheduler.step()

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


def _shapes(groups: Sequence[Group]) -> list[Group]:
    """Return `groups` with one parameter for each number of dimensions, SIDE long at most."""
    return [
        {
            **group,
            "lr": RATE,
            "params": [
                torch.nn.Parameter(torch.empty([min(SIDE, length) for length in shape], device="meta"))
                for shape in {p.ndim: p.shape for p in group["params"]}.values()
            ],
        }
        for group in groups
    ]
