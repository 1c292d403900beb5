"""Bytes that each process sends in a step, and holds of weights and of an optimizer's state: counted, not estimated.

    python -m torch.distributed.run --nproc-per-node 4 benchmarks/messages.py cfg.yml FOLDER [key=value ...]

Every process writes FOLDER/RANK.json. All collectives of torch are wrapped; what one sends is counted as by a ring: of
n bytes that are added up 2 (N - 1) / N n, of n bytes that are gathered from all, or added up and shared out,
(N - 1) / N n. Steps are counted from the second on, of one epoch, without evaluations and checkpoints; then the run
is stopped. Give it enough steps that the gradients of single tasks are measured in the first one alone (a step in 20th
parts of the run).
"""

from __future__ import annotations

import functools
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d
from torch.distributed.tensor import DTensor

import jenga

RINGS: dict[str, Callable[[tuple[Any, ...], int], float]] = {
    "all_reduce": lambda given, n: 2 * (n - 1) / n * size_of(given[0]),
    "all_gather_single": lambda given, n: (n - 1) / n * size_of(given[0]),
    "reduce_scatter_single": lambda given, n: (n - 1) / n * size_of(given[1]),
    "all_gather": lambda given, n: (n - 1) / n * sum(map(size_of, given[0])),
    "broadcast": lambda given, n: (n - 1) / n * size_of(given[0]),
}
"""What one process sends of a collective, in bytes, by its arguments and the number of processes."""

sent: Counter[str] = Counter()
calls: Counter[str] = Counter()


def size_of(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def counting(*args: Any, **kwargs: Any) -> Any:
        named = [kwargs[key] for key in ("output", "output_tensor", "input", "input_tensor") if key in kwargs]
        given = (*args, *named)
        sent[name] += round(RINGS[name](given, dist.get_world_size()))
        calls[name] += 1
        return call(*args, **kwargs)

    return counting


def local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


class Counted(jenga.BaseCallback):
    """Takes what was sent between the beginnings of the second and of the last step of an epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.passes = folder, 0
        self.first: tuple[int, dict[str, int], dict[str, int]] | None = None

    def on_batch_begin(self, trainer: Any, batch: Any, **kwargs: Any) -> None:
        self.passes += 1

    def on_step_begin(self, trainer: Any, batches: Any, place: tuple[int, int], **kwargs: Any) -> None:
        if self.first is None and trainer.state.step == 1:
            self.first, self.passes = (trainer.state.step, dict(sent), dict(calls)), 0
        elif self.first is not None and place[0] == 0:
            self.write(trainer, *self.first)
        elif place[0] == 1:
            trainer.should_stop = True

    def write(self, trainer: Any, first: int, before: dict[str, int], called: dict[str, int]) -> None:
        steps = trainer.state.step - first
        weights = list(trainer.model.parameters())
        trained = [p for p in weights if p.requires_grad]
        state = [each for kept in trainer.optimizer.state.values() for each in kept.values() if torch.is_tensor(each)]
        found = {
            "steps": steps,
            "passes": self.passes / steps,
            "sent": {name: (count - before.get(name, 0)) / steps for name, count in sent.items()},
            "calls": {name: (count - called.get(name, 0)) / steps for name, count in calls.items()},
            "held": {"weights": sum(size_of(local(p)) for p in weights), "state": sum(map(size_of, state))},
            "whole": {
                "weights": sum(p.numel() * p.element_size() for p in weights),
                "trained": sum(p.numel() * p.element_size() for p in trained),
                "encoders": sum(p.numel() * p.element_size() for p in trainer.model.encoders.parameters()),
            },
        }
        (self.folder / f"{dist.get_rank()}.json").write_text(json.dumps(found))


def main(config: str, folder: str, *overrides: str) -> None:
    for name in RINGS:
        counting = wrapped(name, getattr(distributed_c10d, name))
        setattr(distributed_c10d, name, counting)
        setattr(dist, name, counting)
    Path(folder).mkdir(exist_ok=True)
    jenga.train(config, overrides=overrides, callbacks=[Counted(Path(folder))], device="cpu")


if __name__ == "__main__":
    main(*sys.argv[1:])
