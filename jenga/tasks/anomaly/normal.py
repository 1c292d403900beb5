"""Which class is the normal one, and how far from it a row is."""

from __future__ import annotations

from typing import Any

import torch

from jenga.errors import ConfigError
from jenga.labels.column import NORMAL_NAMES, near, some_of, usual_normal


def normal_class(task: str, head: Any) -> int:
    """Return the class id of normal rows.

    Raises ConfigError where `head.normal` is not among `head.labels`, or is not given and no label says it.
    """
    labels = list(head.labels)
    if head.normal is not None:
        if head.normal not in labels:
            raise ConfigError(
                f"tasks[{task}].heads[{head.name}].normal: '{head.normal}' is no label{near(head.normal, labels)} "
                f"Labels: {', '.join(labels)}"
            )
        return labels.index(head.normal)
    usual = usual_normal(labels)
    if usual is None and len(labels) > 1:
        raise ConfigError(
            f"tasks[{task}].heads[{head.name}].normal: which of {some_of(labels)} is normal? None is called as normal "
            f"rows usually are ({', '.join(NORMAL_NAMES)}); set it to the label of normal rows"
        )
    return usual or 0


def anomaly_log_odds(logits: torch.Tensor, normal: int) -> torch.Tensor:
    """Return ``log((1 - p) / p)`` ``(M,)`` with p the softmax of ``logits (M, K)`` at class `normal`."""
    if logits.shape[1] == 2:
        return logits[:, 1 - normal] - logits[:, normal]
    others = torch.cat([logits[:, :normal], logits[:, normal + 1 :]], dim=1)
    return others.logsumexp(1) - logits[:, normal]
