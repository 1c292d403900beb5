"""LoRA and DoRA by the PEFT library: injection, files in PEFT's own format, merging."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from safetensors.torch import load_file, save_file

from jenga.config.peft import LowRankConfig
from jenga.errors import SetupError
from jenga.peft.accelerate import accelerate
from jenga.peft.base import Adapters
from jenga.peft.targets import resolve

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


class LoraAdapters(Adapters):
    """Updates of low rank; `peft_model` is PEFT's view of the encoder that they are in."""

    def __init__(self, encoder: PreTrainedModel, config: LoraConfig, *, base_name: str, base: dict[str, Any]) -> None:
        from peft import get_peft_model

        super().__init__(encoder, base_name=base_name, base=base)
        # PEFT may shorten the names it is given, to ends that mean the same in this very encoder only.
        self._names = sorted(config.target_modules or ())
        with warnings.catch_warnings():
            # PEFT asks for a property by the name it had before transformers 5.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            self.peft_model: PeftModel = get_peft_model(encoder, config)
        accelerate(self.peft_model)

    def _save(self, folder: Path) -> None:
        from peft import get_peft_model_state_dict

        config = copy.copy(self.peft_model.peft_config["default"])
        config.base_model_name_or_path = self.base_name
        config.target_modules = self._names
        config.inference_mode = True
        config.save_pretrained(str(folder))
        state = get_peft_model_state_dict(self.peft_model, save_embedding_layers=False)
        state = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
        save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})

    def merge(self) -> PreTrainedModel:
        """Add each update to its weight and return the encoder without them; in place."""
        self.encoder = self.peft_model.merge_and_unload()
        return self.encoder


def inject_lora(
    encoder: PreTrainedModel, config: LowRankConfig, *, base_name: str, base: dict[str, Any]
) -> LoraAdapters:
    """Put updates of low rank, which change nothing yet, into `encoder` and freeze the rest of it."""
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    names = resolve(encoder, config.target)
    alpha = 2 * config.rank if config.alpha is None else config.alpha
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=int(alpha) if float(alpha).is_integer() else alpha,
        lora_dropout=config.dropout,
        use_rslora=config.rslora,
        use_dora=config.type == "dora",
        target_modules=names,
        # A language model's, which PEFT then loads over its output layer too.
        task_type="CAUSAL_LM" if encoder.get_output_embeddings() is not None else None,
        fan_in_fan_out=isinstance(encoder.get_submodule(names[0]), Conv1D),
    )
    return LoraAdapters(encoder, settings, base_name=base_name, base=base)


def load_lora(encoder: PreTrainedModel, folder: Path, *, base_name: str, base: dict[str, Any]) -> LoraAdapters:
    """Put the updates in `folder` into `encoder`. Raises SetupError where its layers are not those they belong to."""
    from peft import set_peft_model_state_dict

    settings = _read_settings(folder / CONFIG_FILE)
    try:
        adapters = LoraAdapters(encoder, settings, base_name=base_name, base=base)
        loaded = set_peft_model_state_dict(adapters.peft_model, load_file(folder / WEIGHTS_FILE))
    except (ValueError, RuntimeError) as error:
        raise SetupError(f"{folder}: the adapters do not fit '{base_name}': {error}") from error
    missing = [name for name in loaded.missing_keys if "lora_" in name]
    if missing or loaded.unexpected_keys:
        name = (missing or loaded.unexpected_keys)[0]
        raise SetupError(f"{folder}: the adapters do not fit '{base_name}', for example at {name}")
    return adapters


class _Saved(BaseModel):
    """What `inject_lora` sets in PEFT's file, which is read as data, and nothing else of it.

    PEFT itself would let the file choose another method, which may load tokenizers, or modules to import by name.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"] | None
    r: PositiveInt
    lora_alpha: int | float
    lora_dropout: Annotated[float, Field(ge=0, lt=1)]
    use_rslora: bool
    use_dora: bool
    fan_in_fan_out: bool
    target_modules: Annotated[list[str], Field(min_length=1)]


_OF_THE_SAVING = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"}
"""Keys of PEFT's file that say nothing of what the adapters compute."""


def _read_settings(file: Path) -> LoraConfig:
    """Return the settings in `file`. Raises SetupError where it says more, or other things, than `inject_lora` sets."""
    from peft import LoraConfig

    content = json.loads(file.read_text(encoding="utf-8"))
    try:
        saved = _Saved.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise SetupError(f"{file}: no settings of adapters of Jenga: {place}: {first['msg']}") from error
    settings = LoraConfig(**saved.model_dump(exclude={"peft_type"}))
    usual = settings.to_dict()
    for key, value in content.items():
        if key in usual and key not in {*_Saved.model_fields, *_OF_THE_SAVING} and value != usual[key]:
            raise SetupError(
                f"{file}: {key} is {value!r}, which Jenga never sets; restore the folder from a copy, or install the "
                f"version of PEFT that wrote it ({content.get('peft_version')})"
            )
    return settings
