"""The configuration's schema. Every key here changes what is built; a test walks the schema and proves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from jenga.config.optimization import PartChoices
from jenga.config.parts import ModalityChoices, ShortForm
from jenga.config.paths import PathMark
from jenga.config.peft import PeftBlock
from jenga.config.stages import ContinualConfig, StageConfig
from jenga.config.strict import (
    BACKBONE_NAME,
    PROJECT,
    PROJECT_LENGTH,
    Fraction,
    PositiveInt,
    Seed,
    Strict,
)
from jenga.config.training import TrainingConfig, own_training
from jenga.config.tune import TuneConfig
from jenga.types import SHARED

BackboneName = Annotated[str, Field(min_length=1, pattern=BACKBONE_NAME)]
_JOINT = "+"
"""Between the names of backbones that a task reads together."""


# --------------------------------------------------------------------------------------------------- data and training


class DataConfig(Strict):
    """How rows are split, checked and turned into tokens."""

    valid_fraction: Fraction = Field(0.1, description="Share of the rows for validation, where no valid file is given.")
    test_fraction: Fraction = Field(
        0.1, description="Share of the rows for the final test, of a data_path without splits."
    )
    split_seed: Seed = Field(0, description="Seed of the stratified split.")
    max_length: PositiveInt = Field(256, description="Tokens kept of a row.")
    max_bad_fraction: Fraction = Field(0.01, description="Share of unusable rows above which the run stops.")
    blank_rows: Literal["refuse", "skip"] = Field(
        "refuse",
        description="A row without content, such as a blank text, is an unusable one (refuse), or passed over and only "
        "counted (skip).",
    )
    format: Literal["json", "jsonl", "csv", "tsv", "txt", "conll", "conllu", "parquet", "log"] | None = Field(
        None, description="How the files of rows are written. Default: as their names and contents say."
    )
    records: str | None = Field(
        None,
        min_length=1,
        description="Where the list of rows stands in a JSON file that is one object, such as result.events. Default: "
        "where it is the only list, or where well-known services have it.",
    )
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="What parts the cells of CSV and TSV files. Default: what the header shows.",
    )
    max_rows: PositiveInt | None = Field(None, description="Train on this many rows, drawn by split_seed.")
    exclude: Annotated[str | None, PathMark.FILE] = Field(
        None,
        description="File of rows to leave out of training and judging, by file and row, such as the audit.jsonl of "
        "jenga audit.",
    )
    streaming: bool = Field(
        False,
        description="Take training rows as they come, from files too large to index or to copy: shuffled in a buffer "
        "of 10,000, over and over, for training.max_steps. The first rows say which labels there are.",
    )
    cache_dir: str | None = Field(
        None,
        description="Folder for tokenised rows, and for the rows of large files; default: the user's cache folder.",
    )
    workers: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Processes that decode rows and make batches ahead. Default: 0, but for pictures and sound on a "
        "GPU, where it is one a core but for one, 4 at most.",
    )


class FusionConfig(Strict):
    """A task's own view of the shared hidden states."""

    type: Literal["none", "attention"] = Field("none", description="attention: each task attends over all tokens.")
    dropout: Fraction = Field(0.1, description="Dropout on the attended summary.")
    input_dropout: Fraction = Field(
        0.3,
        description="Of tasks with several inputs, the chance that training leaves one of them out, so that a row that "
        "lacks it is answered by the others.",
    )


class EvaluationConfig(Strict):
    """When and by what the model is judged."""

    every_steps: PositiveInt | None = Field(
        None, description="Optimizer steps between evaluations; default: each epoch."
    )
    metric: str = Field("eval_loss", description="Metric that picks the best checkpoint.")
    greater_is_better: bool | None = Field(
        None, description="Which way `metric` is better, where its task does not say: a metric of a task of your own."
    )
    batch_size: PositiveInt | None = Field(
        None, description="Rows of a forward pass; default: twice training.batch_size."
    )
    thresholds: Annotated[float, Field(gt=0, lt=1)] | Literal["tuned"] = Field(
        "tuned",
        description="Probability from which an item is a yes; tuned: best F1 on the valid rows, of each item with five "
        "or more yes, of all others together. That flatters the scores there, but not on test rows. During training, "
        "and without valid rows, 0.5.",
    )
    baselines: list[str] = Field(
        ["majority"], description="Simple models, fitted on the same rows and printed beside the result."
    )
    worst_errors: Annotated[int, Field(ge=0)] = Field(
        10, description="Rows of each head that report.html shows with what stands in them, the worst answers first."
    )
    slices: list[str] = Field(
        ["length"],
        description="Columns of the rows, such as lang, by whose values each head is judged apart too; length: by how "
        "long rows are.",
    )


class EarlyStoppingConfig(Strict):
    """Stop when `evaluation.metric` has not improved."""

    patience: PositiveInt = Field(3, description="Evaluations without improvement before stopping.")
    min_delta: Annotated[float, Field(ge=0)] = Field(0.0, description="Smallest change that counts as improvement.")


class CheckpointConfig(Strict):
    """Checkpoints to resume from."""

    every_steps: PositiveInt | None = Field(
        None, description="Optimizer steps between checkpoints; default: each epoch."
    )
    keep: PositiveInt = Field(1, description="Newest checkpoints kept; the best model is kept beside them.")


class TrackingConfig(Strict):
    """MLflow."""

    enabled: bool = Field(True, description="Log to MLflow.")
    uri: str | None = Field(None, description="Tracking server; default: mlflow.db in output_dir.")
    experiment: str | None = Field(None, description="Experiment's name; default: project_name.")
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of the run.")
    log_model: bool = Field(True, description="Log the best model as a pyfunc.")


class SeveralBackbones(Strict):
    """A model of several backbones, each of which reads the rows of its own tasks, or with others those of a task."""

    backbones: dict[BackboneName, Any] = Field(
        min_length=1,
        description="Blocks as of `model`, by names of your own, with peft and training of their own.",
    )


class ExperimentConfig(Strict):
    """A whole experiment. `experiment_model` narrows its blocks to what is registered.

    `modalities`: what backbones read, by `backbone_type`; `token_tasks`: the types of tasks that label words;
    `frame_tasks`: those that label moments; `language_tasks`: those that predict tokens; `parts`: what `training` can
    name, by its key; `forms`: shorter ways to write one. `default_backbone`: the `backbone_type` where none is given.
    """

    parts: ClassVar[Mapping[str, PartChoices]] = {}
    modalities: ClassVar[Mapping[str, ModalityChoices]] = {}
    token_tasks: ClassVar[frozenset[str]] = frozenset()
    frame_tasks: ClassVar[frozenset[str]] = frozenset()
    language_tasks: ClassVar[frozenset[str]] = frozenset()
    forms: ClassVar[Sequence[ShortForm]] = ()
    default_backbone: ClassVar[str | None] = None

    project_name: str | None = Field(
        None, pattern=PROJECT, max_length=PROJECT_LENGTH, description="Default: the file's name."
    )
    model: Any
    tasks: list[Any] = Field(min_length=1)
    data_root: str | None = Field(None, description="Folder that data_path is relative to; default: the YAML's folder.")
    data: DataConfig = Field(default_factory=DataConfig)
    peft: PeftBlock | None = Field(
        None, description="Train small parts beside a frozen encoder. Absent: the whole encoder."
    )
    fusion: FusionConfig = Field(default_factory=FusionConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    stages: list[StageConfig] = Field(
        default_factory=list, description="Parts of the training, one after the other. Default: all at once."
    )
    continual: ContinualConfig = Field(
        default_factory=ContinualConfig, description="What is done against forgetting, in a training in stages."
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    early_stopping: EarlyStoppingConfig | None = Field(None, description="Absent: train to the end.")
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    callbacks: Any = Field(default_factory=dict)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    output_dir: str = Field("runs", description="Folder of run folders.")
    tune: TuneConfig | None = Field(None, description="What jenga tune searches; jenga train leaves it aside.")

    @field_validator("tasks", check_fields=False)
    @classmethod
    def _task_names_differ(cls, tasks: list[Any]) -> list[Any]:
        names = [task.name for task in tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"two tasks have the same name; names: {', '.join(names)}")
        return tasks

    @classmethod
    def modality_of(cls, data: Any) -> ModalityChoices | None:
        """Return what the one backbone of a document's content, which may be anything, reads; None: not known."""
        model = data.get("model") if isinstance(data, dict) else None
        kind = model.get("backbone_type", cls.default_backbone) if isinstance(model, dict) else None
        return cls.modalities.get(kind) if isinstance(kind, str) else None

    @property
    def several(self) -> bool:
        """Whether the model names its backbones, instead of being one."""
        return isinstance(self.model, SeveralBackbones)

    @property
    def backbones(self) -> dict[str, Any]:
        """The block of each backbone by its name; of the one of `model` where there are not several."""
        return dict(self.model.backbones) if self.several else {SHARED: self.model}

    @property
    def encoders(self) -> dict[str, tuple[str, ...]]:
        """What tasks read, by name: the backbones that it consists of; several where a task reads them together."""
        found: dict[str, tuple[str, ...]] = {name: (name,) for name in self.backbones}
        found |= {_JOINT.join(task.inputs): tuple(task.inputs) for task in self.tasks if task.inputs}
        return {
            name: parts for name, parts in found.items() if any(self.encoder_of(each) == name for each in self.tasks)
        }

    def encoder_of(self, task: Any) -> str:
        """Return the name of what the block `task` reads, of `encoders`."""
        return _JOINT.join(task.inputs) if task.inputs else task.backbone or next(iter(self.backbones))

    def seen_by(self, encoder: str) -> Self:
        """Return the experiment as one of `encoders` sees it: its own backbone, training and tasks.

        Of several backbones that are read together, the first one's.
        """
        if not self.several:
            return self
        tasks = [task for task in self.tasks if self.encoder_of(task) == encoder]
        return self._of(self.encoders.get(encoder, (encoder,))[0], tasks)

    def of_backbone(self, name: str) -> Self:
        """Return the experiment of one of `backbones` and of all tasks that read it, alone or with others."""
        if not self.several:
            return self
        return self._of(name, [task for task in self.tasks if name in self.encoders[self.encoder_of(task)]])

    def _of(self, backbone: str, tasks: list[Any]) -> Self:
        block = self.backbones[backbone]
        return self.model_copy(
            update={
                "model": _alone(block),
                "peft": block.peft,
                "tasks": tasks,
                "training": own_training(self.training, block.training),
            }
        )

    def with_blocks(self, blocks: Mapping[str, Any]) -> Self:
        """Return the experiment with other blocks of its backbones, by their names."""
        if not self.several:
            return self.model_copy(update={"model": blocks.get(SHARED, self.model)})
        # What is made for one backbone knows nothing of the blocks beside its own.
        own = {
            name: _with_private(self.backbones[name].model_copy(update=dict(block)), block)
            for name, block in blocks.items()
        }
        several = self.model.model_copy(update={"backbones": {**self.backbones, **own}})
        return self.model_copy(update={"model": several})


def _alone(block: Any) -> Any:
    """Return the block of one backbone of several as it is of one that is alone."""
    plain: type[Strict] = type(block).__bases__[0]
    fields = {name: getattr(block, name) for name in plain.model_fields}
    return _with_private(plain.model_construct(block.model_fields_set, **fields), block)


def _with_private(made: Any, block: Any) -> Any:
    """Give `made` what `block` knows beside its fields."""
    if block.__pydantic_private__ is not None:
        made.__pydantic_private__ = dict(block.__pydantic_private__)
    return made
