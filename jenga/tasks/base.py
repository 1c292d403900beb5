"""What every task is, and the registry of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import nn

from jenga.config.tasks import LabelColumns, TaskConfig
from jenga.dropout import Dropout
from jenga.kernels import HeadSpec, multi_head_loss
from jenga.labels import LabelKind, kind_named
from jenga.labels.base import Answers, Errors, Plausible, Texts
from jenga.labels.certain import Additive, Evidence, Unlike
from jenga.labels.classes import ClassHead
from jenga.labels.judge import head_details, head_metrics
from jenga.labels.metric import Metric
from jenga.labels.shapes import Shape, record
from jenga.labels.thresholds import ThresholdRule
from jenga.modalities import BaseBackbone
from jenga.modalities.base import Generates, Tell
from jenga.registry import Registry
from jenga.rows.parse import Rows
from jenga.tasks.distillation import taught
from jenga.tasks.heads import HeadBank
from jenga.types import IGNORE_INDEX, BackboneOutput, HeadSpace, TaskOutput


class ClassificationConfig(TaskConfig):
    """Each head picks one class."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="Where column names are not the default.")
    heads: list[ClassHead] = Field(default_factory=lambda: [ClassHead(name="label")], min_length=1)


TASK_REGISTRY: Registry[BaseTask] = Registry(
    "task type", entry_point_group="jenga.tasks", default_config=ClassificationConfig
)

Labels = torch.Tensor | Mapping[str, torch.Tensor]
Stage = Literal["start", "evaluation"]


class Observer(Protocol):
    """Sees every training row once, in evaluation mode and without gradients."""

    def see(self, encoder_outputs: BackboneOutput, labels: Mapping[str, torch.Tensor]) -> None:
        """Take a batch in; labels: by head, as in `jenga.types.Batch`."""

    def finish(self) -> None:
        """Store what was seen in buffers of the task. Raises DataError where there was nothing to learn from."""


class BaseTask(nn.Module):
    """Heads over a backbone's output.

    `config` is the task's block of the configuration with every head's `num_labels` and `labels` filled in. A subclass
    may override `get_forward_output` and use `self.head` (of a one-head task) or `self.heads`; without more it is
    labelled, judged and decoded as a classification. `calibrated`: whether `calibrate` has something to fit.
    `generates`: whether it answers in texts of its own, by `respond`, and has no logits by row. `keeps_logits`: whether
    logits with a gradient are wanted in training, for a teacher's sake.
    """

    label_kind: ClassVar[str] = "class"
    reads: ClassVar[Literal["pooled", "tokens", "frames", "language"]] = "pooled"
    calibrated: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    head_weight: torch.Tensor

    def __init__(self, config: Any, hidden_size: int) -> None:
        super().__init__()
        self.config = config
        self.heads: HeadBank = self.make_heads(config, hidden_size)
        self.dropout = Dropout(config.dropout)
        self.keeps_logits = False
        self.register_buffer("head_weight", torch.tensor([h.weight for h in config.heads]), persistent=False)
        for i, head in enumerate(config.heads):
            for name in ("class_weight", "pos_weight"):
                values = getattr(head, name, None)
                self.register_buffer(f"{name}_{i}", None if values is None else torch.tensor(values), persistent=False)

    def make_heads(self, config: Any, hidden_size: int) -> Any:
        """Return the module of the heads; its `sizes` are the numbers of their logits by name, in order."""
        return HeadBank({head.name: head.num_labels for head in config.heads}, hidden_size)

    @classmethod
    def kind_of(cls, head: Any) -> str:
        """Return the name of the kind of label of `head` (its block of the configuration), as in `jenga.labels`."""
        return cls.label_kind

    @classmethod
    def training_rows(cls, config: Any, labels: np.ndarray, space: HeadSpace) -> np.ndarray | None:
        """Return which rows, bool ``(M,)``, a head learns from, where that is not told by their having a label.

        config: the task's block; labels: of the head `space`, as in `Rows.labels`. None: all that are labelled.
        """
        return None

    @classmethod
    def needs_labels(cls, config: Any) -> bool:
        """Return whether training rows without any label teach nothing; config: the task's block."""
        return True

    @classmethod
    def check_rows(cls, config: Any, rows: Rows) -> None:
        """Raise ConfigError where the task's block asks more of training `rows` than they hold."""

    def attach(self, backbone: BaseBackbone) -> None:
        """Make what depends on the encoder. Called once, before weights are loaded."""

    def observer(self, stage: Stage) -> Observer | None:
        """Return what wants to see all training rows before the first step, or before each evaluation; else None."""
        return None

    def notes(self) -> list[str]:
        """Return what a user should know of how this task was set up, a sentence each."""
        return []

    @property
    def by_position(self) -> bool:
        """Whether it reads each position of a row, so that logits are ``(B, T, K)``, and not one vector."""
        return self.reads in ("tokens", "frames")

    @property
    def head(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The one head of a one-head task, as a function from hidden states to logits."""
        if len(self.heads.sizes) != 1:
            # Not AttributeError, which nn.Module turns into its own "has no attribute".
            raise TypeError(f"task '{self.config.name}' has {len(self.heads.sizes)} heads; use self.heads")
        return self.heads.view(next(iter(self.heads.sizes)))

    def get_forward_output(
        self, encoder_outputs: BackboneOutput, labels: Labels | None = None
    ) -> TaskOutput | Mapping[str, Any]:
        """Return logits and, with `labels`, the loss; in training the logits have no gradient of their own.

        labels: a tensor for a one-head task, else by head; shapes as in `jenga.types.Batch`.
        """
        tokens = self.by_position
        members = encoder_outputs.members if self.training and labels is not None and not tokens else None
        read = encoder_outputs.last_hidden_state if tokens else encoder_outputs.pooler_output
        hidden = self.dropout(read if members is None else members)
        if labels is None:
            return TaskOutput(None, self.heads(hidden))
        targets = self._targets({next(iter(self.heads.sizes)): labels} if isinstance(labels, torch.Tensor) else labels)
        # Of a member's own loss each, so that they stay different; a mean of k, so that a row counts as one.
        k = 1 if members is None else members.shape[1]
        result = multi_head_loss(
            hidden.flatten(0, 1) if hidden.ndim == 3 else hidden, self.heads.weight, self.heads.bias,
            [target.flatten(0, 1) if tokens else target.repeat_interleave(k, dim=0) for target in targets],
            heads=self._specs(),
        )  # fmt: skip
        if self.training and not self.keeps_logits:
            # Those that the fused loss has made anyway.
            logits = self.heads.split(result.logits.view(*hidden.shape[:-1], -1))
        else:
            logits = self.heads(hidden)
        if members is not None:
            logits = {head: each.mean(1) for head, each in logits.items()}
        return TaskOutput(result.mean(self.head_weight), logits, result.loss_sum / k, result.count / k)

    def predict(self, head: str, logits: torch.Tensor, threshold: np.ndarray | float = 0.5) -> np.ndarray:
        """Turn the logits ``(M, K)`` of `head` into predictions, as its kind of label lays them out.

        Of a head that reads tokens, M are the words of one row. threshold: of a probability, one or ``(K,)``.
        """
        return self._kind(head).predict(logits, threshold)

    def scores(self, head: str, logits: torch.Tensor) -> np.ndarray | None:
        """Return what ranks the rows of `head` by its logits ``(M, K)``, float64.

        None for kinds whose metrics need no more than predictions.
        """
        return self._kind(head).scores(logits)

    def fit_targets(self, head: str, targets: Any) -> None:
        """Take from the targets of the training rows what the loss needs of them. Called once, before training."""

    def answers(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], rows: Texts, *,
        as_words: Sequence[bool], probabilities: bool,
    ) -> Answers:  # fmt: skip
        """Return each row's answer of one head; the forms are those of `Predictor.predict`.

        predictions: as `predict` gave them; logits: each row's, ``(K,)`` or ``(W, K)``; as_words: whether a row was
        given as words. Raises SetupError where the run ended too early to answer.
        """
        return kind_named(space.kind).decode(
            space, predictions, logits, rows, as_words=as_words, probabilities=probabilities
        )

    def shape(self, spaces: Sequence[HeadSpace]) -> Shape:
        """Return the JSON schema of a row's answers by all heads, those of `spaces`, completed and explained."""
        return record({space.head: kind_named(space.kind).shape(space) for space in spaces})

    def conditions(self, space: HeadSpace | None) -> frozenset[str]:
        """Return what a policy's rule may ask of the answers of one head, see `LabelKind.conditions`.

        ``score`` and ``alert`` come from tasks. space: None asks for what the task tells of all its heads.
        """
        return frozenset() if space is None else kind_named(space.kind).conditions(space)

    def complete(self, answers: Answers, predictions: Mapping[str, np.ndarray]) -> None:
        """Add to each row's answers, by head, what the task tells of all of them; predictions: by head."""

    def generated(
        self, rows: Rows, generator: Callable[[], Generates], *, batch_size: int
    ) -> tuple[list[dict[str, Any]], dict[str, float]] | None:
        """Return answers to some of `rows`, ready for JSON, and the metrics that judge them; None: it generates none.

        generator: makes what answers.
        """
        return None

    def respond(self, rows: Rows, generator: Generates, *, batch_size: int) -> Answers:
        """Return each row's answers by head, or ``{"error"}``, of a task that generates them."""
        raise TypeError(f"{type(self).__name__} generates nothing")

    def explain(
        self, answers: Answers, features: np.ndarray, encode: Callable[[torch.Tensor], BackboneOutput], tell: Tell
    ) -> None:
        """Add to the answers what drove them, by the rows' features ``(M, F)``; encode: what the task reads of some."""

    def reference_class(self, head: str) -> int | None:
        """Return the class of `head` that all others are told from; None where there is none such."""
        return None

    @property
    def teachable(self) -> bool:
        """Whether a teacher's logits can be learnt beside the labels: the loss is the built-in one."""
        return type(self).get_forward_output is BaseTask.get_forward_output

    def in_own_terms(self, head: str, teacher: BaseTask, logits: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
        """Return a teacher's logits ``(..., K)`` of `head` as this task has them; order: where it has each label."""
        return logits[..., order]

    def run(
        self, view: BackboneOutput, labels: Mapping[str, torch.Tensor] | None, teacher: Mapping[str, Any] | None
    ) -> TaskOutput:
        """Return the output for what the encoder made, with losses where `labels` are given; all by head."""
        one_head = next(iter(self.heads.sizes)) if len(self.heads.sizes) == 1 else None
        output = self.get_forward_output(view, labels[one_head] if labels is not None and one_head else labels)
        if isinstance(output, TaskOutput):
            return taught(self, output, teacher) if teacher else output
        logits = output["logits"]
        if isinstance(logits, torch.Tensor):
            if one_head is None:
                raise TypeError(f"task '{self.config.name}' has several heads and must return its logits by head")
            logits = {one_head: logits}
        return TaskOutput(output.get("loss"), dict(logits))

    def calibrate(self, space: HeadSpace, scores: np.ndarray, targets: Any) -> list[str]:
        """Fit what turns `scores` of the validation rows into answers, into buffers; return warnings.

        Called once, with the best weights, of a task that is `calibrated`.
        """
        return []

    def metrics(
        self, space: HeadSpace, predictions: Any, targets: Any, *, scores: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return the metrics of one head over a whole split; what `head_metrics` gives for its kind.

        scores: what `scores` gave for these rows.
        """
        return head_metrics(space, predictions, targets)

    def details(
        self, space: HeadSpace, predictions: Any, targets: Any, *, scores: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Return the tables of one head over a whole split, ready for JSON; what `head_details` gives for its kind."""
        return head_details(space, predictions, targets)

    def errors(self, space: HeadSpace, predictions: Any, targets: Any, logits: Sequence[torch.Tensor]) -> Errors | None:
        """Return how wrong the answer to each row of a split is, see `LabelKind.errors`; logits: as in `answers`."""
        return kind_named(space.kind).errors(space, predictions, targets, logits)

    def curves(self, space: HeadSpace, targets: Any, logits: Sequence[torch.Tensor]) -> dict[str, Any] | None:
        """Return how the rows of a split are ranked, see `LabelKind.curves`; logits: as in `answers`."""
        return kind_named(space.kind).curves(space, targets, logits)

    def written(self, space: HeadSpace, predictions: Any, targets: Any, rows: Texts) -> list[tuple[str, str]]:
        """Return what is expected of each row and what was answered, in words, of a head that has `errors`."""
        kind = kind_named(space.kind)
        return list(zip(kind.written(space, targets, rows), kind.written(space, predictions, rows), strict=True))

    def evidence(self, space: HeadSpace, logits: Sequence[torch.Tensor], targets: Any) -> Evidence | None:
        """Return the logits of one head beside what is right, to calibrate them by; see `LabelKind.evidence`.

        None where they stand for no probabilities, or the task calibrates them itself.
        """
        return kind_named(space.kind).evidence(space, logits, targets)

    def calibration_of(self, head: str) -> str | None:
        """Return how the block of `head` wants its probabilities calibrated; None: as the evaluation does."""
        return getattr(self._head_config(head), "calibration", None)

    def strangeness(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], targets: Any
    ) -> np.ndarray | None:
        """Return how strange the label of each row is beside its answer, see `LabelKind.strangeness`."""
        return kind_named(space.kind).strangeness(space, predictions, logits, targets)

    def plausible(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], limits: Sequence[float]
    ) -> Plausible:
        """Return the sets, or intervals, that are plausible for each row, see `LabelKind.plausible`."""
        return kind_named(space.kind).plausible(space, predictions, logits, limits)

    def unlikeness(self, space: HeadSpace, logits: Sequence[torch.Tensor], score: Unlike) -> np.ndarray | None:
        """Return how little each row looks like what the head has learnt, see `LabelKind.unlikeness`.

        None where the task's own score tells what is unusual.
        """
        return None if self.calibrated else kind_named(space.kind).unlikeness(space, logits, score)

    def additive(self, space: HeadSpace, predictions: Any, targets: Any) -> Additive | None:
        """Return metrics of the labelled rows as functions of sums over them, of which intervals are made quickly.

        What it says of a metric that `metrics` has otherwise is not used.
        """
        return kind_named(space.kind).additive(space, predictions, targets)

    def decide(self, space: HeadSpace, scores: np.ndarray, targets: Any, rule: ThresholdRule) -> tuple[bool, list[str]]:
        """Take from `scores` of the validation rows the threshold that `rule` asks for.

        Return whether it was taken, and sentences on what cannot be had. Of a task whose thresholds are its own; those
        of its kinds of labels are `LabelKind.chosen`.
        """
        return False, []

    def metrics_of_loss(self, space: HeadSpace, loss: float) -> dict[str, float]:
        """Return the metrics of a head that is judged by its mean loss alone, such as a language model's."""
        return {}

    def declared_metrics(self, space: HeadSpace) -> tuple[Metric, ...]:
        """Return what `metrics` may give for the head of `space`, each with its direction.

        The first stands for the head where there is room for one.
        """
        return kind_named(space.kind).metrics

    def count_labels(self, labels: Mapping[str, torch.Tensor]) -> Sequence[int]:
        """Return how many labels of a batch count in the loss of each head, in order."""
        return [int(_labelled(target).sum()) for target in labels.values()]

    def _head_config(self, head: str) -> Any:
        return next(each for each in self.config.heads if each.name == head)

    def _kind(self, head: str) -> LabelKind:
        return kind_named(self.kind_of(self._head_config(head)))

    def _targets(self, labels: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        missing = [head for head in self.heads.sizes if head not in labels]
        if missing:
            raise KeyError(f"task '{self.config.name}': labels lack the heads {', '.join(missing)}")
        return [labels[head] for head in self.heads.sizes]

    def _specs(self) -> list[HeadSpec]:
        return [self._spec(place, head) for place, head in enumerate(self.config.heads)]

    def _spec(self, place: int, head: Any) -> HeadSpec:
        """Return the loss of the `place`-th head; head: its block of the configuration."""
        kind = self.kind_of(head)
        loss = kind_named(kind).loss
        if loss is None:
            raise TypeError(
                f"{type(self).__name__}: multi_head_loss has no loss of labels of the kind '{kind}'; override "
                "get_forward_output"
            )
        return HeadSpec(
            kind=loss,
            size=head.num_labels,
            class_weight=getattr(self, f"class_weight_{place}"),
            pos_weight=getattr(self, f"pos_weight_{place}"),
            label_smoothing=getattr(head, "label_smoothing", 0.0),
        )


def _labelled(target: torch.Tensor) -> torch.Tensor:
    return ~target.isnan() if target.is_floating_point() else target != IGNORE_INDEX
