"""Probabilities are scored as the textbooks have it."""

from __future__ import annotations

import numpy as np
import pytest
import seeds
from sklearn.metrics import brier_score_loss, log_loss

from jenga.certainty.scores import BINS, calibration_error, probabilities, quality
from jenga.labels.certain import Evidence


def by_loop(shares: np.ndarray, hits: np.ndarray) -> float:
    """Return the calibration error over bins that begin where each fifteenth of the ranked rows does."""
    ranked = sorted(zip(shares, hits, strict=True), key=lambda pair: pair[0])
    starts = sorted({0} | {min(i for i in range(len(ranked)) if ranked[i][0] == ranked[len(ranked) * k // BINS][0])
                           for k in range(1, BINS)})  # fmt: skip
    total = 0.0
    for start, end in zip(starts, [*starts[1:], len(ranked)], strict=True):
        part = ranked[start:end]
        total += len(part) * abs(np.mean([p for p, _ in part]) - np.mean([hit for _, hit in part]))
    return total / len(ranked)


@pytest.mark.parametrize("rows", [1, 10, 15, 400])
@pytest.mark.parametrize("digits", [1, 8])
def test_the_calibration_error_is_that_of_a_plain_loop(rows: int, digits: int) -> None:
    draw = np.random.default_rng(seeds.derived(rows))
    shares = draw.random(rows).round(digits)  # of one digit, many are equal
    hits = (draw.random(rows) < shares**2).astype(float)
    order = draw.permutation(rows)
    assert calibration_error(shares, hits) == pytest.approx(by_loop(shares, hits))
    assert calibration_error(shares[order], hits[order]) == pytest.approx(calibration_error(shares, hits))


def test_classes_are_scored_as_sklearn_does() -> None:
    draw = np.random.default_rng(seeds.derived(0))
    logits, gold = draw.normal(size=(200, 4)), draw.integers(0, 4, 200)
    shares = probabilities(logits, independent=False)
    found = quality(Evidence(logits, gold, np.arange(200)))
    assert found["nll"] == pytest.approx(log_loss(gold, shares, labels=range(4)))
    assert found["brier"] == pytest.approx(((shares - np.eye(4)[gold]) ** 2).sum(1).mean())
    by_class = [by_loop(shares[:, code], (gold == code).astype(float)) for code in range(4)]
    assert found["classwise_ece"] == pytest.approx(np.mean(by_class))
    assert found["ece"] == pytest.approx(by_loop(shares.max(1), (shares.argmax(1) == gold).astype(float)))


def test_items_are_scored_over_the_answers_that_are_known() -> None:
    draw = np.random.default_rng(seeds.derived(1))
    logits, gold = draw.normal(size=(60, 3)), draw.integers(0, 2, (60, 3)).astype(float)
    gold[draw.random((60, 3)) < 0.3] = np.nan
    known = ~np.isnan(gold)
    shares = probabilities(logits, independent=True)
    found = quality(Evidence(logits, gold, np.arange(60)))
    assert found["nll"] == pytest.approx(log_loss(gold[known], shares[known]))
    assert found["brier"] == pytest.approx(brier_score_loss(gold[known], shares[known]))
    assert found["ece"] == pytest.approx(by_loop(shares[known], gold[known]))
