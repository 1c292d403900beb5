"""The one way in: adapters put into an encoder, new or as they were saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from jenga.config.peft import BottleneckConfig, PeftConfig
from jenga.errors import SetupError
from jenga.peft import adapters, lora
from jenga.peft.base import Adapters, check_base, fingerprint, read_object

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def inject(encoder: PreTrainedModel, config: PeftConfig, *, base_name: str) -> Adapters:
    """Freeze `encoder` and put adapters into it that change nothing yet. Only they are trained.

    base_name: name or folder of the encoder's checkpoint, which is all that is saved of it. Raises ConfigError where
    `config` does not fit the encoder.
    """
    base = fingerprint(encoder)
    if Path(base_name).is_dir():
        base_name = str(Path(base_name).absolute())
    if isinstance(config, BottleneckConfig):
        return adapters.BottleneckAdapters(encoder, config, base_name=base_name, base=base)
    return lora.inject_lora(encoder, config, base_name=base_name, base=base)


def load_adapters(encoder: PreTrainedModel, folder: Path, *, base_name: str) -> Adapters:
    """Freeze `encoder` and put the adapters in `folder` into it.

    Raises SetupError where they were trained on another encoder, or their files say what Jenga never writes.
    """
    base = check_base(encoder, folder, base_name=base_name)
    if (file := folder / adapters.CONFIG_FILE).is_file():
        try:
            return adapters.load_bottlenecks(encoder, folder, base_name=base_name, base=base)
        except (ValidationError, TypeError) as error:
            raise SetupError(
                f"{file}: no settings of adapters of Jenga: {error}; restore the folder from a copy or train again"
            ) from error
    return lora.load_lora(encoder, folder, base_name=base_name, base=base)


def base_of(folder: Path) -> str | None:
    """Return the name of the base that the adapters in `folder` stand on; None where it holds no adapters.

    Raises SetupError where their settings name none.
    """
    for file in (adapters.CONFIG_FILE, lora.CONFIG_FILE):
        if (folder / file).is_file():
            name = read_object(folder / file).get("base_model_name_or_path")
            if not isinstance(name, str):
                raise SetupError(
                    f"{folder / file}: says no base_model_name_or_path; restore the folder from a copy or train again"
                )
            return name
    return None
