"""A student's inner states drawn towards its teacher's: hidden states and attention probabilities, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from jenga.config.distillation import AttentionsConfig, HiddenStatesConfig, TeacherStudentConfig
from jenga.errors import ConfigError
from jenga.types import BackboneOutput, States

Pairs = list[tuple[int, int]]
_SMALLEST = 1e-9


class Shape(NamedTuple):
    """Layers and width H of a model."""

    n_layers: int
    width: int


class Matching(nn.Module):
    """The losses of matched layers. Where the widths differ, the student's states go through a trained projection."""

    def __init__(self, settings: TeacherStudentConfig, student: Shape, teacher: Shape) -> None:
        """Raises ConfigError for a layer that one of the models does not have."""
        super().__init__()
        self.hidden_states, self.attentions = settings.hidden_states, settings.attentions
        kept = None if settings.student is None else settings.student.layers(teacher.n_layers)
        self.hidden_pairs = layer_pairs(self.hidden_states, kept, student, teacher, key="hidden_states")
        self.attention_pairs = layer_pairs(self.attentions, kept, student, teacher, key="attentions")
        n_projections = len(self.hidden_pairs) if student.width != teacher.width else 0
        self.projections = nn.ModuleList(
            nn.Linear(student.width, teacher.width, bias=False) for _ in range(n_projections)
        )

    def forward(self, student: BackboneOutput, teacher: States) -> torch.Tensor:
        """Return the loss ``()``, float32: a mean over the rows of the batch, its factors in it."""
        assert student.states is not None
        mask = student.attention_mask.float()
        total = torch.zeros((), device=mask.device)
        with torch.autocast(mask.device.type, enabled=False):
            if self.hidden_states is not None:
                ours, theirs = _given(student.states.hidden_states), _given(teacher.hidden_states)
                losses = [
                    self._hidden(place, ours[first + 1].float(), theirs[second + 1].float())
                    for place, (first, second) in enumerate(self.hidden_pairs)
                ]
                total = total + self.hidden_states.weight * _mean(losses, mask)
            if self.attentions is not None:
                ours, theirs = _given(student.states.attentions), _given(teacher.attentions)
                losses = [
                    _attention(ours[first].float(), theirs[second].float()) for first, second in self.attention_pairs
                ]
                total = total + self.attentions.weight * _mean(losses, mask)
        return total

    def _hidden(self, place: int, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """Return the loss ``(B, T)`` of one pair of layers."""
        assert self.hidden_states is not None
        if len(self.projections):
            ours = self.projections[place](ours)
        if self.hidden_states.loss == "cosine":
            return 1 - F.cosine_similarity(ours, theirs, dim=-1)
        return (ours - theirs).square().mean(-1)


def _attention(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Return KL(teacher || student) ``(B, T)`` of the attention of each token, a mean over heads."""
    if ours.shape[1] != theirs.shape[1]:
        ours, theirs = ours.mean(1, keepdim=True), theirs.mean(1, keepdim=True)
    ratio = (theirs.clamp_min(_SMALLEST) / ours.clamp_min(_SMALLEST)).log()
    return (theirs * ratio).sum(-1).mean(1)


def _mean(losses: Sequence[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """Return the mean over pairs of layers of ``(B, T)`` losses: over a row's tokens, then over rows."""
    by_row = (torch.stack(list(losses)).mean(0) * mask).sum(1) / mask.sum(1).clamp_min(1)
    return by_row.mean()


def _given(states: Sequence[torch.Tensor] | None) -> Sequence[torch.Tensor]:
    assert states is not None, "the model was asked for these states"
    return states


def layer_pairs(
    settings: HiddenStatesConfig | AttentionsConfig | None,
    kept: Sequence[int] | None,
    student: Shape,
    teacher: Shape,
    *,
    key: str,
) -> Pairs:
    """Return the pairs of layers (student's, teacher's) that `settings` match; [] where they are None.

    kept: the teacher's layers that the student was made of. Raises ConfigError for a layer that is not there.
    """
    if settings is None:
        return []
    last = (student.n_layers - 1, teacher.n_layers - 1)
    if settings.layers == "last":
        return [last]
    if settings.layers == "auto":
        if kept is None:
            step = teacher.n_layers / student.n_layers
            kept = [round((layer + 1) * step) - 1 for layer in range(student.n_layers)]
        # A model's last states may be normalised, as no others are: only with each other are they alike.
        return [*zip(range(student.n_layers - 1), kept[:-1], strict=True), last]
    for pair in settings.layers:
        for layer, (who, shape) in zip(pair, (("student", student), ("teacher", teacher)), strict=True):
            if layer >= shape.n_layers:
                raise ConfigError(
                    f"model.teacher_student_config.{key}.layers: the {who} has no layer {layer}, but {shape.n_layers} "
                    f"(0 to {shape.n_layers - 1}), in pair {list(pair)}"
                )
    return list(settings.layers)
