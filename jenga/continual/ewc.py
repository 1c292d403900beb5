"""Elastic weight consolidation (Kirkpatrick et al. 2017, equation 3)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import torch

from jenga.callbacks import BaseCallback
from jenga.continual.gradients import loss_gradients
from jenga.continual.place import Place


class Held(TypedDict):
    """How many stages are held; by parameter their Fisher information, and the weights that it holds."""

    stages: int
    fisher: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]


class Ewc(BaseCallback[Held]):
    """Adds to the loss ``strength / 2 * sum_s F_s (w - w_s)^2`` over the stages s that are done.

    F_s is the diagonal of the empirical Fisher information: the mean over rows of the stage of the squared gradient of
    a row's loss with its own labels, without dropout. The sum of the stages' penalties is one, with the sum of their F
    and the mean of their weights by F, so that its memory does not grow. Parameters that a step does not reach, such as
    heads of other tasks, are left alone.
    """

    def __init__(self, place: Place, *, strength: float, rows: int) -> None:
        self.place, self.strength, self.rows = place, strength, rows
        self.held: Held = {"stages": 0, "fisher": {}, "weights": {}}

    def on_gradients(self, trainer: Any, **kwargs: Any) -> None:
        """Add the gradient of the penalty."""
        if not self.held["fisher"]:
            return
        fisher, weights = self.held["fisher"], self.held["weights"]
        for name, p in trainer.model.named_parameters():
            if p.grad is not None and name in fisher:
                p.grad.addcmul_(fisher[name], p.detach() - weights[name], value=self.strength)

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: dict[str, float], **kwargs: Any) -> None:
        """Where a stage ends, hold its weights; once, also where a run was stopped behind this and ends it again."""
        stage = self.place.ending(epoch)
        if stage is not None and stage >= self.held["stages"]:
            self._hold(trainer.model, self._fisher(trainer.model, stage))
            self.held["stages"] = stage + 1

    def _fisher(self, model: Any, stage: int) -> dict[str, torch.Tensor]:
        place, seed = self.place, [self.place.seed, zlib.crc32(b"fisher"), stage]
        rows = place.learnt(place.stages[stage].kept)
        chosen = [rows[at] for at in np.random.default_rng(seed).permutation(len(rows))[: self.rows]]
        names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True)
        total = [torch.zeros_like(p) for p in parameters]
        was_training = model.training
        model.eval()
        # cuDNN's recurrent layers have no backward pass in evaluation mode.
        with torch.backends.cudnn.flags(enabled=False):
            for row in chosen:
                grads = loss_gradients(
                    model, parameters, place.split(row.source), [row.row], row.tasks,
                    device=place.device, autocast=place.autocast, size=1,
                    scale=place.scale(),
                )  # fmt: skip
                for each, grad in zip(total, grads, strict=True):
                    if grad is not None:
                        each.addcmul_(grad, grad, value=1 / len(chosen))
        model.train(was_training)
        return dict(zip(names, total, strict=True))

    @torch.no_grad()
    def _hold(self, model: Any, fisher: Mapping[str, torch.Tensor]) -> None:
        for name, p in model.named_parameters():
            if name not in fisher:
                continue
            before = self.held["fisher"].get(name)
            if before is None:
                self.held["fisher"][name], self.held["weights"][name] = fisher[name], p.detach().clone()
                continue
            total = before + fisher[name]
            share = torch.where(total > 0, fisher[name] / total, torch.ones_like(total))
            self.held["weights"][name].lerp_(p.detach(), share)
            self.held["fisher"][name] = total

    def state_dict(self) -> Held:
        """Return what is held."""
        return self.held

    def load_state_dict(self, state: Held) -> None:
        """Hold what `state_dict` returned."""
        device = self.place.device
        self.held = {
            "stages": state["stages"],
            "fisher": {name: each.to(device) for name, each in state["fisher"].items()},
            "weights": {name: each.to(device) for name, each in state["weights"].items()},
        }
