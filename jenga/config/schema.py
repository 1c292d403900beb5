"""The configuration's schema. Every key here changes what is built; a test walks the schema and proves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, create_model, field_validator

from jenga.config.optimization import OptimizerConfig, PartChoices, SchedulerConfig
from jenga.config.parts import ModalityChoices, ShortForm
from jenga.config.peft import PeftBlock
from jenga.config.strict import PROJECT, PROJECT_LENGTH, Fraction, PositiveFloat, PositiveInt, Strict
from jenga.registry import Registry

Seed = Annotated[int, Field(ge=0, lt=2**63)]


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
    format: Literal["json", "jsonl", "csv", "tsv", "txt", "conll", "conllu", "parquet"] | None = Field(
        None, description="How the files of rows are written. Default: as their names and contents say."
    )
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="What parts the cells of CSV and TSV files. Default: what the header shows.",
    )
    max_rows: PositiveInt | None = Field(None, description="Train on this many rows, drawn by split_seed.")
    cache_dir: str | None = Field(None, description="Folder for tokenised rows; default: the user's cache folder.")
    workers: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Processes that decode rows and make batches ahead. Default: 0, but for pictures and sound on a "
        "GPU, where it is one a core but for one, 4 at most.",
    )


class FusionConfig(Strict):
    """A task's own view of the shared hidden states."""

    type: Literal["none", "attention"] = Field("none", description="attention: each task attends over all tokens.")
    dropout: Fraction = Field(0.1, description="Dropout on the attended summary.")


class LearningRates(Strict):
    """Learning rate of each parameter group; `adapters` takes the place of `backbone` where `peft` is set.

    A rate that is not given follows from the encoder's width.
    """

    backbone: PositiveFloat | None = None
    adapters: PositiveFloat | None = None
    fusion: PositiveFloat | None = None
    heads: PositiveFloat | None = None


class TrainingConfig(Strict):
    """The optimisation. Passes, batches and rates that are not given follow from the rows and the encoder.

    docs/training.md has the rule; a run's config.yml has the numbers.
    """

    epochs: PositiveInt | None = Field(
        None, description="Passes over the rows; ignored where max_steps is given. Default: by the number of rows."
    )
    max_steps: PositiveInt | None = Field(None, description="Optimizer steps.")
    batch_size: PositiveInt | None = Field(
        None,
        description="Rows of a step, or of each of gradient_accumulation_steps in one; on a CPU an encoder of tokens "
        "takes them in two passes, by length. Default: by the number of rows and the encoder.",
    )
    gradient_accumulation_steps: PositiveInt = Field(1, description="Forward passes of an optimizer step.")
    learning_rate: PositiveFloat | LearningRates = Field(
        default_factory=LearningRates,
        description="One rate, or one for each of backbone, adapters, fusion, heads. Default: by the encoder.",
    )
    optimizer: str | OptimizerConfig = Field("adamw", description="Its name, or a mapping of name and parameters.")
    scheduler: str | SchedulerConfig = Field(
        "linear", description="Shape of the rate after warmup: its name, or a mapping of name and parameters."
    )
    warmup_steps: int | None = Field(None, ge=0, description="Steps of linear warmup; wins over warmup_ratio.")
    warmup_ratio: Fraction = Field(0.1, description="Share of all steps spent on warmup.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.01, description="Decoupled decay of weights, not of biases or norms."
    )
    max_grad_norm: PositiveFloat | None = Field(
        1.0, description="Gradient norm above which it is scaled down; null: off."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="Type of the forward pass.")
    sampler: Literal["round_robin", "proportional", "temperature"] = Field(
        "round_robin", description="Whose turn it is when tasks have different rows."
    )
    temperature: Annotated[float, Field(ge=1)] = Field(
        2.0, description="Of the temperature sampler: 1 is proportional, larger is more even."
    )
    seed: Seed = Field(0, description="Seed of weights, order and dropout.")
    log_every_steps: PositiveInt = Field(10, description="Optimizer steps between training records in metrics.jsonl.")
    gradient_checkpointing: bool = Field(
        False, description="Compute the encoder's activations again in the backward pass instead of keeping them."
    )
    deterministic: bool = Field(False, description="Refuse operations whose results differ from run to run.")


class ResolvedTraining(TrainingConfig):
    """The optimisation with every number that the loop needs."""

    epochs: PositiveInt
    batch_size: PositiveInt
    learning_rate: LearningRates


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


class ExperimentConfig(Strict):
    """A whole experiment. `experiment_model` narrows its blocks to what is registered.

    `modalities`: what backbones read, by `backbone_type`; `token_tasks`: the types of tasks that label words;
    `language_tasks`: those that predict tokens; `parts`: what `training` can name, by its key; `forms`: shorter ways to
    write one. `default_backbone`: the `backbone_type` where none is given.
    """

    parts: ClassVar[Mapping[str, PartChoices]] = {}
    modalities: ClassVar[Mapping[str, ModalityChoices]] = {}
    token_tasks: ClassVar[frozenset[str]] = frozenset()
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
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    early_stopping: EarlyStoppingConfig | None = Field(None, description="Absent: train to the end.")
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    callbacks: Any = Field(default_factory=dict)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    output_dir: str = Field("runs", description="Folder of run folders.")

    @field_validator("tasks", check_fields=False)
    @classmethod
    def _task_names_differ(cls, tasks: list[Any]) -> list[Any]:
        names = [task.name for task in tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"two tasks have the same name; names: {', '.join(names)}")
        return tasks

    @classmethod
    def modality_of(cls, data: Any) -> ModalityChoices | None:
        """Return what the model in the content of a document, which may be anything, reads; None: not known."""
        model = data.get("model") if isinstance(data, dict) else None
        kind = model.get("backbone_type", cls.default_backbone) if isinstance(model, dict) else None
        return cls.modalities.get(kind) if isinstance(kind, str) else None


def resolved(training: TrainingConfig) -> ResolvedTraining:
    """Return `training` as one that has every number. Raises ValidationError where it has not: it was never built."""
    return training if isinstance(training, ResolvedTraining) else ResolvedTraining(**dict(training))


def evaluation_batch_size(config: ExperimentConfig) -> int:
    """Return the rows of a forward pass without gradients, of a built experiment."""
    assert config.training.batch_size is not None, "building an experiment decides it"
    return config.evaluation.batch_size or 2 * config.training.batch_size


def experiment_model(
    tasks: Registry[Any],
    backbones: Registry[Any],
    callbacks: Registry[Any],
    *,
    modality_of: Callable[[str], ModalityChoices],
    baselines: Sequence[str],
    default_backbone: str | None = None,
    parts: Mapping[str, PartChoices] | None = None,
    forms: Sequence[ShortForm] = (),
) -> type[ExperimentConfig]:
    """Return the schema of an experiment made of the registered parts; tasks are told apart by `type`.

    modality_of: called with a backbone's type. baselines: their names. default_backbone: the type where none is given.
    parts: what `training` can name, by its key: ``optimizer``, ``scheduler``. forms: shorter ways to write one.
    """
    for registry in (tasks, backbones, callbacks):
        registry.load_entry_points()
    modalities = {each: modality_of(name) for name in backbones for each in (name, *backbones.aliases_of(name))}
    task_models = []
    for name in tasks:
        # What labels words has no use for the columns of rows without any.
        fitting = [each for each in modalities.values() if each.words or tasks[name].reads != "tokens"]
        content = tuple(dict.fromkeys(each.columns for each in fitting))
        block = _with_columns(tasks.config_of(name), content)
        task_models.append(_named(tasks, name, {"type": (_names(tasks, name), ...)}, block))
    model_models = []
    for name in backbones:
        kind: Any = (_names(backbones, name), name if name == default_backbone else ...)
        model_models.append(
            _named(backbones, name, {"backbone_type": kind}, backbones.config_of(name) or modalities[name].settings)
        )
    callback_fields: dict[str, Any] = {name: ((callbacks.config_of(name) or Strict) | None, None) for name in callbacks}
    callbacks_model = create_model("Callbacks", __base__=Strict, **callback_fields)
    task_model: Any = _union(task_models, "type", None)
    compared: Any = Literal[tuple(baselines)]
    info = EvaluationConfig.model_fields["baselines"]
    evaluation = create_model("EvaluationConfig", __base__=EvaluationConfig, baselines=(list[compared], info))
    fields: dict[str, Any] = {
        "model": (_union(model_models, "backbone_type", default_backbone), ...),
        "tasks": (list[task_model], Field(min_length=1)),
        "evaluation": (evaluation, Field(default_factory=evaluation)),
        "callbacks": (callbacks_model, Field(default_factory=dict, validate_default=True)),
    }
    experiment = create_model("Experiment", __base__=ExperimentConfig, **fields)
    experiment.parts, experiment.forms = parts or {}, tuple(forms)
    experiment.modalities, experiment.default_backbone = modalities, default_backbone
    experiment.token_tasks = _reading(tasks, "tokens")
    experiment.language_tasks = _reading(tasks, "language")
    return experiment


def _reading(tasks: Registry[Any], reads: str) -> frozenset[str]:
    return frozenset(each for name in tasks if tasks[name].reads == reads for each in (name, *tasks.aliases_of(name)))


def _names(registry: Registry[Any], name: str) -> Any:
    return Literal[(name, *registry.aliases_of(name))]


def _named(
    registry: Registry[Any], name: str, fields: dict[str, Any], base: type[Strict]
) -> tuple[tuple[str, ...], type[Strict]]:
    return (name, *registry.aliases_of(name)), create_model(f"{name}_{base.__name__}", __base__=base, **fields)


def _with_columns(block: type[Strict], content: tuple[type[Strict], ...]) -> type[Strict]:
    """Return a task's block whose `columns` also name where the content of rows stands."""
    own: Any = block.model_fields["columns"].annotation
    if own.whole:
        return block
    columns: Any = create_model(own.__name__, __base__=(*content, own))
    described = Field(default_factory=columns, description=block.model_fields["columns"].description)
    return create_model(block.__name__, __base__=block, columns=(columns, described))


def _union(models: list[tuple[tuple[str, ...], type[Strict]]], key: str, default: str | None) -> Any:
    def tag(value: Any) -> str | None:
        return value.get(key, default) if isinstance(value, dict) else getattr(value, key, default)

    options = [Annotated[model, Tag(name)] for names, model in models for name in names]
    return Annotated[reduce(or_, options), Discriminator(tag)]
