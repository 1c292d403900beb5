"""What is said in a recording, as characters: a list of int64 ``(L,)``, empty for a row without a transcript."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from jenga.config.tasks import HeadConfig
from jenga.labels.base import (
    LABEL_KINDS,
    Answers,
    CellReader,
    Encoding,
    Errors,
    LabelKind,
    Mask,
    Moments,
    Reader,
    Texts,
)
from jenga.labels.certain import Additive, Floats, ratio
from jenga.labels.column import HeadColumn, RowError, encodable, show, some_of
from jenga.labels.edits import edits
from jenga.labels.forms import with_missing
from jenga.labels.metric import Metric
from jenga.labels.shapes import TEXT, Shape, record
from jenga.labels.unseen import is_unseen, may_be_unseen
from jenga.types import IGNORE_INDEX, HeadSpace

SPACE = "␣"
"""How an alphabet writes the blank between words."""
_FIRST_UNSEEN = -1000
"""Code of a character that no training row has: this, less its code point, so that its text is known."""

Codes = NDArray[np.int64]


class TranscriptHead(HeadConfig):
    """Characters; `labels` is the alphabet, ``␣`` in it the blank between words."""

    lowercase: bool = Field(False, description="Read transcripts in lower case.")
    missing_values: list[str] | None = Field(
        None, description="Words for a row without a transcript, case aside. Default: blank alone."
    )

    @model_validator(mode="after")
    def _is_an_alphabet(self) -> TranscriptHead:
        if self.num_labels is not None and self.labels is None:
            raise ValueError("num_labels: the alphabet of the training rows says how many; remove it, or give labels")
        wrong = [label for label in self.labels or () if len(unicodedata.normalize("NFC", label)) != 1]
        if wrong:
            raise ValueError(f"labels: '{wrong[0]}' is no single character; {SPACE} stands for the blank between words")
        return self


@LABEL_KINDS.register("transcript")
class Transcripts(LabelKind):
    """The characters of what is said, without saying when; NFC, with one blank between words."""

    block = TranscriptHead
    metrics = (Metric("wer"), Metric("cer"))
    hub_task = "automatic-speech-recognition"
    noun = "characters"

    def columns(self, head: str) -> tuple[str, ...]:
        """Return the columns in which corpora of speech keep what is said."""
        return ("transcript", "text", "sentence")

    def settle(self, column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
        """Take blank cells for missing alone: "no" and "none" are said."""
        return replace(column, cells=with_missing(column, ())), []

    def infer(self, column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> tuple[str, ...]:
        """Return the characters of the transcripts, sorted."""
        if column.labels is not None:
            return tuple(unicodedata.normalize("NFC", label) for label in column.labels)
        found: set[str] = set()
        for value in values:
            try:
                found.update(_text(value, column))
            except RowError:
                continue
        return tuple(each.replace(" ", SPACE) for each in sorted(found))

    def names(self, space: HeadSpace) -> Sequence[str]:
        """Return nothing: a character is known by itself, and one that differs in case is another."""
        return ()

    def reader(self, column: HeadColumn, space: HeadSpace) -> Reader:
        """Return what reads transcripts."""
        return TranscriptReader(column, space)

    def labelled(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows have a transcript."""
        return np.array([len(row) > 0 for row in targets], dtype=bool)

    def known(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows have a character that training rows have."""
        return np.array([bool((row >= 0).any()) for row in targets], dtype=bool)

    def fitting(self, targets: Any, moments: Moments) -> tuple[Any, Mapping[str, Mask]]:
        """Empty the transcripts that have more characters than a row has frames; two that are alike need one between.

        Such a row has no alignment, and an infinite loss. Of a recording that is cut a part is said that is not heard.
        """
        too_long = np.array([least_frames(row) for row in targets], np.int64) > moments.counts
        cut = moments.truncated & ~too_long & np.array([len(row) > 0 for row in targets], bool)
        kept = [row[:0] if is_unfit else row for row, is_unfit in zip(targets, too_long | cut, strict=True)]
        return kept, {
            "have more characters than the encoder makes frames of their clips": too_long,
            "are longer than what is read of a recording, and their transcripts are of all of it": cut,
        }

    def batches(self, targets: Any, encoding: Encoding) -> Callable[[Sequence[int]], torch.Tensor]:
        """Return what gives int64 ``(B, L)``, -100 behind the shorter ones; characters that cannot be learnt left out.

        These are those that no training row has.
        """
        learnable = [torch.from_numpy(row[~is_unseen(row)]) for row in targets]

        def padded(index: Sequence[int]) -> torch.Tensor:
            rows = [learnable[row] for row in index]
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORE_INDEX)

        return padded

    def predict(self, logits: torch.Tensor, threshold: NDArray[np.float64] | float) -> Codes:
        """Return the likeliest characters, int64 ``(L,)``, of a row's logits ``(T, K + 1)``, NaN where it has no frame.

        Class 0 is the blank of CTC; the likeliest path is read, its repetitions once (Graves et al. 2006, section 3.2).
        """
        path = logits[~logits.isnan().any(-1)].argmax(-1)
        characters: Codes = torch.unique_consecutive(path).numpy()
        return characters[characters > 0] - 1

    def decode(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], rows: Texts, *,
        as_words: Sequence[bool], probabilities: bool,
    ) -> Answers:  # fmt: skip
        """Return the ``text`` of each row."""
        return [{"text": text_of(row, space)} for row in predictions]

    def shape(self, space: HeadSpace) -> Shape:
        """Return that of an answer."""
        return record({"text": TEXT})

    def additive(self, space: HeadSpace, predictions: Any, targets: Any) -> Additive:
        """Return what `judge` does, by the edits of each row."""
        return Additive.of_rows(_edit_counts(space, predictions, targets), _of_sums)

    def judge(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
        """Return the errors of all rows as a share of the words, and of the characters, that were said."""
        shares = _of_sums(_edit_counts(space, predictions, targets).sum(0, keepdims=True))
        return {name: float(share[0]) for name, share in shares.items()}

    def details(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
        """Return ``warnings``."""
        found = _judged(space, predictions, targets)
        silent = sum(not written for *_, written in found)
        return {"warnings": [f"hears nothing in {silent} of {len(found)} rows"] if silent else []}

    def errors(self, space: HeadSpace, predictions: Any, targets: Any, logits: Sequence[torch.Tensor]) -> Errors:
        """Return the wrong characters of each row as a share of those that were said."""
        sizes = np.zeros(len(targets))
        for row, said, written in _judged(space, predictions, targets):
            sizes[row] = edits(said, written) / len(said)
        return Errors("cer", sizes)

    def written(self, space: HeadSpace, labels: Any, rows: Texts) -> list[str]:
        """Return the transcripts."""
        return [text_of(row, space).strip() for row in labels]

    def majority(self, space: HeadSpace, train: Any, test: Any) -> list[Codes]:
        """Return the most frequent transcript for each row; nothing where no two are alike."""
        counts = Counter(row.tobytes() for row in train if len(row))
        ((most, times),) = counts.most_common(1)
        answer = np.frombuffer(most, np.int64) if times > 1 else np.empty(0, np.int64)
        return [answer for _ in test]


def least_frames(characters: Codes) -> int:
    """Return how many frames an alignment of `characters` has at least."""
    return len(characters) + int((characters[1:] == characters[:-1]).sum())


def text_of(characters: Codes, space: HeadSpace) -> str:
    """Return what codes stand for."""
    written = (space.labels[code] if code >= 0 else chr(_FIRST_UNSEEN - code) for code in characters.tolist())
    return "".join(written).replace(SPACE, " ")


def _judged(space: HeadSpace, predictions: Any, targets: Any) -> list[tuple[int, str, str]]:
    """Return the place of each row that has a transcript, what is said in it, and what was written."""
    return [
        (at, text_of(said, space), text_of(written, space).strip())
        for at, (said, written) in enumerate(zip(targets, predictions, strict=True))
        if len(said)
    ]


def _edit_counts(space: HeadSpace, predictions: Any, targets: Any) -> Floats:
    """Return of each row with a transcript ``(M, 4)``: wrong words, words, wrong characters, characters."""
    counts = [
        (edits(said.split(), written.split()), len(said.split()), edits(said, written), len(said))
        for _, said, written in _judged(space, predictions, targets)
    ]
    return np.array(counts, np.float64).reshape(-1, 4)


def _of_sums(sums: Floats) -> dict[str, Floats]:
    wrong_words, words, wrong_characters, characters = sums.T
    return {"wer": ratio(wrong_words, words), "cer": ratio(wrong_characters, characters)}


def _text(value: Any, column: HeadColumn) -> str:
    """Return the transcript in a cell, with one blank between words. Raises RowError."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RowError(f"{column.where}: {show(value)} is no transcript; allowed: text")
    text = encodable(value, column.where)
    text = unicodedata.normalize("NFC", text.lower() if column.cells.lowercase else text)
    return " ".join(text.replace(SPACE, " ").split())


class TranscriptReader(CellReader):
    """A transcript: int64 ``(L,)``, the place of each character in the alphabet; below -1000 where it has none."""

    missing = np.empty(0, np.int64)

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        super().__init__()
        self.where, self.cells, self.column = column.where, column.cells, column
        self.index = {label.replace(SPACE, " "): place for place, label in enumerate(space.labels)}
        self.may_be_unseen = may_be_unseen(column)

    def encode(self, value: Any) -> Codes:
        """Return int64 ``(L,)``; raises RowError."""
        text = _text(value, self.column)
        foreign = dict.fromkeys(each for each in text if each not in self.index)
        if foreign and not self.may_be_unseen:
            known = some_of(each.replace(" ", SPACE) for each in self.index)
            raise RowError(f"{self.where}: {show(next(iter(foreign)))} is not in the alphabet ({known})")
        self.unseen.update(show(each) for each in text if each in foreign)
        return np.array([self.index.get(each, _FIRST_UNSEEN - ord(each)) for each in text], np.int64)

    def stack(self, codes: Sequence[Codes]) -> Any:
        """Return the characters of each row."""
        return list(codes)
