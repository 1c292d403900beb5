"""What a backbone reads, made of rows: tokens of texts, features of events. Past this room nothing asks which."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from jenga.backbones import BackboneManager
from jenga.inputs.base import Encoder, Facts, Inputs, Keep, Prepared
from jenga.inputs.tabular import TabularInputs, prepare_tabular
from jenga.inputs.text import TextInputs, prepare_text

__all__ = ["Encoder", "Facts", "Inputs", "Keep", "Prepared", "TabularInputs", "TextInputs", "load_inputs", "prepare"]

_PREPARE: Final = {"text": prepare_text, "tabular": prepare_tabular}


def prepare(config: Any, specs: Any, workdir: Path, keep: Keep) -> Prepared:
    """Read the rows of `specs` as the configured backbone wants them, and make what turns them into its inputs.

    config: the experiment. workdir: keeps what is made of the training rows, once a run. keep: called with a loaded
    source, returns which training rows, bool (M,), some task learns from. Raises ConfigError, DataError or SetupError.
    """
    return _PREPARE[BackboneManager.modality(config.model.backbone_type)](config, specs, workdir, keep)


def load_inputs(folder: Path, config: Any) -> Inputs:
    """Return what `Inputs.save` wrote to `folder`; config: the experiment."""
    kinds: dict[str, type[Inputs]] = {"text": TextInputs, "tabular": TabularInputs}
    return kinds[BackboneManager.modality(config.model.backbone_type)].load(folder, config)
