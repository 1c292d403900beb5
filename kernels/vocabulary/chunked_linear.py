"""A linear layer over a vocabulary whose logits exist for some rows at a time, and their gradients.

Where the arithmetic runs: float64 in float64; on a CPU everything else in float32, whose GEMMs are the fastest that
processors without bfloat16 units have (a half-precision weight is widened some rows of it at a time); on a GPU logits
and slopes have the dtype of the inputs, and every sum over chunks is float32.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..dtypes import accumulate_dtype

_WIDENED_ROWS = 8192
"""Rows of a half-precision weight that are widened, or summed in float32, at a time."""


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of logits and slopes: see the top of this module."""
    if tensor.device.type == "cpu" and tensor.dtype != torch.float64:
        return torch.float32
    return tensor.dtype


def gradient_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which gradients for inputs of `dtype` wait for the upstream gradient.

    float32 for float16: a gradient divided by thousands of rows underflows there, before the loss scale of the upstream
    gradient can lift it.
    """
    return torch.float32 if dtype == torch.float16 else dtype


class ChunkedLinear:
    """Logits of `hidden @ weight.T + bias`, a chunk of rows at a time, and the gradients of their slopes.

    Args:
        hidden: (M, H). weight: (V, H). bias: (V,) or None; all of one floating dtype.
        wanted: whether gradients of hidden, weight and bias are to be summed.
        dtype: of the arithmetic, instead of the one said at the top of this module.

    Attributes:
        dtype: of the logits and slopes.
        wants_gradients: whether any gradient is to be summed.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        wanted: Sequence[bool] = (False,) * 3,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._hidden, self._weight, self._bias = hidden, weight, bias
        self.dtype = dtype or compute_dtype(hidden)
        self._total_dtype = total_dtype = accumulate_dtype(self.dtype)
        self.wants_gradients = any(wanted)
        wants_hidden, wants_weight, wants_bias = wanted
        self._gradient_dtype = gradient_dtype(hidden.dtype)
        self._dhidden = hidden.new_empty(hidden.shape, dtype=self._gradient_dtype) if wants_hidden else None
        self._dweight = hidden.new_empty(weight.shape, dtype=total_dtype) if wants_weight else None
        self._dbias = hidden.new_zeros(weight.shape[:1], dtype=total_dtype) if wants_bias else None
        # The first product replaces what is there, which saves filling a whole gradient with zeros.
        self._has_rows = False

    def new_logits(self, n_rows: int) -> Tensor:
        """Uninitialised logits (n_rows, V)."""
        return self._hidden.new_empty((n_rows, self._weight.shape[0]), dtype=self.dtype)

    def logits(self, rows: slice, out: Tensor) -> Tensor:
        """Writes the logits of some rows to the first rows of `out` and returns those."""
        hidden = self._hidden[rows].to(self.dtype)
        logits = out[: hidden.shape[0]]
        for columns, weight in self._weight_parts():
            if self._bias is None:
                torch.mm(hidden, weight.t(), out=logits[:, columns])
            else:
                torch.addmm(self._bias[columns].to(self.dtype), hidden, weight.t(), out=logits[:, columns])
        return logits

    def add_gradients(self, rows: slice, slope: Tensor) -> None:
        """Adds what the slopes (rows, V) of some rows give to the wanted gradients."""
        hidden = self._hidden[rows].to(self.dtype)
        dhidden = slope.new_empty(hidden.shape, dtype=self._total_dtype) if self._dhidden is not None else None
        for columns, weight in self._weight_parts():
            part = slope[:, columns]
            if dhidden is not None:
                _add_product(dhidden, part, weight, columns.start > 0)
            if self._dweight is not None:
                _add_product(self._dweight[columns], part.t(), hidden, self._has_rows)
        if self._dhidden is not None and dhidden is not None:
            self._dhidden[rows] = dhidden
        if self._dbias is not None:
            self._dbias += slope.sum(dim=0, dtype=self._dbias.dtype)
        self._has_rows = True

    def gradients(self, scale: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of hidden, weight and bias times `scale`, in `gradient_dtype`; no elements if not wanted."""
        if self._dweight is not None and not self._has_rows:
            self._dweight.zero_()

        def finished(total: Tensor | None) -> Tensor:
            if total is None:
                return self._hidden.new_empty(0, dtype=self._gradient_dtype)
            return (total if scale is None else total.mul_(scale)).to(self._gradient_dtype)

        return finished(self._dhidden), finished(self._dweight), finished(self._dbias)

    def _weight_parts(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows of the weight in the dtype of the arithmetic, with the columns of the logits that they give."""
        n_rows = self._weight.shape[0]
        step = n_rows if self._weight.dtype == self._total_dtype else _WIDENED_ROWS
        for begin in range(0, n_rows, step):
            yield slice(begin, begin + step), self._weight[begin : begin + step].to(self.dtype)


def _add_product(total: Tensor, left: Tensor, right: Tensor, keep: bool) -> None:
    """total = left @ right, added to what it holds if `keep`; summed in the total's dtype, which may be wider."""
    if left.dtype == total.dtype:
        torch.addmm(total, left, right, beta=int(keep), out=total)
    elif keep:
        total.add_(torch.mm(left, right, out_dtype=total.dtype))
    else:
        torch.mm(left, right, out_dtype=total.dtype, out=total)
