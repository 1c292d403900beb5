"""What the losses over a vocabulary refuse, and in which words."""

from typing import Literal

import torch
from torch import Tensor


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
    if (same_dtype and hidden.dtype != weight.dtype) or not hidden.is_floating_point():
        raise ValueError(
            f"{name}, {weight_name}: got dtypes {hidden.dtype} and {weight.dtype}; allowed: one floating dtype for "
            "both (or torch.autocast)"
        )


def check_head(
    name: str, hidden: Tensor, weight_name: str, weight: Tensor, targets: Tensor, bias: Tensor | None
) -> None:
    """Raises ValueError where shapes or dtypes of a linear layer and its labels disagree; their values are not read."""
    autocast = torch.is_autocast_enabled(hidden.device.type)
    check_matrices(name, hidden, weight_name, weight, same_dtype=not autocast)
    check_targets(targets, hidden.shape[0])
    if bias is not None and (bias.shape != weight.shape[:1] or not (autocast or bias.dtype == weight.dtype)):
        raise ValueError(
            f"bias: got shape {tuple(bias.shape)}, {bias.dtype}; allowed: ({weight.shape[0]},), {weight.dtype}"
        )


def check_targets(targets: Tensor, n_rows: int) -> None:
    """Raises ValueError unless `targets` is int64 (M,); its values are not read."""
    if targets.dtype != torch.int64:
        raise ValueError(f"targets: got dtype {targets.dtype}; allowed: int64 class indices")
    if targets.shape != (n_rows,):
        raise ValueError(f"targets: got shape {tuple(targets.shape)}; allowed: ({n_rows},), one label a row")


def wrong_labels(targets: Tensor, vocabulary: int, ignore_index: int) -> Tensor:
    """bool (M,): labels that are neither `ignore_index` nor in `[0, vocabulary)`."""
    return (targets != ignore_index) & ((targets < 0) | (targets >= vocabulary))


def check_labels(targets: Tensor, vocabulary: int, ignore_index: int) -> None:
    """Raises ValueError naming the first row whose label is out of range. Waits for the device."""
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
