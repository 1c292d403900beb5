"""`nn.LSTM` for tracing: torch.export takes one apart into as many steps as its example had tokens, and then no other
number of them fits. Here it is one operator, which ONNX has too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@torch.library.custom_op("jenga_export::lstm", mutates_args=())
def lstm(x: torch.Tensor, weight: torch.Tensor, recurrent: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return the hidden states ``(B, T, H)`` of ``x (B, T, I)``; weights as ONNX lays them, of the gates i, o, f, c.

    weight: ``(1, 4H, I)``; recurrent: ``(1, 4H, H)``; bias: ``(1, 8H)``. It is traced, and never run by torch.
    """
    raise TypeError("jenga_export::lstm stands in traced graphs alone")


@lstm.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, recurrent: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return x.new_empty(*x.shape[:2], recurrent.shape[-1])


class _Lstm(nn.Module):
    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        weight, recurrent, *biases = (_as_onnx(each.detach()) for each in layer._flat_weights if each is not None)
        if not biases:
            biases = [torch.zeros_like(weight[:, 0])] * 2
        self.weight = nn.Parameter(weight.unsqueeze(0))
        self.recurrent = nn.Parameter(recurrent.unsqueeze(0))
        self.bias = nn.Parameter(torch.cat(biases).unsqueeze(0))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        hidden: torch.Tensor = lstm(x, self.weight, self.recurrent, self.bias)
        return hidden, None


def _as_onnx(rows: torch.Tensor) -> torch.Tensor:
    """Return what torch has for the gates i, f, c, o in ONNX's order."""
    put_in, forget, cell, put_out = rows.chunk(4)
    return torch.cat([put_in, put_out, forget, cell])


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """Let every LSTM of one layer and direction in `model` be one operator, as long as the block runs."""
    swapped: list[tuple[nn.Module, str, nn.LSTM]] = []
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.LSTM) and _is_plain(child):
                swapped.append((parent, name, child))
    for parent, name, child in swapped:
        setattr(parent, name, _Lstm(child))
    try:
        yield
    finally:
        for parent, name, child in swapped:
            setattr(parent, name, child)


def _is_plain(layer: nn.LSTM) -> bool:
    return layer.num_layers == 1 and not layer.bidirectional and layer.batch_first and not layer.proj_size


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return how ONNX says the operator."""
    from onnxscript import opset20 as op

    def translated(x: Any, weight: Any, recurrent: Any, bias: Any) -> Any:
        states, _, _ = op.LSTM(
            op.Transpose(x, perm=[1, 0, 2]), weight, recurrent, bias, hidden_size=int(recurrent.shape[-1])
        )
        return op.Transpose(op.Squeeze(states, op.Constant(value_ints=[1])), perm=[1, 0, 2])

    return {torch.ops.jenga_export.lstm.default: translated}
