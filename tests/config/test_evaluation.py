"""Settings of an evaluation that contradict each other are refused with the fix."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jenga.config.evaluation import EvaluationConfig, ThresholdsConfig


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "precision"}, "at: precision needs the rate to reach, such as 0.95"),
        ({"objective": "f1", "at": 0.9}, "at: f1 has none; remove it, or name a rate as the objective"),
        (
            {"objective": "recall", "at": 0.9, "costs": {}},
            "costs: recall has none; remove them, or set objective: cost",
        ),
        ({"objective": "recall", "at": 1}, "less than 1"),
        ({"objective": "cost", "costs": {"false_positive": 0}}, "greater than 0"),
    ],
)
def test_an_objective_has_the_settings_that_it_needs(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ThresholdsConfig.model_validate(given)


def test_thresholds_are_a_number_a_word_or_an_objective() -> None:
    given = [0.3, "tuned", {"objective": "cost", "costs": {"false_negative": 5.0}}]
    found = [EvaluationConfig.model_validate({"thresholds": each}).thresholds for each in given]
    assert found[:2] == [0.3, "tuned"]
    assert isinstance(found[2], ThresholdsConfig)
    assert found[2].costs is not None
    assert (found[2].costs.false_positive, found[2].costs.false_negative) == (1.0, 5.0)
