"""The updates of a call as one list of ranks on a device, those of a layer side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Ranks:
    """R ranks of all the updates, ordered by layer.

    Attributes:
        parts: the updates in that order, as their place in the call.
        of_layer: first rank and number of ranks of each layer.
        scales: float32 (R,), what multiplies a rank.
        adapters: int64 (R,), the adapter a rank belongs to.
        of_call: int64 (R,), where the ranks of the call's order are among these; None where the orders agree.
        of_layers: int64 (R,), the inverse.
    """

    parts: tuple[int, ...]
    of_layer: tuple[tuple[int, int], ...]
    scales: Tensor
    adapters: Tensor
    of_call: Tensor | None
    of_layers: Tensor | None

    def stacked_a(self, lora_as: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """All A, contiguous (R, K)."""
        return _joined([lora_as[part] for part in self.parts], dtype, 0)

    def stacked_b(
        self, layer: int, lora_bs: Sequence[Tensor], projections: Sequence[int], dtype: torch.dtype
    ) -> Tensor:
        """The B of a layer that has ranks, contiguous (N, its ranks)."""
        return _joined([lora_bs[part] for part in self.parts if projections[part] == layer], dtype, 1)


def _joined(matrices: list[Tensor], dtype: torch.dtype, dim: int) -> Tensor:
    cast = [matrix.to(dtype) for matrix in matrices]
    return cast[0].contiguous() if len(cast) == 1 else torch.cat(cast, dim)


def split_parts(joined: Tensor, like: Sequence[Tensor], dim: int) -> list[Tensor]:
    """A gradient of stacked matrices as one of each, in the dtype of each and in memory of its own."""
    pieces = joined.split([matrix.shape[dim] for matrix in like], dim)
    cast = (piece.to(matrix.dtype) for piece, matrix in zip(pieces, like, strict=True))
    return [piece if len(like) == 1 else piece.clone(memory_format=torch.contiguous_format) for piece in cast]


def ranks_of(
    ranks: Sequence[int],
    scales: Sequence[float],
    projections: Sequence[int],
    adapters: Sequence[int],
    *,
    n_layers: int,
    device: torch.device,
) -> Ranks:
    """The ranks of updates; kept, since a copy to the device at each call would wait for it."""
    return _ranks_of(tuple(ranks), tuple(scales), tuple(projections), tuple(adapters), n_layers, device)


@lru_cache(maxsize=1024)
def _ranks_of(
    ranks: tuple[int, ...],
    scales: tuple[float, ...],
    projections: tuple[int, ...],
    adapters: tuple[int, ...],
    n_layers: int,
    device: torch.device,
) -> Ranks:
    parts = tuple(sorted(range(len(ranks)), key=projections.__getitem__))
    begin = [sum(ranks[:part]) for part in range(len(ranks))]
    columns = [begin[part] + rank for part in parts for rank in range(ranks[part])]
    counts = [sum(ranks[part] for part in parts if projections[part] == layer) for layer in range(n_layers)]
    # What is kept must not belong to the inference mode that a first call may be made in.
    with torch.inference_mode(False):
        of_layers = torch.tensor(columns, dtype=torch.int64)
        factors = torch.tensor([scales[part] for part in parts for _ in range(ranks[part])], dtype=torch.float32)
        owners = torch.tensor([adapters[part] for part in parts for _ in range(ranks[part])], dtype=torch.int64)
        same = columns == sorted(columns)
        return Ranks(
            parts,
            tuple((sum(counts[:layer]), count) for layer, count in enumerate(counts)),
            factors.to(device),
            owners.to(device),
            None if same else of_layers.argsort().to(device),
            None if same else of_layers.to(device),
        )
