"""A model with all that turns raw rows into its predictions, in memory and as a folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file

from jenga import __version__
from jenga.backbones import BackboneManager, BaseBackbone
from jenga.backbones.remote_code import named_code, refused_code
from jenga.callbacks import CALLBACK_REGISTRY
from jenga.config.optimization import PartChoices
from jenga.config.schema import ExperimentConfig, experiment_model
from jenga.data.rows import SourceSpec
from jenga.errors import ConfigError, JengaError, SetupError
from jenga.files import MANIFEST, atomic_folder, damage
from jenga.fusion import AttentionFusion
from jenga.inputs import Inputs, load_inputs
from jenga.labels import kind_named
from jenga.model import MultiTaskModel
from jenga.optimizers import OPTIMIZERS, SCHEDULERS
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
                # null: not decided yet, as in a run that has not ended
                "thresholds": [[task, head, list(map(float, t))] for (task, head), t in self.thresholds.items()]
                or None,
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
        said_by = folder / _BUNDLE_FILE
        with _fitting(said_by):
            config = _experiment(description, said_by)
            _check_heads(description, config)
            _check_sources(description, BackboneManager.modality(config.model.backbone_type))
        base = base_of(folder / "backbone")
        if base_model is not None and base is None:
            raise ConfigError(f"--base-model: {folder} holds its whole encoder and needs no base; leave it out")
        base = base_model or base
        config = _with_permission(config, folder, base, allowed=trust_remote_code)
        with _fitting(folder / "backbone"):
            inputs = load_inputs(folder / "backbone", config)
            backbone = BackboneManager.load(
                config.model.backbone_type,
                folder / "backbone",
                base or config.model.base_model,
                model_block(config, inputs.model_config(config.model)),
            )
        with _fitting(said_by):
            model = join(config, backbone)
        with _fitting(folder / _HEADS_FILE):
            state = load_file(folder / _HEADS_FILE)
            state |= {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
            model.load_state_dict(state)
        with _fitting(folder):
            _check_weights(model)
        spaces = {(space.task, space.head): space for space in description.spaces}
        thresholds = {(task, head): np.array(values) for task, head, values in description.thresholds or ()}
        return cls(config, model.eval(), inputs, description.sources, spaces, thresholds)


class _Description(BaseModel):
    """What `Bundle.save` writes beside the weights, each part of the type that it has in memory."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    format: int
    jenga: str
    config: dict[str, Any]
    sources: list[SourceSpec]
    inputs: dict[str, Any]
    spaces: list[HeadSpace]
    # Both ends are possible: the probability of a sure answer rounds to them, and a tuned threshold is one.
    thresholds: list[tuple[str, str, list[Annotated[float, Field(ge=0, le=1)]]]] | None


def schema() -> type[ExperimentConfig]:
    """Return the schema of experiments made of all registered parts."""
    parts: Mapping[str, PartChoices] = {"optimizer": OPTIMIZERS, "scheduler": SCHEDULERS}
    return experiment_model(TASK_REGISTRY, BackboneManager._REGISTRY, CALLBACK_REGISTRY, parts=parts)


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


def _read(folder: Path) -> _Description:
    if not (folder / _BUNDLE_FILE).is_file() or not (folder / MANIFEST).is_file():
        raise SetupError(f"{folder}: no trained model here; give a run folder or its best/ folder")
    if harm := damage(folder):
        raise SetupError(f"{folder}: {harm}; restore the folder from a copy or train again")
    with _fitting(folder / _BUNDLE_FILE):
        text = (folder / _BUNDLE_FILE).read_text()
        # Before the rest, which may be of other types in another format.
        content = json.loads(text)
        if content["format"] > _BUNDLE_FORMAT:
            raise SetupError(f"{folder}: written by Jenga {content['jenga']}, a later version; upgrade Jenga")
        return _Description.model_validate_json(text)


def _experiment(description: _Description, said_by: Path) -> ExperimentConfig:
    try:
        return schema().model_validate(description.config)
    except ValidationError as error:
        raise SetupError(
            f"{said_by}: made by Jenga {description.jenga} with parts or settings that are not here: {error}"
        ) from error


@contextlib.contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Raise SetupError where the content of `path` is not what `Bundle.save` writes, though its checksums agree."""
    try:
        yield
    except JengaError:
        raise
    except Exception as error:  # whatever content that says anything makes a loader raise
        reason = (str(error).strip().splitlines() or [""])[-1].strip()
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'the whole file'}: {first['msg']}"
        raise SetupError(
            f"{path}: its content does not fit together ({type(error).__name__}: {reason}); restore the folder from "
            "a copy or train again"
        ) from error


def _check_weights(model: MultiTaskModel) -> None:
    """Raise ValueError where weights are no numbers."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ValueError(f"{name} holds values that are no numbers")


def _check_heads(said: _Description, config: ExperimentConfig) -> None:
    """Raise ValueError where what is said of a head is not what the head was made for."""
    # By the configuration, not the weights: a head that learns what is normal has fewer outputs than labels.
    heads: dict[HeadKey, Any] = {(task.name, head.name): head for task in config.tasks for head in task.heads}
    kinds = {
        (task.name, head.name): TASK_REGISTRY[task.type].kind_of(head) for task in config.tasks for head in task.heads
    }
    _check_keys("spaces", [(space.task, space.head) for space in said.spaces], heads)
    _check_keys("heads of sources", [column.key for spec in said.sources for column in spec.heads], heads)
    for column in (column for spec in said.sources for column in spec.heads):
        _check_kind(column.key, column.kind, kinds[column.key])
    for space in said.spaces:
        key = (space.task, space.head)
        _check_kind(key, space.kind, kinds[key])
        _check_labels(space, heads[key])
    if said.thresholds is not None:
        _check_thresholds(said.thresholds, said.spaces)


def _check_kind(key: HeadKey, found: str, made: str) -> None:
    if found != made:
        raise ValueError(f"head {'.'.join(key)} is for labels of the kind '{made}', not '{found}'")


def _check_keys(what: str, found: Sequence[HeadKey], made: Collection[HeadKey]) -> None:
    if sorted(found) != sorted(made):
        there, wanted = (", ".join(map(".".join, sorted(keys))) or "none" for keys in (found, made))
        raise ValueError(f"{what}: given for {there}, but wanted for {wanted}")


def _check_labels(space: HeadSpace, head: Any) -> None:
    """Raise ValueError where the labels of a head are not those that it was made for; head: its block."""
    where, labels = f"head {space.task}.{space.head}", space.labels
    if not kind_named(space.kind).from_text:
        if len(labels) != head.num_labels:
            raise ValueError(f"{where} is for {head.num_labels} labels and {len(labels)} are named")
        if list(labels) != head.labels:
            raise ValueError(f"{where}: its labels are {head.labels} in config and {list(labels)} in spaces")
    if len(labels) != space.size:
        raise ValueError(f"{where}: its size is {space.size}, but its labels are {list(labels)}")


def _check_thresholds(given: Sequence[tuple[str, str, Sequence[float]]], spaces: Sequence[HeadSpace]) -> None:
    """Raise ValueError where a head that answers by thresholds has not one for each label, or another one has some."""
    found = {(space.task, space.head): kind_named(space.kind).untuned(space, 0.5) for space in spaces}
    wanted = {key: len(each) for key, each in found.items() if each is not None}
    _check_keys("thresholds", [(task, head) for task, head, _ in given], wanted)
    for task, head, values in given:
        if len(values) != wanted[task, head]:
            raise ValueError(f"head {task}.{head} has {wanted[task, head]} labels and {len(values)} thresholds")


def _check_sources(said: _Description, modality: str) -> None:
    """Raise ValueError where rows are to be read otherwise than the model's inputs are made of them."""
    for spec in said.sources:
        where = f"source {spec.name}"
        if {kind_named(column.kind).from_text for column in spec.heads} != {spec.language is not None}:
            raise ValueError(f"{where}: its heads and `language` do not say alike whether texts are learnt")
        if (bool(spec.text) or spec.language is not None) != (modality == "text"):
            columns = ", ".join(spec.text) or "none"
            raise ValueError(f"{where}: columns of text are {columns}, but the model reads {modality}")
        if modality == "text" and spec.max_length < 1:
            raise ValueError(f"{where}: max_length is {spec.max_length}")
