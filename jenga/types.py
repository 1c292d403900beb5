"""What flows from data to trainer, and the letters for its dimensions.

B batch rows, T tokens, H hidden width, F features, K classes or items of a head, M rows given to a loss, W words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from jenga.errors import ConfigError

if TYPE_CHECKING:
    import torch

IGNORE_INDEX = -100
"""Class id of a missing label; a missing item or number is NaN."""
SHARED = "shared"
"""The name of the encoder where there is one for all tasks."""


PART, PLACE = "/", "place"
"""Of rows with several inputs, a batch has those of each part as ``part/name``, and where in them a row stands: int64
``part/place (B,)``, -1 where it lacks that part."""


@dataclass(frozen=True)
class HeadSpace:
    """The labels of one head, fixed by the configuration and the training rows, saved with the model.

    `kind`: the name of a kind of `jenga.labels`.
    `labels` has `size` entries: class names, item names, BIO tags (``O`` first), or target names for numbers.
    """

    task: str
    head: str
    kind: str
    size: int
    labels: tuple[str, ...]


@dataclass
class Batch:
    """Rows of one source, ready for the model.

    `inputs`: what the backbone's ``forward`` takes, by its parameters, such as ``input_ids (B, T)`` and
    ``attention_mask (B, T)`` of texts, or float32 ``features (B, F)`` of events.
    `labels`: by task and head; int64 ``(B,)`` classes, int64 ``(B, T)`` tags, int64 ``(B, T)`` next tokens (all -100
    where missing), float32 ``(B, K)`` items or numbers (NaN where missing). `teacher`: by task and head, what a teacher
    says of these rows (see `jenga.tasks.distillation`); `states`: what is inside it meanwhile. `idle`: rows that
    another process has, which this one runs to keep in step with it, and learns nothing of.
    """

    inputs: dict[str, torch.Tensor]
    labels: dict[str, dict[str, torch.Tensor]]
    sample_ids: list[str]
    source: str = ""
    rows: list[int] = field(default_factory=list)
    teacher: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: States | None = None
    idle: bool = False

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on `device` (itself when it is there already)."""
        if all(tensor.device == device for tensor in self.inputs.values()):
            return self
        return replace(
            self,
            inputs={name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()},
            labels={
                task: {head: tensor.to(device, non_blocking=True) for head, tensor in heads.items()}
                for task, heads in self.labels.items()
            },
            teacher={
                task: {head: said.to(device) for head, said in heads.items()} for task, heads in self.teacher.items()
            },
        )


class States(NamedTuple):
    """What a model has inside, as transformers gives it.

    `hidden_states`: ``(B, T, H)`` of the embeddings and of each layer.
    `attentions`: ``(B, heads, T, T)`` of each layer.
    """

    hidden_states: Sequence[torch.Tensor] | None
    attentions: Sequence[torch.Tensor] | None


@dataclass
class BackboneOutput:
    """What every backbone returns.

    ``last_hidden_state (B, T, H)``, ``pooler_output (B, H)`` and ``attention_mask (B, T)``, with T of the output: a
    backbone that shortens its input gives the mask of what it made. `features` ``(B, F)``: what the encoder read, where
    that is one vector a row; a head may reconstruct it. `given` ``(B, F)``: the same as it came, where the encoder
    draws it together. `states`: what every layer made, where a teacher's are to be matched. `members` ``(B, k, H)``:
    what each of an ensemble says, of which `pooler_output` is the mean; each learns by itself.

    Raises ConfigError for a mask of another shape.
    """

    last_hidden_state: torch.Tensor
    pooler_output: torch.Tensor
    attention_mask: torch.Tensor
    features: torch.Tensor | None = None
    states: States | None = None
    members: torch.Tensor | None = None
    given: torch.Tensor | None = None

    def __post_init__(self) -> None:
        expected, found = tuple(self.last_hidden_state.shape[:2]), tuple(self.attention_mask.shape)
        if found != expected:
            raise ConfigError(
                f"model.backbone_type: the backbone's last_hidden_state has the shape "
                f"{tuple(self.last_hidden_state.shape)}, but its attention_mask, or else that of its inputs, {found}; "
                f"a backbone that changes the rows or the length returns an attention_mask of its output: {expected}"
            )

    @classmethod
    def of(cls, output: BackboneOutput | Mapping[str, Any], inputs: Mapping[str, torch.Tensor]) -> BackboneOutput:
        """Normalise a backbone's output; a mapping without a mask takes that of `inputs`, else all ones.

        Raises ConfigError for a mask of another shape than ``(B, T)`` of the output.
        """
        if isinstance(output, BackboneOutput):
            return output
        hidden = output["last_hidden_state"]
        mask = output.get("attention_mask")
        if mask is None:
            mask = inputs.get("attention_mask")
        if mask is None:
            mask = hidden.new_ones(hidden.shape[:2], dtype=hidden.dtype).long()
        return cls(hidden, output["pooler_output"], mask, output.get("features"))


@dataclass
class TaskOutput:
    """What a task returns.

    `loss`: scalar, or None without labels. `logits`: by head, ``(B, K)`` or ``(B, T, K)``; in training without a
    gradient, or empty where a loss never makes them. `loss_sum` and `count`: ``(N,)`` over the task's N heads in
    order; None for a task that computes its own loss. `teacher_loss`: what a teacher adds, a mean over the rows of the
    batch with its factors in it; the loss of the labels counts `label_share` beside it, ``(N,)`` by head.
    """

    loss: torch.Tensor | None
    logits: dict[str, torch.Tensor]
    loss_sum: torch.Tensor | None = None
    count: torch.Tensor | None = None
    teacher_loss: torch.Tensor | None = None
    label_share: torch.Tensor | float = 1.0

    def detached(self) -> TaskOutput:
        """Return what a callback sees of it: the same numbers without gradients."""
        loss, loss_sum, taught = (
            None if each is None else each.detach() for each in (self.loss, self.loss_sum, self.teacher_loss)
        )
        logits = {head: each.detach() for head, each in self.logits.items()}
        return replace(self, loss=loss, logits=logits, loss_sum=loss_sum, teacher_loss=taught)
