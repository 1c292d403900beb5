"""Regression: numbers a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field

from jenga.config.tasks import LabelColumns, TaskConfig
from jenga.labels.numbers import NumberHead
from jenga.tasks.base import TASK_REGISTRY, BaseTask


class RegressionConfig(TaskConfig):
    """Each head predicts numbers."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="Where column names are not the default.")
    heads: list[NumberHead] = Field(default_factory=lambda: [NumberHead(name="value")], min_length=1)


@TASK_REGISTRY.register("regression", config=RegressionConfig)
class RegressionTask(BaseTask):
    """Squared error on targets scaled by `set_scale`; predictions are in the targets' own units."""

    label_kind = "number"

    def __init__(self, config: Any, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        for i, head in enumerate(config.heads):
            self.register_buffer(f"mean_{i}", torch.zeros(head.num_labels))
            self.register_buffer(f"std_{i}", torch.ones(head.num_labels))

    def set_scale(self, head: str, mean: np.ndarray, std: np.ndarray) -> None:
        """Fix the mean and deviation ``(K,)`` of the training targets of `head`."""
        i = list(self.heads.sizes).index(head)
        getattr(self, f"mean_{i}").copy_(torch.from_numpy(mean))
        getattr(self, f"std_{i}").copy_(torch.from_numpy(std))

    def fit_targets(self, head: str, targets: Any) -> None:
        """Scale by the mean and the deviation of the training targets ``(M, K)``, unless the head is not to."""
        if not self._head_config(head).standardize:
            return
        # The squares of numbers from 1e19 on are beyond float32.
        exact = targets.astype(np.float64)
        mean, std = np.zeros(exact.shape[1]), np.ones(exact.shape[1])
        labelled = ~np.isnan(exact).all(axis=0)
        mean[labelled], std[labelled] = np.nanmean(exact[:, labelled], axis=0), np.nanstd(exact[:, labelled], axis=0)
        self.set_scale(head, mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32))

    def in_own_terms(self, head: str, teacher: BaseTask, logits: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
        """Return a teacher's numbers in this task's scale."""
        logits = logits[..., order]
        if not isinstance(teacher, RegressionTask):
            return logits
        mean, std = (each[list(order)] for each in teacher.scale(head))
        own_mean, own_std = self.scale(head)
        return (logits * std + mean - own_mean) / own_std

    def scale(self, head: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean and deviation ``(K,)`` of the training targets of `head`, on the CPU."""
        i = list(self.heads.sizes).index(head)
        return getattr(self, f"mean_{i}").cpu(), getattr(self, f"std_{i}").cpu()

    def predict(self, head: str, logits: torch.Tensor, threshold: np.ndarray | float = 0.5) -> np.ndarray:
        """Return numbers ``(M, K)`` in the targets' own units."""
        mean, std = self.scale(head)
        numbers: np.ndarray = (logits.double() * std.double() + mean.double()).numpy()
        return numbers

    def _targets(self, labels: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        return [
            (target - getattr(self, f"mean_{i}")) / getattr(self, f"std_{i}")
            for i, target in enumerate(super()._targets(labels))
        ]
