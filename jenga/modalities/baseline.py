"""What a baseline is: a simple model that a run is compared with, fitted on the same rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from jenga.labels.judge import labelled_rows
from jenga.rows.batches import EncodedSplit
from jenga.types import HeadSpace


class Baseline(ABC):
    """Answers of a simple model for the rows of one split, fitted on the training rows of its source.

    `words`: what it is called in sentences.
    """

    words: ClassVar[str]

    def __init__(self, train: EncodedSplit, test: EncodedSplit) -> None:
        self.train, self.test = train, test

    def metrics(self, space: HeadSpace, *, normal: int | None = None) -> dict[str, float]:
        """Return the metrics of one head on the test rows; {} where either part has no label, or no such baseline.

        normal: the class that all others are told from, where there is one. The same rows give the same numbers.
        """
        key = space.task, space.head
        parts = (self.train.rows, self.test.rows)
        if not all(labelled_rows(space, part.labels[key]) for part in parts):
            return {}
        return self._metrics(space, normal)

    @abstractmethod
    def _metrics(self, space: HeadSpace, normal: int | None) -> dict[str, float]:
        """Return the metrics of a head that has labels in both parts."""
