"""LoRA and DoRA by the PEFT library: injection, files in PEFT's own format, merging."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from peft import LoraConfig, set_peft_model_state_dict

    settings = LoraConfig.from_pretrained(str(folder))
    settings.inference_mode, settings.base_model_name_or_path = False, None
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
