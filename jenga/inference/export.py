"""A trained model as a folder of its own: as it is, or with its adapters merged into plain weights."""

from __future__ import annotations

from pathlib import Path

import torch

from jenga import saved
from jenga.bundle import Bundle
from jenga.errors import ConfigError, SetupError
from jenga.files import copy_folder, damage
from jenga.peft import base_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def export(
    run: str | Path,
    output: str | Path,
    *,
    merge: bool = False,
    dtype: str | None = None,
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> Path:
    """Write the best model of `run` to the new folder `output`, which `jenga.load` reads, and return its path.

    merge: work LoRA or DoRA into the encoder's weights, so that ``backbone/`` is a plain transformers checkpoint.
    dtype: fp32, bf16 or fp16, in which the encoder's weights are kept (they are merged in float32 and rounded once);
    default: fp32. base_model: where the base of the adapters is now. Without merge and dtype the files are copied, and
    nothing is loaded. trust_remote_code: as in `jenga.load`.
    Raises ConfigError where `output` exists or lies in the model, or the model cannot be written so. Raises SetupError
    where it is harmed, or needs code that is not allowed.
    """
    source, target = saved.find_model(run), Path(output)
    if target.exists():
        raise ConfigError(f"{target} is there already and is left alone; choose another name with -o, or move it away")
    if target.resolve().is_relative_to(source.resolve()):
        raise ConfigError(
            f"{target} lies inside the model {source}, whose files have checksums; choose a place beside it"
        )
    adapted = [
        name for name in saved.read(source).modalities if base_of(saved.encoder_folder(source, name)) is not None
    ]
    if base_model is not None and not merge:
        raise ConfigError("--base-model: only --merge reads the base; add --merge, or leave --base-model out")
    if dtype is not None and adapted and not merge:
        raise ConfigError(f"--dtype: adapters are kept as they are; add --merge for a whole encoder in {dtype}")
    if not merge and dtype is None:
        _copy(source, target)
        return target
    bundle = Bundle.load(source, base_model=base_model, trust_remote_code=trust_remote_code)
    if merge:
        # What has no adapters refuses, where nothing has any.
        for name in adapted or bundle.model.encoders:
            bundle.model.encoders[name].merge()
        whole = {name: block.model_copy(update={"peft": None}) for name, block in bundle.config.backbones.items()}
        bundle.config = bundle.config.with_blocks(whole if bundle.config.several else {})
        bundle.config = bundle.config.model_copy(update={"peft": None})
    if dtype is not None:
        for backbone in bundle.model.encoders.values():
            backbone.convert(DTYPES[dtype])
    bundle.save(target)
    return target


def _copy(source: Path, target: Path) -> None:
    if harm := damage(source):
        raise SetupError(f"{source}: {harm}; restore the folder from a copy or train again")
    copy_folder(source, target)
