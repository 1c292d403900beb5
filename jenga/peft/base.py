"""What every kind of adapters offers, and how the frozen encoder beneath them is told from another one."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from jenga.errors import SetupError
from jenga.files import json_object

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BASE_FILE = "base.json"
_SAMPLED = 16
"""Values of each parameter that go into a fingerprint: enough to tell any two trained checkpoints apart."""


class Adapters(ABC):
    """Trained parts inside a frozen `encoder`, which they change in place.

    `base_name`: name or folder of the encoder's checkpoint. `base`: its `fingerprint`, taken before the injection.
    """

    def __init__(self, encoder: PreTrainedModel, *, base_name: str, base: dict[str, Any]) -> None:
        self.encoder, self.base_name, self.base = encoder, base_name, base

    def save(self, folder: Path) -> None:
        """Write the trained parts, and which base they stand on, to `folder`; the base's weights are left out."""
        folder.mkdir(parents=True, exist_ok=True)
        self._save(folder)
        (folder / BASE_FILE).write_text(json.dumps({"name": self.base_name, **self.base}, indent=1) + "\n")

    @abstractmethod
    def _save(self, folder: Path) -> None: ...

    @abstractmethod
    def merge(self) -> PreTrainedModel:
        """Work the trained parts into the base's weights and return the encoder, which is a plain one from then on.

        Raises ConfigError for parts that are no change of weights.
        """


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object that was saved in `file`. Raises SetupError where it holds something else."""
    try:
        return json_object(file)
    except (OSError, ValueError) as error:
        raise SetupError(f"{file}: cannot be read ({error}); restore the folder from a copy or train again") from error


def fingerprint(encoder: nn.Module) -> dict[str, Any]:
    """Return how many parameters `encoder` has, and digests of their names and shapes and of a sample of their values.

    The sample is taken in float32, so that the number of bits a checkpoint is kept in does not count by itself.
    """
    layout, values = hashlib.sha256(), hashlib.sha256()
    total = 0
    for name, parameter in sorted(encoder.named_parameters()):
        flat = parameter.detach().reshape(-1)
        total += flat.numel()
        layout.update(f"{name} {tuple(parameter.shape)}\n".encode())
        at = torch.linspace(0, flat.numel() - 1, min(_SAMPLED, flat.numel()), dtype=torch.float64).long()
        values.update(flat[at.to(flat.device)].float().cpu().numpy().tobytes())
    return {"parameters": total, "layout": layout.hexdigest(), "values": values.hexdigest()}


def check_base(encoder: nn.Module, folder: Path, *, base_name: str) -> dict[str, Any]:
    """Return the fingerprint of `encoder`. Raises SetupError unless the adapters in `folder` were trained on it."""
    found = fingerprint(encoder)
    saved = read_object(folder / BASE_FILE)
    if lacking := {"name", "layout", "values"} - saved.keys():
        raise SetupError(f"{folder / BASE_FILE}: says no {min(lacking)}; restore the folder from a copy or train again")
    for what, words in (("layout", "parameters of other names or shapes"), ("values", "other weights")):
        if found[what] != saved[what]:
            raise SetupError(
                f"{folder}: the base '{base_name}' has {words} than '{saved['name']}' had when the adapters were "
                "trained on it, so that they would answer at random. Bring that checkpoint back, or give its place "
                "with --base-model"
            )
    return found
