"""Events of sound: cells, batches, decoding."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jenga.errors import DataError
from jenga.labels import kind_named
from jenga.labels.base import Moments
from jenga.labels.column import HeadColumn, RowError
from jenga.labels.sound_events import NOTHING, SoundEvents, events_of
from jenga.labels.unseen import is_unseen
from jenga.types import HeadSpace

KIND = SoundEvents()
COLUMN = HeadColumn("t", "h", "sound_events", ("events",), None, None)
SPACE = HeadSpace("t", "h", "sound_events", 2, ("bark", "siren"))
BARK = {"start": 0.5, "end": 1, "label": "bark"}


def targets_of(*cells: Any) -> tuple[Any, Any]:
    column, _ = KIND.settle(COLUMN, [])
    reader = KIND.reader(column, SPACE)
    return reader.stack([reader.read(cell, "", ()) for cell in cells]), reader


def test_labels_are_those_of_the_rows_and_cells_may_be_json_or_the_fields_of_others() -> None:
    other = [{"onset": 0.5, "offset": 1.0, "event_label": "siren"}, [1, 2, "bark"]]
    assert KIND.infer(COLUMN, [[BARK], json.dumps(other), "x"], max_bad_fraction=0) == ("bark", "siren")
    targets, _ = targets_of([BARK], json.dumps(other))
    assert targets[0].tolist() == [[0.5, 1.0, 0.0]]
    assert targets[1].tolist() == [[0.5, 1.0, 1.0], [1.0, 2.0, 0.0]]


def test_no_event_is_a_label_and_no_cell_is_none() -> None:
    targets, _ = targets_of([], None, [BARK])
    assert KIND.labelled(SPACE, targets).tolist() == [True, False, True]
    assert KIND.counts(SPACE, targets).tolist() == [1, 0]
    batch = KIND.batches(targets, SimpleNamespace())([0, 1, 2])  # type: ignore[arg-type]
    assert batch.shape == (3, 2, 3)
    assert batch[0, 0].tolist() == [0.0, 0.0, NOTHING]
    assert batch[0, 1].isnan().all()
    assert batch[1].isnan().all()
    assert batch[2, 1].tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize(
    ("cell", "message"),
    [("bark", "no list"), ([{"start": 0}], "no event"), ([{**BARK, "end": 0.5}], "from 0.5 to 0.5 s"),
     ([{**BARK, "start": True}], "no event"), ([{**BARK, "end": math.inf}], "0.5 to inf s")],
)  # fmt: skip
def test_a_cell_that_is_none_is_refused(cell: Any, message: str) -> None:
    with pytest.raises(RowError, match=message):
        targets_of(cell)


def test_a_label_that_no_training_row_has_is_told_and_missed_and_one_outside_of_a_given_list_refused() -> None:
    targets, reader = targets_of([{**BARK, "label": "barks"}, BARK])
    assert reader.unseen.total() == 1
    assert is_unseen(targets[0][:, 2]).tolist() == [True, False]
    assert KIND.batches(targets, SimpleNamespace())([0]).shape == (1, 2, 3)  # type: ignore[arg-type]
    found = KIND.details(SPACE, [np.empty((0, 4))], targets)
    assert found["warnings"] == [
        "1 events are of labels that no training row has, and count as missed", "predicts no event"
    ]  # fmt: skip
    with pytest.raises(RowError, match='unknown label "barks"; did you mean'):
        KIND.reader(replace(COLUMN, labels=SPACE.labels), SPACE).read([{**BARK, "label": "barks"}], "", ())


def test_rows_with_an_event_behind_their_clip_lose_their_label_but_where_the_recording_is_cut() -> None:
    targets, _ = targets_of([BARK], [{**BARK, "end": 1.25}], [BARK, {**BARK, "end": 9}], [], None, [{**BARK, "end": 9}])
    moments = Moments(np.full(6, 50), 0.02, np.array([False] * 5 + [True]))
    kept, unfit = KIND.fitting(targets, moments)
    assert [each.tolist() for each in unfit.values()] == [[False, True, True, False, False, False]]
    assert KIND.labelled(SPACE, kept).tolist() == [True, False, False, True, False, True]
    within = KIND.fitting(targets, Moments(np.full(6, 60), 0.02, moments.truncated))[1]
    assert [each.tolist() for each in within.values()] == [[False, False, True, False, False, False]]


def test_training_rows_in_which_nothing_ever_sounds_need_labels() -> None:
    with pytest.raises(DataError, match="no training row has an event: its lists are empty"):
        KIND.infer(COLUMN, [[], "[]"], max_bad_fraction=0)
    assert KIND.infer(replace(COLUMN, labels=("bark",)), [[]], max_bad_fraction=0) == ("bark",)


def logits_of(*labels: str) -> torch.Tensor:
    """Frames ``(T, K)`` of which each label, a string of marks, says where it sounds."""
    return torch.tensor([[4.0 if mark == "x" else -4.0 for mark in label] for label in labels]).T


def test_frames_become_spans_gaps_are_closed_and_what_is_short_is_left_out() -> None:
    logits = torch.cat([logits_of("xx.xx....x", "...xxx...."), torch.full((3, 2), math.nan)])
    found = events_of(logits, threshold=0.5, frame_seconds=0.1, min_seconds=0.2)
    np.testing.assert_allclose(found[:, :3], [[0.0, 0.5, 0], [0.3, 0.6, 1]])
    share = 1 / (1 + math.exp(-4))
    np.testing.assert_allclose(found[:, 3], [(4 * share + 1 - share) / 5, share], rtol=1e-6)
    every = events_of(logits, threshold=0.5, frame_seconds=0.1, min_seconds=0.0)
    assert every[:, 2].tolist() == [0, 0, 1, 0]
    assert events_of(logits, threshold=0.99, frame_seconds=0.1, min_seconds=0).shape == (0, 4)


def test_answers_and_scores_are_of_the_events() -> None:
    targets, _ = targets_of([BARK, {"start": 2, "end": 3, "label": "siren"}], None)
    found = [np.array([[0.6, 1.2, 0, 0.75]]), np.empty((0, 4))]
    (first, second) = KIND.decode(SPACE, found, [], SimpleNamespace(), as_words=(), probabilities=False)  # type: ignore[arg-type]
    assert first == {"events": [{"start": 0.6, "end": 1.2, "label": "bark", "probability": 0.75}]}
    assert second == {"events": []}
    judged = KIND.judge(SPACE, found, targets)
    assert judged == {"segment_f1": 2 / 4, "onset_f1": 2 / 3}
    assert KIND.judge(SPACE, [found[1]], [np.empty((0, 3))]) == {}
    assert KIND.majority(SPACE, targets, targets)[0].shape == (0, 4)


def test_an_error_counts_segments_with_a_sound_missed_or_heard_for_nothing() -> None:
    space = HeadSpace("t", "events", "sound_events", 2, ("bell", "dog"))
    targets = [np.array([[0.0, 2.0, 0.0]]), np.array([[0.5, 0.9, 1.0]]), np.full((1, 3), np.nan)]
    predictions = [np.array([[0.0, 0.9, 0.0, 0.8]]), np.array([[0.5, 0.9, 1.0, 0.7]]), np.array([[0.0, 1.0, 0.0, 0.9]])]
    kind = kind_named("sound_events")
    found = kind.errors(space, predictions, targets, ())
    assert found is not None
    assert found.sizes.tolist() == [1, 0, 0]
    assert kind.written(space, predictions[:1], None) == ["bell 0.00 to 0.90 s"]
    assert kind.written(space, [np.empty((0, 4))], None) == ["-"]
