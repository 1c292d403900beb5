"""What a model must beat: the majority answer, and whatever simple models its modality has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jenga.labels import kind_named
from jenga.labels.judge import head_metrics
from jenga.modalities import MODALITIES
from jenga.modalities.baseline import Baseline
from jenga.types import HeadSpace


class Majority(Baseline):
    """What is most frequent in the training rows, as the kind of label has it."""

    words = "the majority answer"

    def _metrics(self, space: HeadSpace, normal: int | None) -> dict[str, float]:
        key = space.task, space.head
        targets = self.test.rows.labels[key]
        answers = kind_named(space.kind).majority(space, self.train.rows.labels[key], targets)
        return head_metrics(space, answers, targets)


MAJORITY: Final = "majority"


def baselines() -> Mapping[str, type[Baseline]]:
    """Return every baseline by its name in a configuration."""
    return {MAJORITY: Majority} | {
        name: each for modality in MODALITIES.values() for name, each in modality.baselines.items()
    }
