"""Tables of labels, and figures as answers show them."""

from __future__ import annotations

import numpy as np
import torch

from jenga.labels.tables import all_rounded, columns, per_label, rounded, stacked
from jenga.types import HeadSpace


def test_what_is_undefined_is_none_and_the_rest_is_what_it_says() -> None:
    counts = (np.array([2, 0, 0]), np.array([1, 0, 3]), np.array([0, 0, 1]))
    found = per_label(["a", "b", "c"], *counts)
    assert found[0] == {"label": "a", "precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2}
    assert found[1] == {"label": "b", "precision": None, "recall": None, "f1": None, "support": 0}
    assert found[2] == {"label": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}


def test_values_of_k_labels_are_a_table_also_where_no_row_is() -> None:
    space = HeadSpace("task", "head", "number", 2, ("a", "b"))
    assert columns(space, np.ones((3, 2), np.float32)).shape == (3, 2)
    assert columns(space, []).shape == (0, 2)


def test_a_probability_has_six_digits() -> None:
    assert rounded(np.float32(1 / 3)) == 0.333333


def test_all_figures_are_rounded_as_one_is_and_the_largest_stay() -> None:
    figures = [0.1234567, 1.0, 0.0000004, -2.5, 123456.7654321]
    assert all_rounded(figures) == [rounded(each) for each in figures]
    assert all_rounded([1e303, float("inf")]) == [1e303, float("inf")]


def test_logits_of_rows_are_stacked_unless_they_are_one_tensor() -> None:
    logits = torch.arange(6.0).view(3, 2)
    assert stacked(logits) is logits
    assert torch.equal(stacked(list(logits)), logits)
