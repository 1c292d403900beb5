"""A model with all that turns raw rows into its predictions, in memory and as a folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from jenga import __version__
from jenga.backbones import BackboneManager, BaseBackbone
from jenga.backbones.remote_code import named_code, refused_code
from jenga.callbacks import CALLBACK_REGISTRY
from jenga.config.schema import ExperimentConfig, experiment_model
from jenga.data.dialogue import LanguageSpec
from jenga.data.rows import HeadColumn, SourceSpec
from jenga.errors import ConfigError, SetupError
from jenga.files import MANIFEST, atomic_folder, damage
from jenga.fusion import AttentionFusion
from jenga.inputs import Inputs, load_inputs
from jenga.labels import kind_named
from jenga.labels.cells import CellReading
from jenga.model import MultiTaskModel
from jenga.peft import base_of
from jenga.tasks import TASK_REGISTRY, BaseTask
from jenga.types import HeadSpace

_BUNDLE_FORMAT = 1
_BUNDLE_FILE = "jenga.json"
_HEADS_FILE = "heads.safetensors"
HeadKey = tuple[str, str]


@dataclass
class Bundle:
    """A model with all that turns raw rows into predictions; what `best/` holds."""

    config: ExperimentConfig
    model: MultiTaskModel
    inputs: Inputs
    specs: list[SourceSpec]
    spaces: dict[HeadKey, HeadSpace]
    thresholds: dict[HeadKey, np.ndarray] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write everything to `folder`, atomically: safetensors and JSON; a text encoder as transformers does it."""
        with atomic_folder(folder) as staging:
            self.model.backbone.save(staging / "backbone")
            self.inputs.save(staging / "backbone")
            # What only training needs, to compare a student with its teacher, is left behind.
            state = {k: v for k, v in self.model.state_dict().items() if not k.startswith(("backbone.", "matching."))}
            save_file({k: v.contiguous().clone() for k, v in state.items()}, staging / _HEADS_FILE)
            description = {
                "format": _BUNDLE_FORMAT,
                "jenga": __version__,
                # where a run was tracked is no part of the model, and may hold a password
                "config": self.config.model_dump(mode="json", exclude={"tracking", "output_dir"}),
                "sources": [asdict(spec) for spec in self.specs],
                "inputs": self.inputs.describe(),
                "spaces": [asdict(space) for space in self.spaces.values()],
                "thresholds": [[task, head, list(map(float, t))] for (task, head), t in self.thresholds.items()],
            }
            (staging / _BUNDLE_FILE).write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path, *, base_model: str | None = None, trust_remote_code: bool = False) -> Bundle:
        """Read what `save` wrote. Raises SetupError when it is no bundle, is harmed, or is of a later format.

        base_model: where the base of its adapters is now; default: where it was in training. Raises ConfigError where
        there are none. trust_remote_code: whether code that the model was trained with may run; what the folder says
        of itself allows nothing, and SetupError is raised where the code is needed.
        """
        description = _read(folder)
        with _fitting(folder / _BUNDLE_FILE):
            spaces = {
                (s["task"], s["head"]): HeadSpace(**{**s, "labels": tuple(s["labels"])}) for s in description["spaces"]
            }
            thresholds = {(task, head): np.array(values, float) for task, head, values in description["thresholds"]}
            specs = [_spec_of(each) for each in description["sources"]]
            config = description["config"]
        try:
            config = schema().model_validate(config)
        except ValidationError as error:
            raise SetupError(
                f"{folder}: made by Jenga {description['jenga']} with parts or settings that are not here: {error}"
            ) from error
        base = base_of(folder / "backbone")
        if base_model is not None and base is None:
            raise ConfigError(f"--base-model: {folder} holds its whole encoder and needs no base; leave it out")
        base = base_model or base
        config = _with_permission(config, folder, base, allowed=trust_remote_code)
        inputs = load_inputs(folder / "backbone", config)
        backbone = BackboneManager.load(
            config.model.backbone_type,
            folder / "backbone",
            base or config.model.base_model,
            model_block(config, inputs.model_config(config.model)),
        )
        model = join(config, backbone)
        with _fitting(folder / _HEADS_FILE):
            state = load_file(folder / _HEADS_FILE)
            state |= {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
            model.load_state_dict(state)
        with _fitting(folder):
            _check_model(model, spaces)
        return cls(config, model.eval(), inputs, specs, spaces, thresholds)


def schema() -> type[ExperimentConfig]:
    """Return the schema of experiments made of all registered parts."""
    return experiment_model(TASK_REGISTRY, BackboneManager._REGISTRY, CALLBACK_REGISTRY)


def model_block(config: ExperimentConfig, model: Any) -> Any:
    """Return the model's block `model` as its backbone is to be made for the tasks of `config`."""
    generates = any(task.type in config.language_tasks for task in config.tasks)
    if not generates:
        return model
    if not hasattr(model, "for_language"):
        kind = model.backbone_type
        raise ConfigError(f"model.backbone_type: '{kind}' predicts no tokens, which causal_lm needs; use text")
    return model.for_language()


def join(config: ExperimentConfig, backbone: BaseBackbone) -> MultiTaskModel:
    """Return the model of `backbone` and the configured fusion and tasks, whose weights are new."""
    width = backbone.hidden_size
    fusion = None
    if config.fusion.type == "attention":
        fusion = AttentionFusion(width, [task.name for task in config.tasks], dropout=config.fusion.dropout)
    tasks: Mapping[str, BaseTask] = {task.name: TASK_REGISTRY[task.type](task, width) for task in config.tasks}
    return MultiTaskModel(backbone, fusion, tasks)


def _with_permission(config: ExperimentConfig, folder: Path, base: str | None, *, allowed: bool) -> ExperimentConfig:
    """Return the experiment with the caller's word on code, in place of the folder's own, which anyone can write.

    Raises SetupError where the model was trained with such code, without which it would be another one.
    """
    if allowed or not getattr(config.model, "trust_remote_code", False):
        return config
    if by := named_code(folder / "backbone") or (named_code(base) if base else None):
        raise refused_code(str(folder), by)
    return config.model_copy(update={"model": config.model.model_copy(update={"trust_remote_code": False})})


def _read(folder: Path) -> dict[str, Any]:
    if not (folder / _BUNDLE_FILE).is_file() or not (folder / MANIFEST).is_file():
        raise SetupError(f"{folder}: no trained model here; give a run folder or its best/ folder")
    if harm := damage(folder):
        raise SetupError(f"{folder}: {harm}; restore the folder from a copy or train again")
    with _fitting(folder / _BUNDLE_FILE):
        description: dict[str, Any] = json.loads((folder / _BUNDLE_FILE).read_text())
        version, made = description["jenga"], description["format"]
        if made > _BUNDLE_FORMAT:
            raise SetupError(f"{folder}: written by Jenga {version}, a later version; upgrade Jenga")
    return description


@contextlib.contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Raise SetupError where the content of `path` is not what `Bundle.save` writes, though its checksums agree."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [""])[-1].strip()
        raise SetupError(
            f"{path}: its content does not fit together ({type(error).__name__}: {reason}); restore the folder from "
            "a copy or train again"
        ) from error


def _check_model(model: MultiTaskModel, spaces: Mapping[HeadKey, HeadSpace]) -> None:
    """Raise ValueError where weights are no numbers, or heads and names of labels are not of one size."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ValueError(f"{name} holds values that are no numbers")
    for name in model.tasks:
        # Of what the head was made for: one that learns what is normal has fewer outputs.
        for head in model.tasks[name].config.heads:
            labels = spaces[name, head.name].labels
            if not kind_named(spaces[name, head.name].kind).from_text and len(labels) != head.num_labels:
                raise ValueError(f"head {name}.{head.name} is for {head.num_labels} labels and {len(labels)} are named")


def _spec_of(saved: dict[str, Any]) -> SourceSpec:
    language = saved.get("language")
    heads = tuple(_head_of(head) for head in saved["heads"])
    paths = {name: tuple(saved[name]) for name in ("train", "valid", "test", "text")}
    if language is not None:
        columns = {name: tuple(language[name]) for name in ("text", "prompt", "completion", "messages")}
        language = LanguageSpec(**{**language, **columns})
    return SourceSpec(**{**saved, **paths, "heads": heads, "language": language})


def _head_of(saved: dict[str, Any]) -> HeadColumn:
    cells = CellReading(**_tuples(saved.get("cells", {})))
    return HeadColumn(**{**_tuples(saved), "cells": cells})


def _tuples(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON holds as lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
