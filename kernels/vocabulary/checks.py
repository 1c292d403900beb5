"""What the losses over a vocabulary refuse, and in which words."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..autocast import autocast_is_on


def check_options(*, label_smoothing: float = 0.0, reduction: str, chunk_size: int | Literal["auto"] = "auto") -> None:
    """Raises ValueError where an option is outside its range."""
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing: got {label_smoothing}; allowed: 0 to 1")
    if reduction not in ("mean", "sum"):
        reason = (
            "; 'none' is not: gradients are computed in the forward pass, before the gradient of each row is known"
            if reduction == "none"
            else ""
        )
        raise ValueError(f"reduction: got {reduction!r}; allowed: 'mean', 'sum'{reason}")
    if chunk_size != "auto" and not (isinstance(chunk_size, int) and chunk_size >= 1):
        raise ValueError(f"chunk_size: got {chunk_size!r}; allowed: 'auto', or 1 or more rows")


def check_op(chunk_rows: int, wanted: Sequence[bool], n_inputs: int) -> None:
    """Raises ValueError where an op, called by itself, is told of rows or gradients that cannot be."""
    if chunk_rows < 0:
        raise ValueError(f"chunk_rows: got {chunk_rows}; allowed: 0 (auto), or 1 or more rows")
    if len(wanted) != n_inputs:
        raise ValueError(f"wanted: got {len(wanted)}; allowed: {n_inputs}, one for each input that has a gradient")


def check_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Raises ValueError unless `tensor` is on the device of `other`."""
    if tensor.device != other.device:
        raise ValueError(
            f"{name}: got device {tensor.device}; allowed: {other.device}, that of {other_name} (use {name}.to(...))"
        )


def check_matrices(name: str, hidden: Tensor, weight_name: str, weight: Tensor, *, same_dtype: bool = True) -> None:
    """Raises ValueError unless `hidden @ weight.T` can be formed, with at least one output.

    same_dtype False: autocast will give both one dtype.
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"{name}, {weight_name}: got shapes {tuple(hidden.shape)} and {tuple(weight.shape)}; allowed: (M, H) and "
            f"(V, H) (flatten batch and tokens: {name}.flatten(0, -2))"
        )
    if weight.shape[0] < 1:
        raise ValueError(f"{weight_name}: got {tuple(weight.shape)}; allowed: 1 row or more")
    is_floating = hidden.is_floating_point() and weight.is_floating_point()
    if (same_dtype and hidden.dtype != weight.dtype) or not is_floating:
        raise ValueError(
            f"{name}, {weight_name}: got dtypes {hidden.dtype} and {weight.dtype}; allowed: one floating dtype for "
            "both (or torch.autocast)"
        )
    check_device(weight_name, weight, name, hidden)


def check_head(
    name: str, hidden: Tensor, weight_name: str, weight: Tensor, targets: Tensor, bias: Tensor | None
) -> None:
    """Raises ValueError where shapes, dtypes or devices of a linear layer and its labels disagree; reads no values."""
    autocast = autocast_is_on(hidden.device.type)
    check_matrices(name, hidden, weight_name, weight, same_dtype=not autocast)
    check_targets(targets, name, hidden)
    if bias is not None and (bias.shape != weight.shape[:1] or not (autocast or bias.dtype == weight.dtype)):
        raise ValueError(
            f"bias: got shape {tuple(bias.shape)}, {bias.dtype}; allowed: ({weight.shape[0]},), {weight.dtype}"
        )
    if bias is not None:
        check_device("bias", bias, name, hidden)


def check_targets(targets: Tensor, name: str, hidden: Tensor) -> None:
    """Raises ValueError unless `targets` is int64 (M,) on the device of `hidden` (M, H); its values are not read."""
    n_rows = hidden.shape[0]
    if targets.dtype != torch.int64:
        raise ValueError(f"targets: got dtype {targets.dtype}; allowed: int64 class indices")
    if targets.shape != (n_rows,):
        raise ValueError(f"targets: got shape {tuple(targets.shape)}; allowed: ({n_rows},), one label a row")
    check_device("targets", targets, name, hidden)


def wrong_labels(targets: Tensor, vocabulary: int, ignore_index: int) -> Tensor:
    """bool (M,): labels that are neither `ignore_index` nor in `[0, vocabulary)`."""
    return (targets != ignore_index) & ((targets < 0) | (targets >= vocabulary))


def check_labels(targets: Tensor, vocabulary: int, ignore_index: int) -> None:
    """Raises ValueError naming the first row whose label is out of range. Waits for the device."""
    if targets.is_meta:  # there are no values
        return
    wrong = wrong_labels(targets, vocabulary, ignore_index)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"targets: row {row} holds label {int(targets[row])}; allowed: 0 to {vocabulary - 1}, or {ignore_index} "
            "for no label"
        )


def is_capturing(tensor: Tensor) -> bool:
    """Whether a CUDA graph is being captured, when the host may not ask for a value."""
    return tensor.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
