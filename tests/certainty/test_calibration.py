"""Calibrations learn what is wrong with probabilities, and leave alone what they say they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import seeds
import torch

from jenga.certainty import calibration
from jenga.certainty.calibration import Calibration, fit, too_few
from jenga.certainty.scores import probabilities, quality
from jenga.labels.certain import Evidence

LEARNT: list[Literal["temperature", "isotonic", "vector"]] = ["temperature", "isotonic", "vector"]


def classes(rows: int, *, sharper: float, seed: int = 0) -> Evidence:
    """Return logits that are `sharper` times those by which their classes were drawn."""
    draw = np.random.default_rng(seeds.derived(seed))
    true = draw.normal(size=(rows, 3)) * 2
    shares = probabilities(true, independent=False)
    gold = (draw.random((rows, 1)) > shares.cumsum(1)).sum(1).clip(max=2)
    return Evidence(true * sharper, gold, np.arange(rows))


def items(rows: int, *, sharper: float) -> Evidence:
    draw = np.random.default_rng(seeds.derived(1))
    true = draw.normal(size=(rows, 2)) * 2
    gold = (draw.random((rows, 2)) < probabilities(true, independent=True)).astype(float)
    gold[draw.random((rows, 2)) < 0.2] = np.nan
    return Evidence(true * sharper, gold, np.arange(rows))


@pytest.mark.parametrize("sharper", [0.4, 1.0, 3.0])
def test_temperature_is_recovered_from_logits_that_are_too_sharp_or_too_flat(sharper: float) -> None:
    # The standard error of the estimate with 4,000 rows is about 2.5%.
    for evidence in (classes(4000, sharper=sharper), items(4000, sharper=sharper)):
        assert 1 / fit("temperature", evidence).scale[0] == pytest.approx(sharper, rel=0.08)


def test_temperature_stays_finite_where_no_row_is_wrong() -> None:
    logits = np.eye(3)[np.arange(150) % 3] * 5
    (scale,) = fit("temperature", Evidence(logits, np.arange(150) % 3, np.arange(150))).scale
    assert 1 < scale < 3, "certain rows are made more certain, but not without end"


def test_temperature_of_many_classes_is_fitted_to_as_many_logits_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = classes(4000, sharper=2.0)
    monkeypatch.setattr(calibration, "_MOST_LOGITS", 3 * 500)
    part = whole.take(np.linspace(0, 3999, 500).astype(np.int64))
    assert fit("temperature", whole) == fit("temperature", part)
    monkeypatch.setattr(calibration, "_MOST_LOGITS", 3)
    fewest = whole.take(np.linspace(0, 3999, calibration.FEWEST).astype(np.int64))
    assert fit("temperature", whole) == fit("temperature", fewest)


def test_temperature_changes_no_answer() -> None:
    draw = torch.randn(500, 4, generator=seeds.generator(0))
    near = draw.clone()
    near[:, 1] = torch.nextafter(near[:, 0], torch.tensor(torch.inf))  # differs from the first by one bit
    for logits in (draw, near):
        for scale in (0.01, 1 / 3, 7.7):
            found = Calibration("temperature", independent=False, scale=[scale]).apply(logits)
            assert torch.equal(found.argmax(1), logits.argmax(1))


def test_vector_recovers_a_factor_and_a_shift_of_each_item() -> None:
    evidence = items(6000, sharper=1.0)
    moved = Evidence((evidence.logits - np.array([1.0, -2.0])) / np.array([0.5, 2.0]), evidence.gold, evidence.rows)
    found = fit("vector", moved)
    assert found.scale == pytest.approx([0.5, 2.0], rel=0.1)
    assert found.shift == pytest.approx([1.0, -2.0], abs=0.2)


def test_isotonic_rises_and_stays_within_what_rows_can_prove() -> None:
    evidence = items(1500, sharper=3.0)
    found = fit("isotonic", evidence)
    for places, values in found.knots:
        assert (np.diff(places) > 0).all()
        assert (np.diff(values) >= 0).all()
        assert 0 < min(values) < max(values) < 1
    rising = torch.linspace(-30, 30, 200).unsqueeze(1).repeat(1, 2)
    assert (found.apply(rising).diff(dim=0) >= 0).all()


@pytest.mark.parametrize("method", LEARNT)
@pytest.mark.parametrize("make", [classes, items])
def test_probabilities_of_other_rows_get_better(
    method: Literal["temperature", "isotonic", "vector"], make: Callable[..., Evidence]
) -> None:
    whole = make(6000, sharper=3.0)
    train, test = whole.take(np.arange(3000)), whole.take(np.arange(3000, 6000))
    found = fit(method, train)
    after = quality(Evidence(found.apply(torch.from_numpy(test.logits)).numpy(), test.gold, test.rows))
    before = quality(test)
    assert after["nll"] < before["nll"]
    assert after["brier"] < before["brier"]
    assert after["ece"] < before["ece"] / 2


def test_calibrated_probabilities_of_classes_add_up_to_one() -> None:
    evidence = classes(1200, sharper=2.0)
    for method in LEARNT:
        shares = fit(method, evidence).apply(torch.from_numpy(evidence.logits)).softmax(1)
        torch.testing.assert_close(shares.sum(1), torch.ones(1200, dtype=torch.float64))


def test_words_without_a_token_stay_without_logits() -> None:
    rows = [torch.tensor([[1.0, 2.0], [torch.nan, torch.nan]]), torch.empty(0, 2), torch.tensor([[3.0, 4.0]])]
    for found in (Calibration("temperature", False, scale=[0.5]), fit("isotonic", items(1200, sharper=1.0))):
        calibrated = found.apply_rows(rows)
        assert [len(row) for row in calibrated] == [2, 0, 1]
        assert calibrated[0].isnan().tolist() == [[False, False], [True, True]]
        assert torch.equal(calibrated[2], found.apply(rows[2]))


@pytest.mark.parametrize(("method", "needed"), [("temperature", 100), ("isotonic", 1000), ("vector", 100)])
def test_too_few_rows_are_counted_once_however_many_words_they_have(
    method: Literal["temperature", "isotonic", "vector"], needed: int
) -> None:
    words = Evidence(np.zeros((5000, 3)), np.zeros(5000, np.int64), np.arange(5000) % 99)
    assert too_few(method, words) == needed
    enough = words._replace(rows=np.arange(5000) % needed)
    assert too_few(method, enough) is None


@pytest.mark.parametrize(
    "broken",
    [
        Calibration("vector", False, scale=[1.0, 1.0], shift=[0.0, 0.0]),
        Calibration("temperature", False),
        Calibration("isotonic", False, knots=[([0.0, 1.0], [0.1, 0.9])]),
        Calibration("isotonic", False, knots=[([1.0, 0.0], [0.1, 0.9])] * 3),
        Calibration("isotonic", False, knots=[([0.0], [0.1, 0.9])] * 3),
    ],
)
def test_a_calibration_of_another_head_is_refused(broken: Calibration) -> None:
    with pytest.raises(ValueError, match="a calibration"):
        broken.check(3)
