"""The tokens of a row's own text, each predicted from those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from jenga.labels.base import LABEL_KINDS, Encoding, LabelKind, Mask, Texts
from jenga.labels.column import HeadColumn
from jenga.labels.metric import Metric
from jenga.labels.shapes import TEXT, Shape, record
from jenga.types import HeadSpace


@LABEL_KINDS.register("text")
class TextTokens(LabelKind):
    """Texts that a language model learns: they stand in no column of labels, and are judged by their loss."""

    metrics = (Metric("perplexity"),)
    hub_task = "text-generation"
    noun = "tokens"
    from_text = True

    def settle(self, column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
        """Return `column`: there are no cells to read."""
        return column, []

    def infer(self, column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> tuple[str, ...]:
        """Return nothing: tokens are the tokenizer's, not labels with names."""
        return ()

    def labelled(self, space: HeadSpace, targets: Any) -> Mask:
        """Return True for each row; targets: anything with M entries."""
        return np.ones(len(targets), bool)

    def reader(self, column: HeadColumn, space: HeadSpace) -> NoReturn:
        """Raise TypeError."""
        raise TypeError(f"{column.where}: the labels are the row's text, and stand in no column")

    def batches(self, targets: Any, encoding: Encoding) -> Callable[[Sequence[int]], torch.Tensor]:
        """Return what gives the tokens to predict, int64 ``(B, T)``."""
        return encoding.next_tokens

    def predict(self, logits: torch.Tensor, threshold: NDArray[np.float64] | float) -> NoReturn:
        """Raise TypeError."""
        raise TypeError("a language head has no logits to read; it generates")

    def decode(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], rows: Texts, *,
        as_words: Sequence[bool], probabilities: bool,
    ) -> NoReturn:  # fmt: skip
        """Raise TypeError."""
        raise TypeError(f"{space.task}.{space.head}: a language head has no logits to read; it generates")

    def shape(self, space: HeadSpace) -> Shape:
        """Return that of what is generated."""
        return record({"text": TEXT})

    def judge(self, space: HeadSpace, predictions: Any, targets: Any) -> NoReturn:
        """Raise TypeError."""
        raise TypeError(f"{space.task}.{space.head}: a language head is judged by its loss")

    def details(self, space: HeadSpace, predictions: Any, targets: Any) -> NoReturn:
        """Raise TypeError."""
        raise TypeError(f"{space.task}.{space.head}: a language head has no predictions to tabulate")

    def majority(self, space: HeadSpace, train: Any, test: Any) -> NoReturn:
        """Raise TypeError."""
        raise TypeError(f"{space.task}.{space.head}: a text has no majority answer")
