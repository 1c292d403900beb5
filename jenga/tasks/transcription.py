"""Transcription: the characters of what is said, learnt without their times (CTC, Graves et al. 2006)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F

from jenga.config.tasks import Columns, TaskConfig
from jenga.labels.transcripts import SPACE, TranscriptHead
from jenga.modalities import BaseBackbone
from jenga.tasks.base import TASK_REGISTRY, BaseTask, Labels
from jenga.tasks.frames import check_frames, own_frames
from jenga.tasks.heads import HeadBank
from jenga.types import IGNORE_INDEX, BackboneOutput, TaskOutput

BLANK = 0


class TranscriptColumns(Columns):
    """Columns of a task that writes what is said."""

    transcript: str | None = Field(None, description="What is said. Default: transcript, text or sentence.")


class TranscriptionConfig(TaskConfig):
    """What is said, in characters."""

    columns: TranscriptColumns = Field(
        default_factory=TranscriptColumns, description="Where column names are not the default."
    )
    max_length: ClassVar[None] = None  # type: ignore[misc]  # no key of this task: no text is read
    heads: list[TranscriptHead] = Field(
        default_factory=lambda: [TranscriptHead(name="transcript")], min_length=1, max_length=1
    )


@TASK_REGISTRY.register("transcription", config=TranscriptionConfig)
class TranscriptionTask(BaseTask):
    """A class for each frame: no character, or one of the K of the alphabet; ``K + 1`` logits, the blank's first.

    Labels are characters, int64 ``(B, L)``, -100 behind the shorter ones. The loss is nats a character.
    """

    label_kind = "transcript"
    reads = "frames"

    def make_heads(self, config: Any, hidden_size: int) -> HeadBank:
        """Return a head with one logit more than the alphabet has characters."""
        return HeadBank({head.name: head.num_labels + 1 for head in config.heads}, hidden_size)

    def attach(self, backbone: BaseBackbone) -> None:
        """Start from what the checkpoint of `backbone` hears characters by, of those that it knows in either case.

        Raises ConfigError where its positions are no moments.
        """
        check_frames(self.config, backbone)
        known = backbone.character_layer
        (head,) = self.config.heads
        with torch.no_grad():
            for place, label in enumerate(("", *head.labels)):
                name = label.replace(SPACE, " ")
                row = next((known[each] for each in (name, name.upper(), name.lower()) if each in known), None)
                if row is not None:
                    self.heads.weight[place], self.heads.bias[place] = row

    def get_forward_output(self, encoder_outputs: BackboneOutput, labels: Labels | None = None) -> TaskOutput:
        """Return logits ``(B, T, K + 1)``, NaN outside of a row's own frames, and the loss where `labels` are given.

        Rows without a character, and those with more of them than their frames have room for, do not count.
        """
        logits = self.heads(self.dropout(encoder_outputs.last_hidden_state))
        ((name, scores),) = logits.items()
        kept = {} if self.training and labels is not None else {name: own_frames(scores, encoder_outputs)}
        if labels is None:
            return TaskOutput(None, kept)
        targets = labels if isinstance(labels, torch.Tensor) else labels[name]
        known = targets != IGNORE_INDEX
        length, frames = known.sum(1), encoder_outputs.attention_mask.sum(1)
        # Two characters that are alike have a blank between them; what has no room for that has no alignment.
        needed = length + ((targets[:, 1:] == targets[:, :-1]) & known[:, 1:]).sum(1)
        counted = (length > 0) & (needed <= frames)
        with torch.autocast(scores.device.type, enabled=False):
            shares = scores.float().log_softmax(-1).transpose(0, 1)
            # A GPU adds these gradients up in any order, which `training.deterministic` refuses.
            there = torch.device("cpu") if torch.are_deterministic_algorithms_enabled() else shares.device
            losses = F.ctc_loss(
                shares.to(there), (targets[known] + 1).to(there), frames.to(there), length.to(there),
                blank=BLANK, reduction="none", zero_infinity=True,
            ).to(scores.device)  # fmt: skip
        loss_sum = losses.where(counted, 0.0).sum().reshape(1)
        count = (length * counted).sum().float().reshape(1)
        return TaskOutput((loss_sum / count.clamp_min(1)).squeeze(0), kept, loss_sum, count)
