import numpy as np
import pytest
from audit_rows import pool_of

from jenga.audit.pool import Asked, Pool
from jenga.audit.spread import drift, strangers
from jenga.detectors.out_of_sample import Linear
from jenga.labels.base import Question
from jenga.modalities.quick import Quick


def half_judged(labels: list[int]) -> Pool:
    half = len(labels) // 2
    return pool_of(["x"] * len(labels), labels, ["train"] * half + ["valid"] * half, ("a", "b"))


@pytest.mark.parametrize("names", [(), ("one", "two", "three", "four")])
def test_a_row_far_from_all_others_is_told(names: tuple[str, ...]) -> None:
    features = np.random.default_rng(0).normal(size=(300, 4)) * 0.1 + [1, 0, 0, 0]
    features[40] = [-9, 3, 8, -9]
    found = list(strangers(half_judged([0] * 300), Quick(features, Linear(), "features", names)))
    assert [each.row for each in found] == [41]


def test_features_that_are_missing_or_the_same_everywhere_do_no_harm() -> None:
    features = np.random.default_rng(0).normal(size=(300, 3))
    features[:, 1] = 5.0
    features[::7, 2] = np.nan
    assert list(strangers(half_judged([0] * 300), Quick(features, Linear(), "features", ("a", "b", "c")))) == []


def test_labels_of_other_shares_are_told_by_part_with_their_psi() -> None:
    (found,) = drift(half_judged([0] * 190 + [1] * 10 + [0] * 100 + [1] * 100), ())
    assert (found.split, found.row, found.task, found.head) == ("valid", None, "topic", "label")
    assert found.reason.startswith("labels of topic.label: PSI 1.")


def test_labels_of_the_same_shares_have_not_drifted() -> None:
    assert list(drift(half_judged([0, 1] * 200), ())) == []


def test_numbers_and_features_are_binned_by_the_training_rows() -> None:
    pool = half_judged([0, 1] * 800)
    values = np.concatenate([np.arange(800.0), np.arange(800.0) + 600])
    pool.asked = [Asked("topic", "amount", Question("amount", (), values))]
    (found,) = drift(pool, ())
    assert found.reason.startswith("labels of topic.amount: PSI")
