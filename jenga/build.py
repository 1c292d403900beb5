"""From a configuration to objects. The only user of all registries."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from jenga import __version__
from jenga.backbones import BackboneManager
from jenga.backbones.text import TINY_TEXT, TextBackbone, load_tokenizer
from jenga.callbacks import CALLBACK_REGISTRY
from jenga.config.schema import Columns, ExperimentConfig, SplitPaths, experiment_model
from jenga.data.collate import EncodedSplit, Source
from jenga.data.readers import BadRow
from jenga.data.rows import HeadColumn, LoadedSource, Rows, SourceSpec, load_source
from jenga.data.text import EncodedText, default_cache_dir, encode
from jenga.errors import ConfigError, SetupError
from jenga.files import MANIFEST, atomic_folder, damage
from jenga.fusion import AttentionFusion
from jenga.model import MultiTaskModel
from jenga.tasks import TASK_REGISTRY, BaseTask
from jenga.tasks.regression import RegressionTask
from jenga.types import IGNORE_INDEX, HeadSpace

logger = logging.getLogger(__name__)
_BUNDLE_FORMAT = 1
_BUNDLE_FILE = "jenga.json"
_HEADS_FILE = "heads.safetensors"
HeadKey = tuple[str, str]


@dataclass
class Bundle:
    """A model with all that turns raw rows into predictions; what `best/` holds."""

    config: ExperimentConfig
    model: MultiTaskModel
    tokenizer: Any
    specs: list[SourceSpec]
    spaces: dict[HeadKey, HeadSpace]
    thresholds: dict[HeadKey, np.ndarray] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write everything to `folder`, atomically: safetensors and JSON, the backbone as a transformers checkpoint."""
        with atomic_folder(folder) as staging:
            self.model.backbone.save(staging / "backbone")
            self.tokenizer.save_pretrained(staging / "backbone")
            state = {k: v for k, v in self.model.state_dict().items() if not k.startswith("backbone.")}
            save_file({k: v.contiguous().clone() for k, v in state.items()}, staging / _HEADS_FILE)
            description = {
                "format": _BUNDLE_FORMAT,
                "jenga": __version__,
                # where a run was tracked is no part of the model, and may hold a password
                "config": self.config.model_dump(mode="json", exclude={"tracking", "output_dir"}),
                "sources": [asdict(spec) for spec in self.specs],
                "spaces": [asdict(space) for space in self.spaces.values()],
                "thresholds": [[task, head, list(map(float, t))] for (task, head), t in self.thresholds.items()],
            }
            (staging / _BUNDLE_FILE).write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read what `save` wrote. Raises SetupError when it is no bundle, is harmed, or is of a later format."""
        from transformers import AutoTokenizer

        if not (folder / _BUNDLE_FILE).is_file() or not (folder / MANIFEST).is_file():
            raise SetupError(f"{folder}: no trained model here; give a run folder or its best/ folder")
        if harm := damage(folder):
            raise SetupError(f"{folder}: {harm}; restore the folder from a copy or train again")
        description = json.loads((folder / _BUNDLE_FILE).read_text())
        if description["format"] > _BUNDLE_FORMAT:
            raise SetupError(f"{folder}: written by Jenga {description['jenga']}, a later version; upgrade Jenga")
        try:
            config = schema().model_validate(description["config"])
        except ValidationError as error:
            raise SetupError(
                f"{folder}: made by Jenga {description['jenga']} with parts or settings that are not here: {error}"
            ) from error
        spaces = {
            (s["task"], s["head"]): HeadSpace(**{**s, "labels": tuple(s["labels"])}) for s in description["spaces"]
        }
        backbone = BackboneManager.load(
            config.model.backbone_type, folder / "backbone", config.model.base_model, config.model
        )
        model = _join(config, backbone)
        state = load_file(folder / _HEADS_FILE)
        state |= {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
        model.load_state_dict(state)
        return cls(
            config, model.eval(), AutoTokenizer.from_pretrained(folder / "backbone"),
            [_spec_of(each) for each in description["sources"]], spaces,
            {(task, head): np.array(values) for task, head, values in description["thresholds"]},
        )  # fmt: skip


@dataclass
class Experiment:
    """Everything that a trainer needs, and what was seen while it was made."""

    bundle: Bundle
    sources: list[Source]
    bad: list[BadRow]
    warnings: list[str]


def schema() -> type[ExperimentConfig]:
    """Return the schema of experiments made of all registered parts."""
    return experiment_model(TASK_REGISTRY, BackboneManager._REGISTRY, CALLBACK_REGISTRY)


def build(config: ExperimentConfig, workdir: Path) -> Experiment:
    """Read the data, make the tokenizer and the model. `workdir` keeps what a preset makes from the training rows.

    Raises ConfigError, DataError or SetupError, each with what is wrong and how to mend it.
    """
    from accelerate.utils import set_seed

    set_seed(config.training.seed)
    torch.use_deterministic_algorithms(config.training.deterministic)
    loaded = [load_source(spec, data=config.data) for spec in source_specs(config)]
    spaces = {key: space for source in loaded for key, space in source.spaces.items()}
    model_config = _materialise(config, loaded, workdir)
    tokenizer = load_tokenizer(model_config)
    backbone = BackboneManager.create(model_config.backbone_type, model_config.base_model, model_config)
    config = config.model_copy(update={"tasks": [_resolve(task, loaded) for task in config.tasks]})
    _check_lengths(backbone, loaded)
    model = _join(config, backbone)
    warnings = [warning for source in loaded for warning in source.warnings]
    sources = [_encode(source, tokenizer, config, warnings) for source in loaded]
    _check_vocabulary(backbone, tokenizer, sources)
    for source in loaded:
        _set_scales(model, source)
    bundle = Bundle(config, model, tokenizer, [source.spec for source in loaded], spaces)
    return Experiment(bundle, sources, [row for source in loaded for row in source.bad], warnings)


def source_specs(config: ExperimentConfig) -> list[SourceSpec]:
    """Group the tasks that read the same rows, in the order of their first tasks."""
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for task in config.tasks:
        columns = task.columns
        paths = _paths(task.data_path)
        key = (
            paths,
            columns.text or columns.tokens,
            columns.text_pair,
            columns.id,
            task.max_length or config.data.max_length,
        )
        groups.setdefault(key, []).append(task)
    return [
        SourceSpec(
            name="+".join(task.name for task in tasks),
            train=paths[0],
            valid=paths[1],
            test=paths[2],
            text=(text,) if text else _text_candidates(tasks),
            text_pair=pair,
            id=row_id or "id",
            heads=tuple(column for task in tasks for column in _head_columns(task)),
            max_length=max_length,
        )
        for (paths, text, pair, row_id, max_length), tasks in groups.items()
    ]


def encode_rows(rows: Rows, tokenizer: Any, max_length: int, cache_dir: Path | None) -> EncodedText:
    """Tokenise the rows of one split."""
    return encode(rows.texts, tokenizer, max_length=max_length, pairs=rows.pairs, words=rows.words, cache_dir=cache_dir)


def _spec_of(saved: dict[str, Any]) -> SourceSpec:
    heads = tuple(
        HeadColumn(
            **{**head, "candidates": tuple(head["candidates"]), "labels": head["labels"] and tuple(head["labels"])}
        )
        for head in saved["heads"]
    )
    paths = {name: tuple(saved[name]) for name in ("train", "valid", "test", "text")}
    return SourceSpec(**{**saved, **paths, "heads": heads})


def _paths(data_path: Any) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    def several(value: str | list[str] | None) -> tuple[str, ...]:
        return () if value is None else (value,) if isinstance(value, str) else tuple(value)

    if isinstance(data_path, SplitPaths):
        return several(data_path.train), several(data_path.valid), several(data_path.test)
    return several(data_path), (), ()


def _head_columns(task: Any) -> Iterator[HeadColumn]:
    task_class, columns = TASK_REGISTRY[task.type], task.columns
    for head in task.heads:
        kind = task_class.kind_of(head)
        yield HeadColumn(
            task=task.name,
            head=head.name,
            kind=kind,
            candidates=_candidates(head, columns, kind, len(task.heads) == 1),
            size=head.num_labels,
            labels=None if head.labels is None else tuple(head.labels),
        )


def _text_candidates(tasks: Sequence[Any]) -> tuple[str, ...]:
    """Return where to look for text: words come first where tags are given by word."""
    by_word = any(
        TASK_REGISTRY[task.type].reads == "tokens" and not getattr(task.columns, "entities", None) for task in tasks
    )
    return ("tokens", "text") if by_word else ("text", "tokens")


def _candidates(head: Any, columns: Columns, kind: str, only: bool) -> tuple[str, ...]:
    """Return where to look for a head's labels, the likeliest place first."""

    def given(key: str) -> str | None:
        # A kind of task has only those keys that it reads.
        name: str | None = getattr(columns, key, None)
        return name

    if head.column:
        return (head.column,)
    if kind == "tags":
        named = tuple(filter(None, (given("ner_tags"), given("entities"))))
        return named or ("ner_tags", "entities", f"labels.{head.name}")
    if only and (label := given("label")):
        return (label,)
    labels = given("labels") or "labels"
    return (f"{labels}.{head.name}", "label", labels, head.name) if only else (f"{labels}.{head.name}", head.name)


def _materialise(config: ExperimentConfig, loaded: Sequence[LoadedSource], workdir: Path) -> Any:
    """Return the model's block, with a preset turned into a checkpoint under `workdir` (once a run)."""
    if config.model.base_model != TINY_TEXT:
        return config.model
    if config.model.tokenizer is not None:
        raise ConfigError(
            f"model.tokenizer: {TINY_TEXT} makes its own tokenizer from the training rows; remove the key"
        )
    from jenga.backbones.tiny import make_tiny_text

    folder = workdir / "preset"
    if not folder.exists() or damage(folder):
        texts = [text for source in loaded for text in source.splits["train"].texts]
        texts += [pair for source in loaded for pair in source.splits["train"].pairs or []]
        with atomic_folder(folder) as staging:
            make_tiny_text(staging, texts, seed=config.training.seed)
    return config.model.model_copy(update={"base_model": str(folder)})


def _resolve(task: Any, loaded: Sequence[LoadedSource]) -> Any:
    """Fill in what the training rows decide: label names and counts, balanced weights."""
    source = next(each for each in loaded if any(key[0] == task.name for key in each.spaces))
    heads = []
    for head in task.heads:
        space = source.spaces[task.name, head.name]
        update: dict[str, Any] = {"num_labels": space.size, "labels": list(space.labels)}
        targets = source.splits["train"].labels[task.name, head.name]
        if getattr(head, "class_weight", None) == "balanced":
            flat = np.concatenate(targets) if space.kind == "tags" else targets
            counts = np.bincount(flat[flat != IGNORE_INDEX], minlength=space.size)
            update["class_weight"] = (counts.sum() / (space.size * np.maximum(counts, 1))).tolist()
        if getattr(head, "pos_weight", None) == "balanced":
            positive, negative = np.nansum(targets == 1, axis=0), np.nansum(targets == 0, axis=0)
            update["pos_weight"] = (np.maximum(negative, 1) / np.maximum(positive, 1)).tolist()
        for name in ("class_weight", "pos_weight", "item_weights"):
            given = update.get(name, getattr(head, name, None))
            if given is not None and len(given) != space.size:
                raise ConfigError(
                    f"tasks[{task.name}].heads[{head.name}].{name}: {len(given)} values for {space.size} labels: "
                    f"{', '.join(space.labels)}"
                )
        heads.append(head.model_copy(update=update))
    return task.model_copy(update={"heads": heads})


def _join(config: ExperimentConfig, backbone: Any) -> MultiTaskModel:
    width = backbone.hidden_size
    fusion = None
    if config.fusion.type == "attention":
        fusion = AttentionFusion(width, [task.name for task in config.tasks], dropout=config.fusion.dropout)
    tasks: Mapping[str, BaseTask] = {task.name: TASK_REGISTRY[task.type](task, width) for task in config.tasks}
    return MultiTaskModel(backbone, fusion, tasks)


def _check_lengths(backbone: Any, loaded: Sequence[LoadedSource]) -> None:
    limit = backbone.max_positions if isinstance(backbone, TextBackbone) else None
    for source in loaded:
        if limit is not None and source.spec.max_length > limit:
            raise ConfigError(
                f"data.max_length: {source.spec.max_length} tokens for {source.spec.name}, but the model has "
                f"positions for {limit}"
            )


def _check_vocabulary(backbone: Any, tokenizer: Any, sources: Sequence[Source]) -> None:
    size = backbone.vocabulary_size if isinstance(backbone, TextBackbone) else None
    encoded = [split.encoded.input_ids for source in sources for split in source.splits.values()]
    highest = max(int(ids.max(initial=tokenizer.pad_token_id)) for ids in encoded)
    if size is not None and highest >= size:
        raise ConfigError(
            f"model.tokenizer: gives token number {highest}, but the model has embeddings for {size}; use the "
            "tokenizer that the model was trained with"
        )


def _encode(source: LoadedSource, tokenizer: Any, config: ExperimentConfig, warnings: list[str]) -> Source:
    cache_dir = Path(config.data.cache_dir) if config.data.cache_dir else default_cache_dir()
    splits = {}
    for name, rows in source.splits.items():
        encoded = encode_rows(rows, tokenizer, source.spec.max_length, cache_dir)
        splits[name] = EncodedSplit(source.spec.name, rows, encoded, source.spaces, tokenizer.pad_token_id)
        if cut := int(encoded.truncated.sum()):
            lost = ""
            if encoded.word_token is not None:
                lost = f"; {int((encoded.word_token < 0).sum())} words have no token of their own and count as untagged"
            warnings.append(
                f"{source.spec.name}, {name}: {cut} of {len(rows)} rows are longer than max_length "
                f"{source.spec.max_length} tokens and are cut{lost}"
            )
    tasks = tuple(dict.fromkeys(key[0] for key in source.spaces))
    return Source(source.spec.name, tasks, splits)


def _set_scales(model: MultiTaskModel, source: LoadedSource) -> None:
    for (name, head), targets in source.splits["train"].labels.items():
        task = model.tasks[name]
        if isinstance(task, RegressionTask) and task._head_config(head).standardize:
            # The squares of numbers from 1e19 on are beyond float32.
            exact = targets.astype(np.float64)
            mean, std = np.zeros(exact.shape[1]), np.ones(exact.shape[1])
            labelled = ~np.isnan(exact).all(axis=0)
            mean[labelled], std[labelled] = (
                np.nanmean(exact[:, labelled], axis=0),
                np.nanstd(exact[:, labelled], axis=0),
            )
            task.set_scale(head, mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32))
