"""Registration of ops whose gradients an `autograd.Function` around them has."""

from collections.abc import Callable, Mapping
from typing import Any

import torch


def register_without_autograd(
    fakes: Mapping[str, Callable[..., Any]], subject: str, rows: str
) -> torch.library.Library:
    """Registers the fakes of compiled ops, by name; they get no autograd of their own, and refuse torch.func.vmap.

    Args:
        subject: what the refusal says has no batching rule.
        rows: the tensor into whose rows the mapped dimension may be folded.

    Returns:
        What has to be kept: registrations last as long as the object that made them.
    """
    library = torch.library.Library("jenga", "IMPL")

    def refuse_vmap(*_: Any) -> Any:
        raise NotImplementedError(
            f"{subject} has no batching rule for torch.func.vmap; fold the mapped dimension into the rows of {rows}, "
            "which are independent"
        )

    for name, fake in fakes.items():
        torch.library.register_fake(f"jenga::{name}", fake)
        torch.library.register_vmap(f"jenga::{name}", refuse_vmap)
        # The ops themselves need not look for gradients.
        library.impl(name, torch.library.fallthrough_kernel, "Autograd")
    return library
