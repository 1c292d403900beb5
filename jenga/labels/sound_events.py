"""What sounds from when to when: a list of float64 ``(E, 3)``: second of the start, of the end, and class.

A row without a label has one event, all NaN; one in which nothing sounds has none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from jenga.config.strict import Fraction, PositiveFloat
from jenga.config.tasks import HeadConfig
from jenga.errors import DataError, suggest
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
from jenga.labels.cells import MISSING
from jenga.labels.column import HeadColumn, RowError, near, read_cell, show, some_of
from jenga.labels.event_scores import COLLAR_S, Counts, f1, onset_counts, segment_counts
from jenga.labels.forms import readable, with_missing
from jenga.labels.metric import Metric
from jenga.labels.shapes import NUMBER, SHARE, Shape, list_of, one_of, record
from jenga.labels.spaces import sized
from jenga.labels.tables import per_label, rounded
from jenga.labels.unseen import is_unseen, may_be_unseen, unseen_code
from jenga.types import HeadSpace

NOTHING = -1.0
"""The class of an event in a batch that says that a row is labelled, and nothing more."""
_STARTS, _ENDS = ("start", "onset", "begin"), ("end", "offset")
_LABELS = ("label", "event_label", "class")
_MISSING = np.full((1, 3), np.nan)

Events = NDArray[np.float64]


class SoundEventHead(HeadConfig):
    """Kinds of sounds, any of which may sound at once."""

    threshold: Fraction = Field(0.5, description="Probability from which a frame belongs to an event.")
    min_seconds: float = Field(
        0.1, ge=0, le=60, description="Gaps shorter than this are closed, and events shorter than this left out."
    )
    pos_weight: list[PositiveFloat] | None = Field(
        None, description="Factor of the loss of each label's frames in which it sounds."
    )


@LABEL_KINDS.register("sound_events")
class SoundEvents(LabelKind):
    """Events in time, of K kinds."""

    block = SoundEventHead
    metrics = (Metric("segment_f1", greater_is_better=True), Metric("onset_f1", greater_is_better=True))
    noun = "kinds of sounds"

    def columns(self, head: str) -> tuple[str, ...]:
        """Return the column of events."""
        return ("events",)

    def settle(self, column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
        """Take the usual words for a missing label."""
        return replace(column, cells=with_missing(column, MISSING)), []

    def infer(self, column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> tuple[str, ...]:
        """Return the labels of the events, sorted."""
        if column.labels is not None:
            return column.labels
        lists = [cell for cell in readable(values) if isinstance(cell, list)]
        events = [_event(each) for cell in lists for each in cell]
        names = tuple(sorted({event.label for event in events if event is not None}))
        if lists and not events:
            raise DataError(
                f"{column.where}: no training row has an event: its lists are empty. Give rows in which something "
                "sounds, or name what may in `labels` of the head"
            )
        return sized(column, names) if names else ()

    def reader(self, column: HeadColumn, space: HeadSpace) -> Reader:
        """Return what reads lists of events."""
        return SoundEventReader(column, space)

    def labelled(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows say what sounds, be it nothing."""
        return np.array([not np.isnan(row).any() for row in targets], dtype=bool)

    def known(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows say that nothing sounds, or what training rows have."""
        return np.array([not len(row) or bool((row[:, 2] >= 0).any()) for row in targets], dtype=bool)

    def counts(self, space: HeadSpace, targets: Any) -> NDArray[np.int64]:
        """Return the events of each label."""
        codes = np.concatenate([np.empty(0), *(row[:, 2] for row in targets)])
        return np.bincount(codes[codes >= 0].astype(np.int64), minlength=space.size)

    def fitting(self, targets: Any, moments: Moments) -> tuple[Any, Mapping[str, Mask]]:
        """Take the label of rows with an event that ends behind their clip, by more than onsets may be wrong by.

        Of a recording that is cut, events behind the cut are not heard, and the others are learnt.
        """
        ends = np.array([row[:, 1].max(initial=0.0) for row in targets])
        outside = ~moments.truncated & (ends > moments.counts * moments.seconds + COLLAR_S)
        kept = [_MISSING if is_outside else row for row, is_outside in zip(targets, outside, strict=True)]
        return kept, {"have an event that ends behind their clips": outside}

    def batches(self, targets: Any, encoding: Encoding) -> Callable[[Sequence[int]], torch.Tensor]:
        """Return what gives float32 ``(B, E, 3)``, NaN behind the fewer ones; a labelled row begins with `NOTHING`.

        Events that no training row has are left out.
        """
        nothing = np.array([[0.0, 0.0, NOTHING]])
        rows = [
            row if np.isnan(row).any() else np.concatenate([nothing, row[~is_unseen(row[:, 2])]]) for row in targets
        ]
        learnable = [torch.from_numpy(row.astype(np.float32)) for row in rows]

        def padded(index: Sequence[int]) -> torch.Tensor:
            return torch.nn.utils.rnn.pad_sequence(
                [learnable[row] for row in index], batch_first=True, padding_value=math.nan
            )

        return padded

    def predict(self, logits: torch.Tensor, threshold: NDArray[np.float64] | float) -> Events:
        """Return events as `events_of` does, in frames, none of them too short."""
        return events_of(logits, threshold=float(threshold), frame_seconds=1.0, min_seconds=0.0)

    def conditions(self, space: HeadSpace) -> frozenset[str]:
        """Return that rules may ask for labels and how probable they are."""
        return frozenset({"label", "probability"})

    def decode(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], rows: Texts, *,
        as_words: Sequence[bool], probabilities: bool,
    ) -> Answers:  # fmt: skip
        """Return ``events`` of each row, in order; the probability is the mean over an event's frames."""
        return [
            {
                "events": [
                    {"start": rounded(start), "end": rounded(end), "label": space.labels[int(code)],
                     "probability": rounded(share)}
                    for start, end, code, share in row.tolist()
                ]
            }
            for row in predictions
        ]  # fmt: skip

    def shape(self, space: HeadSpace) -> Shape:
        """Return that of an answer."""
        event = {"start": NUMBER, "end": NUMBER, "label": one_of(space.labels), "probability": SHARE}
        return record({"events": list_of(record(event))})

    def judge(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
        """Return the F1 of segments of a second, and that of onsets, over all labels (micro averages).

        Both are undefined where no event is wanted and none was found.
        """
        segments, onsets = self._counts(space, predictions, targets)
        found = {"segment_f1": f1(segments), "onset_f1": f1(onsets)}
        return {name: value for name, value in found.items() if value is not None}

    def details(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
        """Return ``per_label``, by segments, with the F1 of onsets, and ``warnings``."""
        segments, onsets = self._counts(space, predictions, targets)
        hits, alarms, misses = (np.array([part[code] for code in range(space.size)]) for part in segments)
        table = per_label(space.labels, hits, alarms, misses)
        for code, row in enumerate(table):
            row["onset_f1"] = f1([Counter({code: part[code]}) for part in onsets])
        unseen = sum(is_unseen(row[:, 2]).sum() for row in targets)
        warnings = [f"{unseen} events are of labels that no training row has, and count as missed"] if unseen else []
        if any(hits + misses) and not any(hits + alarms):
            warnings.append("predicts no event")
        return {"per_label": table, "warnings": warnings}

    def errors(self, space: HeadSpace, predictions: Any, targets: Any, logits: Sequence[torch.Tensor]) -> Errors:
        """Return how many segments of each row have a sound missed, or one found that is not there."""
        sizes = np.zeros(len(targets))
        for row, (gold, found) in enumerate(zip(targets, predictions, strict=True)):
            if not np.isnan(gold).any():
                _, alarms, misses = segment_counts([(gold, found)])
                sizes[row] = alarms.total() + misses.total()
        return Errors("wrong segments", sizes)

    def written(self, space: HeadSpace, labels: Any, rows: Texts) -> list[str]:
        """Return what sounds from when to when, in seconds; "-" where nothing does."""
        return [
            "; ".join(
                f"{space.labels[int(code)] if code >= 0 else '(a sound of no training row)'} {start:.2f} to {end:.2f} s"
                for start, end, code in row[:, :3].tolist()
            )
            or "-"
            for row in labels
        ]

    def _counts(self, space: HeadSpace, predictions: Any, targets: Any) -> tuple[Counts, Counts]:
        known = self.labelled(space, targets)
        pairs = [(gold, found) for gold, found, is_known in zip(targets, predictions, known, strict=True) if is_known]
        return segment_counts(pairs), onset_counts(pairs)

    def majority(self, space: HeadSpace, train: Any, test: Any) -> list[Events]:
        """Return that nothing sounds."""
        return [np.empty((0, 4)) for _ in test]


def events_of(logits: torch.Tensor, *, threshold: float, frame_seconds: float, min_seconds: float) -> Events:
    """Return the events in the logits of a row's frames ``(T, K)``, NaN where it has none, in the order of their start.

    float64 ``(E, 4)``: second of the start and of the end, class, and the mean probability in between.
    """
    shares = logits[~logits.isnan().any(-1)].double().sigmoid().numpy()
    least = round(min_seconds / frame_seconds)
    found = []
    for code in range(shares.shape[1]):
        sounds = shares[:, code] >= threshold
        turns = np.flatnonzero(np.diff(np.concatenate([[False], sounds, [False]]).astype(np.int8)))
        starts, ends = turns[::2], turns[1::2]
        apart = np.flatnonzero(starts[1:] - ends[:-1] >= max(least, 1))
        starts, ends = starts[[0, *(apart + 1)]] if len(starts) else starts, ends[[*apart, -1]] if len(ends) else ends
        found += [
            (start * frame_seconds, end * frame_seconds, code, shares[start:end, code].mean())
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
            if end - start >= least
        ]
    return np.array(sorted(found), np.float64).reshape(-1, 4)


class Event(NamedTuple):
    """An event as a cell names it, in seconds."""

    start: float
    end: float
    label: str


def _event(value: Any) -> Event | None:
    """Return the event that a part of a cell is, None where it is none."""
    if isinstance(value, Mapping):
        fields = [next((value[name] for name in names if name in value), None) for names in (_STARTS, _ENDS, _LABELS)]
    elif isinstance(value, (list, tuple)) and len(value) == 3:
        fields = list(value)
    else:
        return None
    start, end, label = fields
    if isinstance(start, bool) or isinstance(end, bool) or not isinstance(label, str) or not label.strip():
        return None
    if not isinstance(start, (int, float)) or not isinstance(end, (int, float)):
        return None
    return Event(float(start), float(end), label.strip())


class SoundEventReader(CellReader):
    """Events of a row: float64 ``(E, 3)``."""

    missing = _MISSING

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        super().__init__()
        self.where, self.cells = column.where, column.cells
        self.index = {label: code for code, label in enumerate(space.labels)}
        self.may_be_unseen = may_be_unseen(column)

    def encode(self, value: Any) -> Events:
        """Return float64 ``(E, 3)``; raises RowError."""
        value = read_cell(value, self.where)
        if not isinstance(value, list):
            raise RowError(f"{self.where}: {show(value)} is no list; allowed: a list of {{start, end, label}}")
        return np.array([self._coded(each) for each in value], np.float64).reshape(-1, 3)

    def stack(self, codes: Sequence[Events]) -> Any:
        """Return the events of each row."""
        return list(codes)

    def _coded(self, value: Any) -> tuple[float, float, int]:
        event = _event(value)
        if event is None:
            raise RowError(
                f"{self.where}: {show(value)} is no event; allowed: {{start, end, label}}: seconds from the beginning "
                "of the clip, and the name of what sounds"
            )
        if not 0 <= event.start < event.end < math.inf:
            raise RowError(
                f"{self.where}: an event from {event.start:g} to {event.end:g} s; allowed: 0 or more, and an end "
                "behind the start"
            )
        if event.label in self.index:
            return event.start, event.end, self.index[event.label]
        if not self.may_be_unseen:
            raise RowError(
                f"{self.where}: unknown label {show(event.label)}{near(event.label, self.index)} "
                f"Allowed: {some_of(self.index)}"
            )
        self.unseen[f"{show(event.label)}{suggest(event.label, self.index)}"] += 1
        return event.start, event.end, unseen_code(event.label)
