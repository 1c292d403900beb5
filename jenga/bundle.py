"""A model with all that turns raw rows into its predictions, in memory and as a folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from jenga import saved
from jenga.balance import BALANCES
from jenga.callbacks import CALLBACK_REGISTRY
from jenga.certainty.head import Certainty
from jenga.config.optimization import PartChoices
from jenga.config.registered import experiment_model
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, SetupError
from jenga.files import atomic_folder
from jenga.fusion import AttentionFusion, JointBackbone
from jenga.labels import kind_named
from jenga.modalities import MODALITIES, BackboneManager, BaseBackbone, Encoder, Modality, modality_of
from jenga.modalities.joint import JointEncoder, JointModality
from jenga.modalities.text.remote_code import refused_code
from jenga.model import MultiTaskModel
from jenga.optimizers import OPTIMIZERS, SCHEDULERS
from jenga.peft import base_of
from jenga.registry import Registry
from jenga.report.baselines import baselines
from jenga.rows.parse import SourceSpec
from jenga.tasks import TASK_REGISTRY, BaseTask
from jenga.tasks.language.form import LanguageForm
from jenga.types import SHARED, HeadSpace

DEFAULT_BACKBONE = "text"
"""The `backbone_type` where none is given."""
HEADS_FILE = "heads.safetensors"
HeadKey = tuple[str, str]


@dataclass
class Bundle:
    """A model with all that turns raw rows into predictions; what `best/` holds. `inputs`: by the encoder's name."""

    config: ExperimentConfig
    model: MultiTaskModel
    inputs: dict[str, Encoder]
    specs: list[SourceSpec]
    spaces: dict[HeadKey, HeadSpace]
    thresholds: dict[HeadKey, np.ndarray] = field(default_factory=dict)
    certainty: dict[HeadKey, Certainty] = field(default_factory=dict)

    def encoder_of(self, spec: SourceSpec) -> Encoder:
        """Return what makes inputs of the rows that `spec` reads."""
        return self.inputs[spec.encoder]

    @property
    def parts(self) -> dict[str, Encoder]:
        """What makes inputs of rows by backbone, of the encoders of several too."""
        return {name: part for encoder, each in self.inputs.items() for name, part in each.by_backbone(encoder).items()}

    def part(self, encoder: str) -> Bundle:
        """Return the model as one that reads only what `encoder` does; it shares everything."""
        specs = [spec for spec in self.specs if spec.encoder == encoder]
        inputs = {encoder: self.inputs[encoder]}
        return Bundle(self.config, self.model, inputs, specs, self.spaces, self.thresholds, self.certainty)

    def save(self, folder: Path) -> None:
        """Write everything to `folder`, atomically: safetensors and JSON; a text encoder as transformers does it."""
        with atomic_folder(folder) as staging:
            for name, backbone in zip(self.model.encoders, self.model.encoders.values(), strict=True):
                backbone.save(saved.encoder_folder(staging, name))
            self.write_beside(staging, without=("encoders.",))

    def write_beside(self, folder: Path, *, without: tuple[str, ...]) -> None:
        """Write to `folder` what a saved model has beside its backbones: tokenizers and such, heads, what it says.

        without: how the names of weights begin that are kept elsewhere.
        """
        for name, encoder in self.parts.items():
            encoder.save(saved.encoder_folder(folder, name))
        # What only training needs, to compare a student with its teacher, is left behind.
        left = (*without, "matching.")
        state = {k: v for k, v in self.model.state_dict().items() if not k.startswith(left)}
        save_file({k: v.contiguous().clone() for k, v in state.items()}, folder / HEADS_FILE)
        said = saved.Description(
            # Where a run was tracked is no part of the model, and may hold a password.
            config=self.config.model_dump(mode="json", exclude={"tracking", "output_dir"}),
            sources=self.specs,
            inputs={name: encoder.describe() for name, encoder in self.parts.items()},
            spaces=list(self.spaces.values()),
            thresholds=[(task, head, list(map(float, t))) for (task, head), t in self.thresholds.items()],
            certainty=self.certainty,
        )
        saved.write(folder, said)

    @classmethod
    def load(cls, folder: Path, *, base_model: str | None = None, trust_remote_code: bool = False) -> Bundle:
        """Read what `save` wrote. Raises SetupError when it is no bundle, is harmed, or is of another format.

        base_model: where the base of its adapters is now; default: where it was in training. Raises ConfigError where
        there are none, or those of several backbones. trust_remote_code: whether code that the model
        was trained with may run; what the folder says of itself allows nothing, and SetupError is raised where the code
        is needed.
        """
        said, config = read(folder)
        if saved.is_graph(folder):
            raise SetupError(
                f"{folder}: holds graphs, and no weights that torch could load; give the run, or leave --runtime out"
            )
        bases = _bases(folder, config, base_model)
        config = _with_permission(config, folder, bases, allowed=trust_remote_code)
        loaded = {name: _loaded(folder, name, config.of_backbone(name), base) for name, base in bases.items()}
        backbones = {name: backbone for name, (backbone, _) in loaded.items()}
        encoders = {name: encoder for name, (_, encoder) in loaded.items()}
        with saved.fitting(folder / saved.FILE):
            model = join(config, backbones)
        with saved.fitting(folder / HEADS_FILE):
            state = {_as_now(key, model): value for key, value in load_file(folder / HEADS_FILE).items()}
            for name, backbone in backbones.items():
                state |= {f"encoders.{name}.{key}": value for key, value in backbone.state_dict().items()}
            model.load_state_dict(state)
        with saved.fitting(folder):
            _check_weights(model)
        return cls._made(said, config, model, encoders)

    @classmethod
    def of_graph(
        cls, folder: Path, make: Callable[[ExperimentConfig], MultiTaskModel], *, trust_remote_code: bool = False
    ) -> Bundle:
        """Read a model whose encoders are graphs; make: builds what runs them, with tasks whose state is read here.

        Raises as `load` does.
        """
        said, config = read(folder)
        config = _with_permission(config, folder, dict.fromkeys(config.backbones), allowed=trust_remote_code)
        with saved.fitting(folder):
            encoders = {
                name: modality_of(block.backbone_type).load(
                    saved.encoder_folder(folder, name), config.of_backbone(name)
                )
                for name, block in config.backbones.items()
            }
            model = make(config)
        with saved.fitting(folder / HEADS_FILE):
            model.load_state_dict(load_file(folder / HEADS_FILE))
            _check_weights(model)
        return cls._made(said, config, model, encoders)

    @classmethod
    def _made(
        cls, said: saved.Description, config: ExperimentConfig, model: MultiTaskModel, encoders: Mapping[str, Encoder]
    ) -> Bundle:
        spaces = {(space.task, space.head): space for space in said.spaces}
        thresholds = {(task, head): np.array(values) for task, head, values in said.thresholds or ()}
        return cls(
            config, model.eval(), encoders_of(config, encoders), said.sources, spaces, thresholds, said.certainty
        )


def schema() -> type[ExperimentConfig]:
    """Return the schema of experiments made of all registered parts; the same one until another part is registered."""
    registries: tuple[Registry[Any], ...] = (TASK_REGISTRY, BackboneManager._REGISTRY, CALLBACK_REGISTRY, MODALITIES)
    return _schema(tuple(registry.registered() for registry in registries))


@lru_cache(maxsize=1)
def _schema(registered: Hashable) -> type[ExperimentConfig]:
    """Return the schema, whose dozens of models take a tenth of a second, of what is `registered`."""
    parts: Mapping[str, PartChoices] = {"optimizer": OPTIMIZERS, "scheduler": SCHEDULERS, "loss_balance": BALANCES}
    return experiment_model(
        TASK_REGISTRY,
        BackboneManager._REGISTRY,
        CALLBACK_REGISTRY,
        modality_of=modality_of,
        baselines=list(baselines()),
        default_backbone=DEFAULT_BACKBONE,
        parts=parts,
        forms=(LanguageForm(),),
    )


def modality_for(config: ExperimentConfig, encoder: str) -> Modality:
    """Return what one of the encoders of `config` reads, or one of its backbones."""
    if encoder in config.backbones:
        return modality_of(config.backbones[encoder].backbone_type)
    parts = {name: modality_for(config, name) for name in config.encoders[encoder]}
    return JointModality(parts, config)


def encoders_of(config: ExperimentConfig, parts: Mapping[str, Encoder]) -> dict[str, Encoder]:
    """Return what makes inputs of rows by encoder; parts: by backbone."""
    return {
        name: parts[name] if len(own) == 1 else JointEncoder({part: parts[part] for part in own})
        for name, own in config.encoders.items()
    }


def model_block(config: ExperimentConfig) -> Any:
    """Return the block of the one backbone of `config` as it is to be made for the tasks."""
    generates = any(task.type in config.language_tasks for task in config.tasks)
    return modality_of(config.model.backbone_type).model_block(config.model, generates=generates)


def join(config: ExperimentConfig, backbones: Mapping[str, BaseBackbone]) -> MultiTaskModel:
    """Return the model of `backbones` and the configured fusion and tasks, whose weights are new."""
    reads = {task.name: config.encoder_of(task) for task in config.tasks}
    joints = {
        name: JointBackbone({part: backbones[part] for part in parts}, dropout=config.fusion.input_dropout)
        for name, parts in config.encoders.items()
        if len(parts) > 1
    }
    widths = {name: backbone.hidden_size for name, backbone in {**backbones, **joints}.items()}
    fusion: dict[str, AttentionFusion] = {}
    if config.fusion.type == "attention":
        for name, width in widths.items():
            own = [task for task, encoder in reads.items() if encoder == name]
            fusion |= {name: AttentionFusion(width, own, dropout=config.fusion.dropout)} if own else {}
    return MultiTaskModel(backbones, fusion, tasks_of(config, widths), reads, joints)


def tasks_of(config: ExperimentConfig, widths: Mapping[str, int]) -> dict[str, BaseTask]:
    """Return the configured tasks, whose weights are new; widths: H of what each encoder makes."""
    return {task.name: TASK_REGISTRY[task.type](task, widths[config.encoder_of(task)]) for task in config.tasks}


def _as_now(key: str, model: MultiTaskModel) -> str:
    """Return the key of a saved weight: those of a fusion bore no encoder's name when a model had only one."""
    room, _, rest = key.partition(".")
    return f"fusion.{SHARED}.{rest}" if room == "fusion" and rest.split(".")[0] not in model.fusion else key


def _bases(folder: Path, config: ExperimentConfig, base_model: str | None) -> dict[str, str | None]:
    """Return by backbone where the base of its adapters is, None of one without; base_model: where the only one is."""
    bases = {name: base_of(saved.encoder_folder(folder, name)) for name in config.backbones}
    if base_model is None:
        return bases
    adapted = [name for name, base in bases.items() if base is not None]
    if not adapted:
        raise ConfigError(f"--base-model: {folder} holds its whole encoder and needs no base; leave it out")
    if len(adapted) > 1:
        raise ConfigError(
            f"--base-model: {' and '.join(adapted)} of {folder} have a base each; leave it out, with the bases where "
            f"they were: {', '.join(str(bases[name]) for name in adapted)}"
        )
    return bases | {adapted[0]: base_model}


def _loaded(folder: Path, name: str, config: ExperimentConfig, base: str | None) -> tuple[BaseBackbone, Encoder]:
    """Return a backbone of the model in `folder`, and what makes its inputs. config: as the backbone sees it."""
    own = saved.encoder_folder(folder, name)
    with saved.fitting(own):
        encoder = modality_of(config.model.backbone_type).load(own, config)
        block = model_block(config.model_copy(update={"model": encoder.model_config(config.model)}))
        made = BackboneManager.load(config.model.backbone_type, own, base or config.model.base_model, block)
    return made, encoder


def _with_permission(
    config: ExperimentConfig, folder: Path, bases: Mapping[str, str | None], *, allowed: bool
) -> ExperimentConfig:
    """Return the experiment with the caller's word on code, in place of the folder's own, which anyone can write.

    Raises SetupError where the model was trained with such code, without which it would be another one.
    """
    if allowed:
        return config
    trusting = {name: each for name, each in config.backbones.items() if getattr(each, "trust_remote_code", False)}
    for name in trusting:
        if by := saved.code_of(folder, name, bases[name]):
            raise refused_code(str(folder), by)
    return config.with_blocks(
        {name: block.model_copy(update={"trust_remote_code": False}) for name, block in trusting.items()}
    )


def read(folder: Path) -> tuple[saved.Description, ExperimentConfig]:
    """Return what the model in `folder` says of itself, and its experiment, without loading it.

    Raises SetupError as `Bundle.load` does.
    """
    said = saved.read(folder)
    with saved.fitting(folder / saved.FILE):
        config = _experiment(said, folder)
        _check_heads(said, config)
    return said, config


def _experiment(said: saved.Description, folder: Path) -> ExperimentConfig:
    try:
        return schema().model_validate(said.config)
    except ValidationError as error:
        raise saved.not_here(folder, said.written_by, error) from error


def _check_weights(model: MultiTaskModel) -> None:
    """Raise ValueError where weights are no numbers."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ValueError(f"{name} holds values that are no numbers")


def _check_heads(said: saved.Description, config: ExperimentConfig) -> None:
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
    _check_certainty(said)


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


def _check_certainty(said: saved.Description) -> None:
    """Raise ValueError where a calibration is of a head that is not there, or of another number of labels."""
    sizes = {(space.task, space.head): space.size for space in said.spaces}
    for key, each in said.certainty.items():
        if key not in sizes:
            raise ValueError(f"certainty: given for {'.'.join(key)}, which is no head")
        if each.calibration is not None:
            each.calibration.check(sizes[key])
        if each.conformal is not None and len(each.conformal.limits) not in (1, sizes[key]):
            raise ValueError(f"head {'.'.join(key)} has {sizes[key]} labels and {len(each.conformal.limits)} limits")


def _check_thresholds(given: Sequence[tuple[str, str, Sequence[float]]], spaces: Sequence[HeadSpace]) -> None:
    """Raise ValueError where a head that answers by thresholds has not one for each label, or another one has some."""
    found = {(space.task, space.head): kind_named(space.kind).untuned(space, 0.5) for space in spaces}
    wanted = {key: len(each) for key, each in found.items() if each is not None}
    _check_keys("thresholds", [(task, head) for task, head, _ in given], wanted)
    for task, head, values in given:
        if len(values) != wanted[task, head]:
            raise ValueError(f"head {task}.{head} has {wanted[task, head]} labels and {len(values)} thresholds")
