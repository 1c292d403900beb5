"""Memory with a page on either side that may not be touched: what reads one element too far ends the process."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

SIZE = 1 << 20
"""Bytes of one tensor at most."""
_PROT_NONE = 0


class Arenas:
    """Places for `count` tensors, which are the same ones for every call."""

    def __init__(self, count: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._areas = [mmap.mmap(-1, SIZE + 2 * mmap.PAGESIZE) for _ in range(count)]
        for area in self._areas:
            start = ctypes.addressof(ctypes.c_char.from_buffer(area))
            for guard in (start, start + mmap.PAGESIZE + SIZE):
                if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(mmap.PAGESIZE), _PROT_NONE):
                    raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, tensors: Sequence[Tensor], at_the_end: bool) -> list[Tensor]:
        """The same tensors, of the same strides, at the end or the begin of a place; as they are where that cannot be.

        What was placed before is overwritten.
        """
        free = iter(self._areas)
        storages = [_storage(each) for each in tensors]
        return [
            each if storage is None or storages.count(storage) > 1 else self._placed(each, next(free, None), at_the_end)
            for each, storage in zip(tensors, storages, strict=True)
        ]

    @staticmethod
    def _placed(tensor: Tensor, area: mmap.mmap | None, at_the_end: bool) -> Tensor:
        extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        n_bytes = extent * tensor.element_size()
        if n_bytes > SIZE or area is None:
            return tensor
        offset = mmap.PAGESIZE + (SIZE - n_bytes if at_the_end else 0)
        flat = torch.frombuffer(area, dtype=torch.uint8, count=n_bytes, offset=offset)
        flat.copy_(tensor.as_strided((extent,), (1,), tensor.storage_offset()).view(torch.uint8))
        return flat.view(tensor.dtype).as_strided(tensor.shape, tensor.stride())


def _storage(tensor: Tensor) -> int | None:
    """Where its memory is, or None for what a plain strided tensor in other memory would not be the same as."""
    plain = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.requires_grad
    if not plain or tensor.is_neg() or tensor.numel() == 0 or torch._C._is_cow_tensor(tensor):
        return None
    return tensor.untyped_storage().data_ptr()
