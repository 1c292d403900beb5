"""The losses of one chunk of logits, turned in place into their slope: C++ on a CPU, Triton on CUDA."""

import importlib.util

import torch
from torch import Tensor


def check_triton(op: str) -> None:
    """Raises ImportError where there is no Triton, which CUDA tensors need."""
    if importlib.util.find_spec("triton") is None:
        raise ImportError(
            f"{op}: CUDA tensors need Triton, which is not installed: pip install triton (it comes with torch's CUDA "
            "wheels for Linux), or move the tensors to the CPU"
        )


def cross_entropy_of_chunk(
    logits: Tensor, targets: Tensor, *, ignore_index: int, label_smoothing: float, scale: Tensor, with_slope: bool
) -> Tensor:
    """Losses (rows,) of logits (rows, V), which become `scale` times their slope if `with_slope`.

    A label out of range gives the loss NaN and slope 0: the caller reports it.
    """
    if logits.device.type == "cpu":
        losses: Tensor = torch.ops.jenga.vocabulary_cross_entropy_(
            logits, targets, ignore_index, label_smoothing, float(scale), with_slope
        )
        return losses
    check_triton("linear_cross_entropy")
    from . import triton_kernel

    losses = triton_kernel.cross_entropy_(
        logits, targets,
        ignore_index=ignore_index, label_smoothing=label_smoothing, scale=scale, with_slope=with_slope,
    )  # fmt: skip
    return losses
