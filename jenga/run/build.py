"""From a configuration to objects. The only user of all registries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jenga.ahead import worker_count
from jenga.bundle import Bundle, encoders_of, join, modality_for, model_block, schema
from jenga.config.schema import ExperimentConfig
from jenga.distillation import RunningTeacher, make_teacher
from jenga.errors import ConfigError
from jenga.labels import kind_named
from jenga.modalities import BackboneManager, BaseBackbone, Encoder
from jenga.modalities.base import Prepared
from jenga.modalities.joint import assembled_source, part_of
from jenga.rows.batches import Source
from jenga.rows.fingerprint import Fingerprint, fingerprint
from jenga.rows.load import load_sources
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import BadRow
from jenga.rows.read_once import ReadOnce
from jenga.rows.split import TRAIN
from jenga.run.specs import source_specs
from jenga.run.streaming import by_file, check_streaming, first_rows_told, reads_first, streamed
from jenga.tasks import TASK_REGISTRY
from jenga.trainer.recipe import resolved_config

__all__ = ["Bundle", "Experiment", "build", "schema", "source_specs"]

logger = logging.getLogger(__name__)
_FIRST_BAD = 0.5


@dataclass
class Experiment:
    """Everything that a trainer needs, and what was seen while it was made."""

    bundle: Bundle
    sources: list[Source]
    bad: list[BadRow]
    warnings: list[str]
    teacher: RunningTeacher | None
    fingerprint: Fingerprint

    @property
    def workers(self) -> int:
        """The processes that make batches ahead."""
        return max(encoder.workers for encoder in self.bundle.parts.values())


def build(
    config: ExperimentConfig,
    workdir: Path,
    *,
    device: torch.device | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Experiment:
    """Read the data, make the model and its inputs. `workdir` keeps what is made of the training rows, once a run.

    device: where the model is to be trained, and a teacher asked about the training rows; default: the CPU. tell:
    called with a line on how far that is.

    Raises ConfigError, DataError or SetupError, each with what is wrong and how to mend it.
    """
    from accelerate.utils import set_seed

    set_seed(config.training.seed)
    if torch.are_deterministic_algorithms_enabled() != config.training.deterministic:
        # It imports the compiler, a second of processor time, whatever it is told.
        torch.use_deterministic_algorithms(config.training.deterministic)
    config = config.with_blocks({name: model_block(config.of_backbone(name)) for name in config.backbones})
    loaded, files = _read(config)
    views = _views(config, loaded)
    prepared = {name: _prepared(config, name, seen, files, workdir) for name, seen in views.items()}
    on_gpu = device is not None and device.type != "cpu"
    for each in prepared.values():
        each.encoder.workers = worker_count(config.data.workers, worth_it=each.encoder.decodes and on_gpu)
        each.encoder.progress = tell
    backbones = {name: _backbone(config.of_backbone(name), each) for name, each in prepared.items()}
    config = config.model_copy(update={"tasks": [_resolve(task, loaded) for task in config.tasks]})
    _check_judged(config, loaded)
    rows = fingerprint(loaded)
    parts = {name: each.encoder for name, each in prepared.items()}
    sources, warnings = _encoded(config, loaded, views, parts, backbones)
    model = join(config, backbones)
    for source in loaded:
        for (name, head), targets in source.splits[TRAIN].labels.items():
            model.tasks[name].fit_targets(head, targets)
    config = resolved_config(config, model, sources)
    if config.data.streaming:
        sources = streamed(sources, loaded, files, parts, config)
        warnings += first_rows_told(loaded)
    spaces = {key: space for source in loaded for key, space in source.spaces.items()}
    bundle = Bundle(config, model, encoders_of(config, parts), [source.spec for source in loaded], spaces)
    bad = dict.fromkeys(row for source in loaded for row in source.bad)
    told = [warning for source in loaded for warning in source.warnings]
    told += [warning for each in prepared.values() for warning in each.warnings]
    teacher, lessons = make_teacher(bundle, sources, device or torch.device("cpu"), tell)
    return Experiment(bundle, sources, list(bad), [*told, *warnings, *lessons], teacher, rows)


def _read(config: ExperimentConfig) -> tuple[list[LoadedSource], dict[str, list[Any]]]:
    """Return the sources of all tasks, of whose training rows some task learns, and by encoder the files behind them.

    All are loaded together, so that a row which judges one task trains no other, whatever reads it.
    """
    specs = source_specs(config)
    if config.data.streaming:
        check_streaming(specs)
        specs = by_file(specs)
    reads = {name: _reads(config, name, specs) for name in dict.fromkeys(spec.encoder for spec in specs)}
    data = config.data
    if data.streaming:
        # Of the few first rows of a file, a share says nothing; the stream counts all.
        data = data.model_copy(update={"max_bad_fraction": max(_FIRST_BAD, data.max_bad_fraction)})
    loaded = load_sources(specs, data=data, files=[reads[spec.encoder] for spec in specs])
    for source in loaded:
        source.splits[TRAIN] = source.splits[TRAIN].take(np.flatnonzero(_taught(config, source)))
    return loaded, {name: read.files for name, read in reads.items()}


def _reads(config: ExperimentConfig, name: str, specs: Sequence[SourceSpec]) -> ReadOnce[Any]:
    own = [each for each in specs if each.encoder == name]
    return reads_first(own) if config.data.streaming else modality_for(config, name).reads(config.seen_by(name), own)


def _views(config: ExperimentConfig, loaded: Sequence[LoadedSource]) -> dict[str, list[LoadedSource]]:
    """Return by backbone the sources that it reads; of those that several read together, its own part."""
    found: dict[str, list[LoadedSource]] = {name: [] for name in config.backbones}
    for source in loaded:
        parts = config.encoders[source.spec.encoder]
        for name in parts:
            found[name].append(source if len(parts) == 1 else part_of(source, name))
    return found


def _prepared(
    config: ExperimentConfig,
    name: str,
    own: list[LoadedSource],
    files: Mapping[str, Sequence[Any]],
    workdir: Path,
) -> Prepared:
    """Return what makes the inputs of the backbone `name`; what is kept of it stands in a folder of its own."""
    folder = workdir / "backbones" / name if config.several else workdir
    return modality_for(config, name).prepare(own, files.get(name, []), config.of_backbone(name), folder)


def _backbone(config: ExperimentConfig, prepared: Prepared) -> BaseBackbone:
    block = prepared.model_config
    backbone = BackboneManager.create(block.backbone_type, block.base_model, block)
    if config.peft is not None:
        backbone.adapt(config.peft)
    if config.training.gradient_checkpointing:
        backbone.checkpoint_activations()
    return backbone


def _encoded(
    config: ExperimentConfig,
    loaded: Sequence[LoadedSource],
    views: Mapping[str, list[LoadedSource]],
    encoders: Mapping[str, Encoder],
    backbones: Mapping[str, BaseBackbone],
) -> tuple[list[Source], list[str]]:
    """Return all sources ready for batches, in their order, and warnings. views: by backbone, as it sees them."""
    found: dict[str, dict[str, Source]] = {}
    warnings: list[str] = []
    for name, encoder in encoders.items():
        made, told = encoder.sources(views[name], config.of_backbone(name), backbones[name])
        found[name] = {source.name: source for source in made}
        warnings += told
    sources = []
    for each in loaded:
        source, parts = each.spec.name, config.encoders[each.spec.encoder]
        if len(parts) == 1:
            sources.append(found[parts[0]][source])
            continue
        seen = {name: next(view for view in views[name] if view.spec.name == source) for name in parts}
        sources.append(assembled_source(each, {name: found[name][source] for name in parts}, seen))
    return sources, warnings


def _taught(config: ExperimentConfig, source: LoadedSource) -> np.ndarray:
    """Return which training rows, bool (M,), teach some head; the others would only shift the scales of features."""
    rows = source.splits[TRAIN]
    found = np.zeros(len(rows), bool)
    blocks = {task.name: task for task in config.tasks}
    for (name, _), space in source.spaces.items():
        if kind_named(space.kind).from_text:
            return np.ones(len(rows), bool)
        taught = TASK_REGISTRY[blocks[name].type].training_rows(blocks[name], rows.labels[name, space.head], space)
        if taught is None:
            return np.ones(len(rows), bool)
        found |= taught
    return found


def _resolve(task: Any, loaded: Sequence[LoadedSource]) -> Any:
    """Fill in what the training rows decide: label names and counts, balanced weights."""
    source = next(each for each in loaded if any(key[0] == task.name for key in each.spaces))
    heads = []
    for head in task.heads:
        space = source.spaces[task.name, head.name]
        if kind_named(space.kind).from_text:
            return task
        update: dict[str, Any] = {"num_labels": space.size, "labels": list(space.labels)}
        targets = source.splits[TRAIN].labels[task.name, head.name]
        asked = [name for name in ("class_weight", "pos_weight") if getattr(head, name, None) == "balanced"]
        if asked:
            weights = kind_named(space.kind).balanced(space, targets)
            update |= {name: weights[name] for name in asked}
        for name in ("class_weight", "pos_weight", "item_weights"):
            given = update.get(name, getattr(head, name, None))
            if given is not None and len(given) != space.size:
                raise ConfigError(
                    f"tasks[{task.name}].heads[{head.name}].{name}: {len(given)} values for {space.size} labels: "
                    f"{', '.join(space.labels)}"
                )
        heads.append(head.model_copy(update=update))
    return task.model_copy(update={"heads": heads})


def _check_judged(config: ExperimentConfig, loaded: Sequence[LoadedSource]) -> None:
    """Let tasks refuse rows that they cannot be judged by, such as those that a model is to know by heart."""
    blocks = {task.name: task for task in config.tasks}
    for source in loaded:
        for name in dict.fromkeys(task for task, _ in source.spaces):
            TASK_REGISTRY[blocks[name].type].check_rows(blocks[name], source.splits[TRAIN])
            if (kept := blocks[name].kept_rows) and not len(source.splits.get("valid", ())):
                raise ConfigError(
                    f"tasks[{name}]: the model holds {kept}, so they cannot show from where on a row is strange; give "
                    "validation rows (data_path.valid or data.valid_fraction), or choose another method"
                )
