"""The form that every command reads: the run's files, or its adapters merged into a checkpoint of transformers."""

from __future__ import annotations

from pathlib import Path

import torch

from jenga import saved
from jenga.bundle import Bundle
from jenga.errors import ConfigError, SetupError
from jenga.files import copy_folder, damage
from jenga.inference.export import Options
from jenga.peft import base_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def write(source: Path, target: Path, options: Options) -> None:
    """Write the model in `source` to the new folder `target`.

    merge: work LoRA or DoRA into the encoder's weights, so that ``backbone/`` is a plain transformers checkpoint.
    dtype: of `DTYPES`, in which the encoder's weights are kept (they are merged in float32 and rounded once); default:
    fp32. Without merge and dtype the files are copied, and nothing is loaded. Raises ConfigError where the model cannot
    be written so, SetupError where it is harmed.
    """
    merge, dtype = options.merge, options.dtype
    adapted = adapted_parts(source)
    if options.base_model is not None and not merge:
        raise ConfigError("--base-model: only --merge reads the base; add --merge, or leave --base-model out")
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"--dtype: got {dtype}; allowed with --format transformers: {', '.join(DTYPES)}")
    if dtype is not None and adapted and not merge:
        raise ConfigError(f"--dtype: adapters are kept as they are; add --merge for a whole encoder in {dtype}")
    if not merge and dtype is None:
        if harm := damage(source):
            raise SetupError(f"{source}: {harm}; restore the folder from a copy or train again")
        copy_folder(source, target)
        return
    bundle = Bundle.load(source, base_model=options.base_model, trust_remote_code=options.trust_remote_code)
    if merge:
        # What has no adapters refuses, where nothing has any.
        merge_adapters(bundle, adapted or list(bundle.model.encoders))
    if dtype is not None:
        for backbone in bundle.model.encoders.values():
            backbone.convert(DTYPES[dtype])
    bundle.save(target)


def adapted_parts(source: Path) -> list[str]:
    """Return the names of the backbones of the model in `source` that are adapters on a base."""
    return [name for name in saved.read(source).modalities if base_of(saved.encoder_folder(source, name)) is not None]


def merge_adapters(bundle: Bundle, names: list[str]) -> None:
    """Work the adapters of the backbones `names` into their weights. Raises ConfigError where they cannot be."""
    for name in names:
        bundle.model.encoders[name].merge()
    whole = {name: block.model_copy(update={"peft": None}) for name, block in bundle.config.backbones.items()}
    bundle.config = bundle.config.with_blocks(whole if bundle.config.several else {})
    bundle.config = bundle.config.model_copy(update={"peft": None})
