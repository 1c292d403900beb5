"""Answers have the probabilities and the sets of the run that made the model, by one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from jenga.errors import ConfigError
from jenga.inference.heads import language_spec
from jenga.inference.loading import load
from jenga.run.experiment import train


@pytest.fixture
def rows(make_rows: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return make_rows(480)


@pytest.fixture
def made(settings: Callable[..., dict[str, Any]], rows: list[dict[str, Any]], without_report: None) -> Any:
    content = settings(
        "mood",
        "flags",
        "names",
        "price",
        rows=rows,
        data={"valid_fraction": 0.5, "test_fraction": 0.3, "max_length": 16},
        training={"epochs": None, "max_steps": 3, "batch_size": 32},
        evaluation={
            "baselines": [],
            "conformal": {"coverage": 0.8},
            "bootstrap": 50,
            "worst_errors": 0,
            "out_of_scope": {"keep": 0.7},
        },
    )
    return train(content, device="cpu")


def test_a_saved_model_judges_and_answers_as_its_run_did(made: Any, rows: list[dict[str, Any]]) -> None:
    predictor = load(made.run, device="cpu")
    certainty = predictor.bundle.certainty
    calibrated = {key for key, own in certainty.items() if own.calibration is not None}
    assert calibrated == {("mood", "mood"), ("mood", "topic"), ("flags", "flags"), ("names", "names")}
    again, before = predictor.evaluate(split="test"), made.evaluation["splits"]["test"]
    for ours, theirs in zip(again["heads"], before["heads"], strict=True):
        assert ours["metrics"] == pytest.approx(theirs["metrics"])
        for part, told in theirs["certainty"].items():
            assert ours["certainty"][part] == (pytest.approx(told) if isinstance(told, dict) else told)
        for name, ends in theirs["intervals"].items():
            assert ours["intervals"][name] == pytest.approx(ends)

    given = [{"text": row["text"]} for row in rows[:40]]
    answers, logits = predictor.predict(given, probabilities=True), predictor.logits(given)
    mood = certainty["mood", "mood"]
    assert mood.calibration is not None
    for answer, raw in zip(answers, logits["mood", "mood"], strict=True):
        own = answer["mood"]["mood"]
        shares = mood.calibration.apply(raw).softmax(-1).tolist()
        assert list(own["probabilities"].values()) == pytest.approx(shares, abs=1e-6)
        assert own["probability"] == pytest.approx(max(shares), abs=1e-6)
        assert own["label"] == own["set"][0]
        scope = mood.scope
        assert scope is not None
        assert own["unlikeness"] == pytest.approx(-raw.logsumexp(-1).item(), abs=1e-5)
        if abs(own["unlikeness"] - scope.limit) > 1e-5:  # answers are rounded
            assert own["out_of_scope"] == (own["unlikeness"] > scope.limit)
        assert "out_of_scope" not in answer["names"]["names"]
        low, high = answer["price"]["price"]["interval"]
        assert low < answer["price"]["price"]["value"] < high
    assert {answer["mood"]["mood"]["out_of_scope"] for answer in answers} == {True, False}
    for name in predictor.model.tasks:
        shape = predictor.model.tasks[name].shape(
            [space for (owner, _), space in predictor.bundle.spaces.items() if owner == name]
        )
        for answer in answers:
            jsonschema.validate(answer[name], shape)
    with pytest.raises(ConfigError, match="this model has no language task"):
        language_spec(predictor.bundle, None)
