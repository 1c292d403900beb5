"""Sound event detection: what sounds from when to when, several at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from jenga.config.tasks import Columns, TaskConfig
from jenga.labels.sound_events import SoundEventHead, events_of
from jenga.modalities import BaseBackbone
from jenga.tasks.base import TASK_REGISTRY, BaseTask, Labels
from jenga.tasks.frames import check_frames, own_frames
from jenga.types import BackboneOutput, TaskOutput


class SoundEventColumns(Columns):
    """Columns of a task that says what sounds when."""

    events: str | None = Field(None, description="List of {start, end, label}, in seconds. Default: events.")


class SoundEventsConfig(TaskConfig):
    """What sounds from when to when."""

    columns: SoundEventColumns = Field(
        default_factory=SoundEventColumns, description="Where column names are not the default."
    )
    max_length: ClassVar[None] = None  # type: ignore[misc]  # no key of this task: no text is read
    heads: list[SoundEventHead] = Field(
        default_factory=lambda: [SoundEventHead(name="events")], min_length=1, max_length=1
    )


@TASK_REGISTRY.register("sound_event_detection", config=SoundEventsConfig)
class SoundEventDetectionTask(BaseTask):
    """Yes or no of each kind of sound in each frame. Labels are events as `SoundEvents.batches` lays them.

    The loss of a row is the mean over its own frames and the K kinds, so that each labelled row counts alike.
    """

    label_kind = "sound_events"
    reads = "frames"

    def attach(self, backbone: BaseBackbone) -> None:
        """Learn how long a frame of `backbone` is. Raises ConfigError where its positions are no moments."""
        self.frame_seconds = check_frames(self.config, backbone)

    def get_forward_output(self, encoder_outputs: BackboneOutput, labels: Labels | None = None) -> TaskOutput:
        """Return logits ``(B, T, K)``, NaN outside of a row's own frames, and the loss where `labels` are given."""
        logits = self.heads(self.dropout(encoder_outputs.last_hidden_state))
        ((name, scores),) = logits.items()
        kept = {} if self.training and labels is not None else {name: own_frames(scores, encoder_outputs)}
        if labels is None:
            return TaskOutput(None, kept)
        events = labels if isinstance(labels, torch.Tensor) else labels[name]
        targets = on_frames(events, scores.shape[1], scores.shape[2], frame_seconds=self.frame_seconds)
        weight: torch.Tensor | None = getattr(self, "pos_weight_0")  # noqa: B009 -- a buffer, which may be None
        losses = F.binary_cross_entropy_with_logits(scores.float(), targets, pos_weight=weight, reduction="none")
        own = encoder_outputs.attention_mask.float()
        by_row = (losses.mean(-1) * own).sum(1) / own.sum(1).clamp_min(1)
        is_labelled = _labelled(events)
        loss_sum = by_row.where(is_labelled, 0.0).sum().reshape(1)
        count = is_labelled.sum().float().reshape(1)
        return TaskOutput((loss_sum / count.clamp_min(1)).squeeze(0), kept, loss_sum, count)

    def predict(self, head: str, logits: torch.Tensor, threshold: np.ndarray | float = 0.5) -> np.ndarray:
        """Return the events of a row as `events_of` does, by the settings of its head."""
        settings = self._head_config(head)
        return events_of(
            logits, threshold=settings.threshold, frame_seconds=self.frame_seconds, min_seconds=settings.min_seconds
        )

    def count_labels(self, labels: Mapping[str, torch.Tensor]) -> Sequence[int]:
        """Return how many rows of a batch are labelled."""
        return [int(_labelled(events).sum()) for events in labels.values()]


def _labelled(events: torch.Tensor) -> torch.Tensor:
    """Return which rows of ``(B, E, 3)`` are labelled, bool ``(B,)``."""
    return ~events[:, 0, 0].isnan()


def on_frames(events: torch.Tensor, n_frames: int, n_labels: int, *, frame_seconds: float) -> torch.Tensor:
    """Return which labels sound in which frames, float32 ``(B, T, K)``, by events ``(B, E, 3)``.

    An event takes the frames between those nearest to its start and its end, and one at least.
    """
    at = torch.arange(n_frames, device=events.device)
    first = (events[..., 0:1] / frame_seconds).round()
    last = torch.maximum((events[..., 1:2] / frame_seconds).round(), first + 1)
    covered = (at >= first) & (at < last)
    of_label = events[..., 2:3] == torch.arange(n_labels, device=events.device)
    return (covered.unsqueeze(-1) & of_label.unsqueeze(-2)).any(1).float()
