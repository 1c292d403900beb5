"""What the class of an optimizer tells of how it has to be driven."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jenga.optimizers.signature import parameters_of

FLAG = "use_muon"
"""The key of a group of parameters that says whether they are hidden matrices, as pytorch-optimizer's Muons read it."""

_OWN_REST = "adamw_lr"
"""What optimizers take that tell groups apart by `FLAG`, and train those without it as AdamW does."""


def swaps_weights(part: Callable[..., object]) -> bool:
    """Whether it has other weights for evaluations than for training: `eval` and `train` put them in their place."""
    return callable(getattr(part, "train", None)) and callable(getattr(part, "eval", None))


def takes_matrices_only(part: Callable[..., object]) -> bool:
    """Whether it trains hidden matrices alone, so that AdamW has to stand beside it for all else.

    Besides torch's Muon these are classes with an attribute ``matrices_only = True``.
    """
    return part is torch.optim.Muon or getattr(part, "matrices_only", False) is True


def parts_matrices(part: Callable[..., object]) -> bool:
    """Whether it trains hidden matrices in a way of their own, and all else as AdamW does, or leaves it to AdamW."""
    return takes_matrices_only(part) or _OWN_REST in parameters_of(part)
