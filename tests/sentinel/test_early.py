"""What a model says of rows before it learns from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jenga.sentinel.early import DECAY, EarlyProbabilities


def epochs(hits: list[float], **given: int) -> list[bool]:
    """Return whether the early epochs are over after each of epochs with these shares of foretold labels."""
    early, found = EarlyProbabilities(100, 2), []
    for hit in hits:
        right = torch.arange(100) < hit * 100
        labels = torch.zeros(100, dtype=torch.int64)
        early.add(range(100), torch.where(right.unsqueeze(1), torch.tensor([1.0, 0]), torch.tensor([0, 1.0])), labels)
        found.append(early.end_epoch(**{"most_epochs": 40, "given": None, **given}))
    return found


def test_they_are_over_once_what_is_foretold_grows_slowly() -> None:
    assert epochs([0.51, 0.7, 0.85, 0.9, 0.9]) == [False] * 4 + [True]


def test_they_are_half_of_a_short_run_at_most_and_what_is_given_else() -> None:
    assert epochs([0.5, 0.7, 0.9], most_epochs=6) == [False, False, True]
    assert epochs([0.5, 0.7], most_epochs=1) == [True, True]
    assert epochs([0.9, 0.9, 0.9, 0.9, 0.9], given=5) == [False] * 4 + [True]
    assert epochs([0.9, 0.9], given=5, most_epochs=2) == [False, True], "there are no more"


def test_later_epochs_count_more_and_rows_that_were_not_seen_are_told() -> None:
    early = EarlyProbabilities(3, 2)
    first, second = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, -1.0]])
    for logits in (first, second):
        early.add([1], logits, torch.tensor([-100]))
    probabilities, seen = early.probabilities()
    assert seen.tolist() == [False, True, False]
    expected = (DECAY * first.softmax(-1) + second.softmax(-1)) / (DECAY + 1)
    np.testing.assert_allclose(probabilities[1], expected[0], rtol=1e-6)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert early.hits == []


def test_a_row_that_comes_twice_at_once_is_taken_in_twice() -> None:
    apart, together = EarlyProbabilities(2, 2), EarlyProbabilities(2, 2)
    logits = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 1.0]])
    for place, row in enumerate([1, 0, 1]):
        apart.add([row], logits[place : place + 1], torch.tensor([0]))
    together.add([1, 0, 1], logits, torch.tensor([0, 0, 0]))
    torch.testing.assert_close(together.sums, apart.sums)
    assert torch.equal(together.weights, apart.weights)


def test_what_is_restored_goes_on_alike() -> None:
    early, other = EarlyProbabilities(4, 3), EarlyProbabilities(4, 3)
    early.add([0, 2], torch.randn(2, 3), torch.tensor([0, 1]))
    other.restore(early.state())
    for each in (early, other):
        each.add([0, 1], torch.ones(2, 3), torch.tensor([0, 0]))
        each.end_epoch(most_epochs=9, given=None)
    assert torch.equal(early.sums, other.sums)
    assert early.hits == other.hits == [pytest.approx(early.hits[0])]
