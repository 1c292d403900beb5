"""All rows of a source in one place, training rows first, and how a finding names one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.audit.findings import Finding
from jenga.labels import kind_named
from jenga.labels.base import Question
from jenga.modalities.base import Encoder
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.parse import Rows
from jenga.rows.split import TRAIN

TEXT_LENGTH = 200


@dataclass
class Asked:
    """A question that rows are labelled with, and the head that asks it."""

    task: str
    head: str
    question: Question

    @property
    def name(self) -> str:
        """The head, and its item or number where it has several."""
        own = self.question.name
        return f"{self.task}.{self.head}" + (f" {own}" if own and own != self.head else "")

    def label(self, answer: Any) -> str | None:
        """Return an answer in words; None where it is missing."""
        if not self.question.classes:
            return None if np.isnan(answer) else f"{answer:g}"
        if answer < 0:
            return None
        name = self.question.classes[answer]
        return f"{self.question.name}: {name}" if self.question.name else name


@dataclass
class Pool:
    """The rows of a source. `parts`: the split of each, ``(M,)`` str. `asked`: what they are labelled with.

    `unasked`: heads whose labels are of parts of a row, in words.
    """

    source: Source
    encoder: Encoder
    splits: list[EncodedSplit]
    rows: Rows
    parts: NDArray[Any]
    asked: list[Asked]
    unasked: list[str]

    @classmethod
    def of(cls, source: Source, encoder: Encoder) -> Pool:
        """Return the rows of a source."""
        names = sorted(source.splits, key=lambda name: name != TRAIN)
        splits = [source.splits[name] for name in names if len(source.splits[name].rows)]
        parts = [np.full(len(source.splits[name].rows), name) for name in names if len(source.splits[name].rows)]
        rows = Rows.joined([split.rows for split in splits])
        asked, unasked = [], []
        for (task, head), space in splits[0].spaces.items():
            kind = kind_named(space.kind)
            found = [] if kind.from_text else kind.questions(space, rows.labels[task, head])
            asked += [Asked(task, head, question) for question in found]
            if not found:
                unasked.append(f"{task}.{head}")
        return cls(source, encoder, splits, rows, np.concatenate(parts), asked, unasked)

    @property
    def trains(self) -> NDArray[np.bool_]:
        """Which rows, ``(M,)``, are training rows."""
        return np.asarray(self.parts == TRAIN)

    @property
    def features(self) -> NDArray[Any] | None:
        """What the encoder makes of rows that are one vector each, ``(M, F)``; None of others."""
        found = [split.encoded.features for split in self.splits]
        whole = [each for each in found if each is not None]
        return np.concatenate(whole) if whole and len(whole) == len(found) else None

    def place(self, row: int) -> str:
        """Return where a row stands, for messages."""
        return f"{Path(self.rows.files[row]).name}:{self.rows.numbers[row]}"

    def finding(
        self, kind: str, row: int, reason: str, *, worse: float = 0.0, score: float | None = None,
        asked: Asked | None = None, given: str | None = None, suggested: str | None = None,
    ) -> Finding:  # fmt: skip
        """Return what is wrong with a row."""
        text = self.encoder.shown(self.rows.content, row).text
        return Finding(
            kind, str(self.parts[row]), self.rows.files[row], int(self.rows.numbers[row]), self.rows.ids[row],
            None if asked is None else asked.task, None if asked is None else asked.head, given, suggested,
            None if score is None else round(float(score), 6), reason,
            text if len(text) <= TEXT_LENGTH else f"{text[: TEXT_LENGTH - 1]}…", float(worse),
        )  # fmt: skip


def pools(sources: Sequence[Source], encoders: Any) -> list[Pool]:
    """Return the rows of all sources; encoders: what makes inputs of them, by name."""
    return [Pool.of(source, encoders[source.encoder]) for source in sources]
