"""The majority answer as a baseline, and what baselines there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jenga.modalities import MODALITIES
from jenga.modalities.baseline import Baseline
from jenga.modalities.events.baseline import Boosting
from jenga.modalities.events.features import Features
from jenga.modalities.events.modality import EventModality
from jenga.modalities.text.baseline import Tfidf
from jenga.report.baselines import Majority, baselines
from jenga.rows.batches import EncodedSplit
from jenga.rows.parse import Rows
from jenga.types import HeadSpace

MOOD = HeadSpace("mood", "label", "class", 3, ("sad", "neutral", "glad"))
WAIT = HeadSpace("wait", "value", "number", 1, ("minutes",))
NAN = float("nan")


def majority(space: HeadSpace, train: Any, test: Any) -> dict[str, float]:
    """The metrics of the majority answer to rows of these targets."""

    def split(targets: Any) -> EncodedSplit:
        rows = Rows(ids=list(map(str, range(len(targets)))), labels={(space.task, space.head): np.array(targets)})
        return EncodedSplit("rows", rows, Features(np.zeros((len(rows), 1), np.float32)), {})

    return Majority(split(train), split(test)).metrics(space)


def test_the_answer_is_the_majority_of_the_training_rows_whatever_the_test_rows_hold() -> None:
    assert majority(MOOD, [2, 2, 0, -100], [0, 0, 2, -100])["accuracy"] == pytest.approx(1 / 3)
    assert majority(WAIT, [[1.0], [3.0], [NAN]], [[5.0], [2.0]])["mae"] == pytest.approx(1.5)


@pytest.mark.parametrize(("space", "known", "missing"), [(MOOD, [0, 1], [-100, -100]), (WAIT, [[1.0]], [[NAN]])])
def test_without_a_label_in_either_part_there_is_no_majority(space: HeadSpace, known: Any, missing: Any) -> None:
    assert majority(space, missing, known) == {}
    assert majority(space, known, missing) == {}


def test_baselines_are_the_majority_and_those_of_the_modalities() -> None:
    found = baselines()
    assert next(iter(found)) == "majority"
    assert (found["majority"], found["tfidf"], found["boosting"]) == (Majority, Tfidf, Boosting)
    assert all(each.words for each in found.values())


@pytest.mark.usefixtures("registries_as_before")
def test_a_modality_of_ones_own_brings_its_baselines() -> None:
    class Guess(Baseline):
        words = "a guess"

        def _metrics(self, space: HeadSpace, normal: int | None) -> dict[str, float]:
            return {}

    class Sounds(EventModality):
        baselines = {"guess": Guess}  # noqa: RUF012

    MODALITIES.register("sounds")(Sounds)
    assert baselines()["guess"] is Guess
