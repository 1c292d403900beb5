"""Certainty is fitted to validation rows as the settings say, and told of every split."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import seeds
import torch

from jenga.certainty.scores import probabilities, quality
from jenga.config.evaluation import EvaluationConfig
from jenga.labels.classes import ClassHead
from jenga.labels.items import ItemsHead
from jenga.labels.numbers import NumberHead
from jenga.labels.thresholds import ThresholdRule, chosen_threshold
from jenga.tasks.anomaly.config import AnomalyConfig
from jenga.tasks.anomaly.task import AnomalyDetectionTask
from jenga.tasks.base import BaseTask, ClassificationConfig
from jenga.tasks.classification import ClassificationTask, MultiLabelConfig, MultiLabelTask
from jenga.tasks.regression import RegressionConfig, RegressionTask
from jenga.trainer.certain import add_certainty, settle
from jenga.trainer.evaluate import Runner, SplitResult, describe_split
from jenga.types import HeadSpace

CLASSES = HeadSpace("c", "h", "class", 3, ("x", "y", "z"))
ITEMS = HeadSpace("i", "h", "items", 2, ("p", "q"))
NUMBER = HeadSpace("n", "h", "number", 1, ("v",))
SPACES = {(space.task, space.head): space for space in (CLASSES, ITEMS, NUMBER)}


def task_of(space: HeadSpace) -> BaseTask:
    block = {"name": space.task, "data_path": "x"}
    if space is CLASSES:
        head = ClassHead(name="h", num_labels=3, labels=list(space.labels))
        return ClassificationTask(ClassificationConfig(type="classification", heads=[head], **block), 4)
    if space is ITEMS:
        items = ItemsHead(name="h", num_labels=2, labels=list(space.labels))
        return MultiLabelTask(MultiLabelConfig(type="multi_label_classification", heads=[items], **block), 4)
    number = NumberHead(name="h", num_labels=1, labels=["v"])
    return RegressionTask(RegressionConfig(type="regression", heads=[number], **block), 4)


def judged(rows: int, *, sharper: float = 3.0, seed: int = 0) -> tuple[SplitResult, Any]:
    """Return a split of each kind, whose logits are `sharper` times those by which its labels were drawn; a model."""
    draw = np.random.default_rng(seeds.derived(seed))
    classes, items = draw.normal(size=(rows, 3)), draw.normal(size=(rows, 2))
    numbers = draw.normal(size=(rows, 1))
    shares = probabilities(classes, independent=False)
    targets: dict[tuple[str, str], Any] = {
        ("c", "h"): (draw.random((rows, 1)) > shares.cumsum(1)).sum(1).clip(max=2),
        ("i", "h"): (draw.random((rows, 2)) < probabilities(items, independent=True)).astype(np.float32),
        ("n", "h"): (numbers + draw.normal(size=(rows, 1))).astype(np.float32),
    }
    raw: dict[tuple[str, str], Any] = {
        key: torch.from_numpy(each).float()
        for key, each in zip(SPACES, (classes * sharper, items * sharper, numbers), strict=True)
    }
    model = SimpleNamespace(tasks={space.task: task_of(space) for space in SPACES.values()})
    result = SplitResult(rows=rows, targets=targets, spaces=dict(SPACES), raw=dict(raw), logits=dict(raw))
    for key, space in SPACES.items():
        result.predictions[key] = model.tasks[space.task].predict("h", raw[key], 0.5)
        scores = model.tasks[space.task].scores("h", raw[key])
        if scores is not None:
            result.scores[key] = scores
    return result, model


def test_a_temperature_is_fitted_where_there_are_rows_enough_and_else_nothing_is_said() -> None:
    for rows, fitted in ((400, {("c", "h"), ("i", "h")}), (99, set())):
        found = settle(*judged(rows), SPACES, EvaluationConfig())
        assert found.certainty.keys() == fitted
        assert found.warnings == []


def test_a_calibration_that_was_asked_for_and_cannot_be_had_is_told() -> None:
    found = settle(*judged(400), SPACES, EvaluationConfig(calibration="isotonic"))
    assert found.certainty == {}
    assert found.warnings[0] == (
        "head 'c.h': isotonic needs 1000 labelled validation rows and there are 400; its probabilities stay as they are"
    )
    assert len(found.warnings) == 2


def test_with_sets_a_calibration_has_half_of_the_rows_and_says_so() -> None:
    settings = EvaluationConfig.model_validate({"calibration": "isotonic", "conformal": {}})
    warning = settle(*judged(1200), SPACES, settings).warnings[0]
    assert warning.startswith("head 'c.h': isotonic needs 1000 labelled validation rows and there are 600 of the half")


def test_a_coverage_that_unseen_classes_make_impossible_is_told_and_not_claimed() -> None:
    valid, model = judged(400)
    valid.targets["c", "h"][np.arange(400) % 5 == 0] = -200
    settings = EvaluationConfig.model_validate({"conformal": {"coverage": 0.9}, "calibration": "none"})
    found = settle(valid, model, {("c", "h"): CLASSES}, settings)
    assert found.warnings == [
        "head 'c.h': a coverage of 0.9 cannot be had, since 20.0% of the labelled validation rows are of classes that "
        "no training row has, which are in no set; its sets hold all classes"
    ]
    conformal = found.certainty["c", "h"].conformal
    assert conformal is not None
    assert conformal.limits == [1.0]
    heads: list[dict[str, Any]] = [{"task": "c", "head": "h", "metrics": {}, "details": {}}]
    add_certainty({"heads": heads}, model, valid, found.certainty, settings)
    assert heads[0]["certainty"]["conformal"]["coverage"] == 0.8


def test_a_scope_is_of_the_models_own_logits_and_tells_classes_that_no_training_row_has_apart() -> None:
    valid, model = judged(400)
    outside = np.arange(400) % 5 == 0
    valid.targets["c", "h"][outside] = -2000
    settings = EvaluationConfig.model_validate({"out_of_scope": {"keep": 0.9}, "calibration": "isotonic"})
    found = settle(valid, model, SPACES, settings)
    energy = -np.logaddexp.reduce(torch.stack(list(valid.raw["c", "h"])).double().numpy(), axis=1)
    scope = found.certainty["c", "h"].scope
    assert scope is not None
    assert scope.limit == pytest.approx(np.sort(energy[~outside])[287])  # the 288th of 320
    assert found.warnings[2:] == [
        "head 'i.h': scopes are of classes; its answers tell none",
        "head 'n.h': scopes are of classes; its answers tell none",
    ]
    heads: list[dict[str, Any]] = [{"task": "c", "head": "h", "metrics": {}, "details": {}}]
    add_certainty({"heads": heads}, model, valid, found.certainty, settings)
    told = heads[0]["certainty"]["scope"]
    assert (told["kept"], told["outside"]) == (pytest.approx(0.9), 80)
    assert {"refused", "auroc", "fpr_at_95_tpr"} <= told.keys()
    valid.targets["c", "h"][:] = -2000
    none = settle(valid, model, {("c", "h"): CLASSES}, settings)
    assert "no validation row is of a class that it has learnt, so its answers tell no scope" in none.warnings[-1]
    nothing = settle(SplitResult(), model, {("c", "h"): CLASSES}, settings)
    assert nothing.warnings == ["head 'c.h': no validation row has a label, so its answers tell no scope"]


def test_a_head_may_be_calibrated_otherwise_than_the_others() -> None:
    valid, model = judged(1200)
    head = model.tasks["c"].config.heads[0].model_copy(update={"calibration": "isotonic"})
    model.tasks["c"].config = model.tasks["c"].config.model_copy(update={"heads": [head]})
    found = settle(valid, model, SPACES, EvaluationConfig(calibration="none")).certainty
    assert found.keys() == {("c", "h")}
    assert found["c", "h"].calibration is not None
    assert found["c", "h"].calibration.method == "isotonic"


def test_thresholds_are_of_calibrated_probabilities() -> None:
    valid, model = judged(400)
    plain, found = (settle(valid, model, SPACES, EvaluationConfig(calibration=each)) for each in ("none", "auto"))
    calibration = found.certainty["i", "h"].calibration
    assert calibration is not None
    before, after = plain.thresholds["i", "h"], found.thresholds["i", "h"]
    calibrated = calibration.apply(torch.stack(list(valid.raw["i", "h"]))).sigmoid().numpy()
    assert not np.allclose(before, after, atol=0.01)
    assert ((calibrated >= after) == (valid.scores["i", "h"] >= before)).all(), "the same answers as without"
    assert settle(valid, model, SPACES, EvaluationConfig(thresholds=0.3)).thresholds["i", "h"].tolist() == [0.3, 0.3]


def test_thresholds_follow_an_objective_and_tell_what_cannot_be_reached() -> None:
    valid, model = judged(400)
    rule = {"objective": "cost", "costs": {"false_negative": 5.0}}
    settings = EvaluationConfig.model_validate({"calibration": "none", "thresholds": rule})
    found = settle(valid, model, SPACES, settings).thresholds["i", "h"]
    scores, gold = valid.scores["i", "h"], valid.targets["i", "h"]
    expected = [chosen_threshold(p, t, ThresholdRule("cost", false_negative=5.0)).threshold
                for p, t in zip(scores.T, gold.T, strict=True)]  # fmt: skip
    assert found.tolist() == expected
    valid.targets["i", "h"][scores > 0.5] = 0.0
    settings = EvaluationConfig.model_validate({"thresholds": {"objective": "precision", "at": 0.99}})
    (warning,) = settle(valid, model, SPACES, settings).warnings
    assert warning.startswith("head 'i.h', on the validation rows: p: no threshold has a precision of 0.99; the best")


def test_alerts_are_chosen_for_an_objective_only_where_their_task_decided_so() -> None:
    space = HeadSpace("a", "h", "class", 2, ("normal", "attack"))
    head = {"name": "h", "num_labels": 2, "labels": list(space.labels)}
    block = {"name": "a", "type": "anomaly_detection", "data_path": "x", "mode": "unsupervised", "heads": [head]}
    task = AnomalyDetectionTask(AnomalyConfig.model_validate(block), 4)
    raw, key = torch.arange(1.0, 101.0)[:, None], ("a", "h")
    model: Any = SimpleNamespace(tasks={"a": task})
    settings = EvaluationConfig.model_validate({"thresholds": {"objective": "cost"}, "bootstrap": 0})
    for anomalies, objective in ((0, None), (20, "cost")):
        targets = (np.arange(100) >= 100 - anomalies).astype(np.int64)
        task.calibrate(space, task.scores("h", raw), targets)
        valid = SplitResult(rows=100, targets={key: targets}, spaces={key: space}, raw={key: raw}, logits={key: raw})
        valid.predictions[key] = task.predict("h", raw)
        found = settle(valid, model, {key: space}, settings)
        assert len(found.warnings) == (objective is None)
        details: dict[str, Any] = {"detection": {}}
        told: dict[str, Any] = {"heads": [{"task": "a", "head": "h", "metrics": {}, "details": details}]}
        add_certainty(told, model, valid, found.certainty, settings)
        assert details["detection"].get("objective") == objective
    (warning,) = settle(SplitResult(), model, {key: space}, settings).warnings
    assert warning == (
        "head 'a.h': there are no validation rows to choose thresholds for cost by; they keep the head's target_fpr"
    )


def test_an_objective_without_validation_rows_is_told_of_heads_with_thresholds() -> None:
    settings = EvaluationConfig.model_validate({"thresholds": {"objective": "f1"}})
    found = settle(SplitResult(), judged(2)[1], SPACES, settings)
    assert found.warnings == [
        "head 'i.h': there are no validation rows to choose thresholds for f1 by; they stay at 0.5"
    ]


def test_sets_cover_other_rows_as_often_as_asked_and_items_come_without() -> None:
    valid, model = judged(3000)
    settings = EvaluationConfig.model_validate({"conformal": {"coverage": 0.8}})
    found = settle(valid, model, SPACES, settings)
    assert found.warnings == ["head 'i.h': conformal sets are of classes and numbers; its answers come without"]
    test, _ = judged(3000, seed=1)
    for key in (("c", "h"), ("n", "h")):
        test.logits[key] = found.certainty[key].calibrated(test.raw[key])
    description: dict[str, Any] = {"heads": [{"task": t, "head": h, "metrics": {}, "details": {}} for t, h in SPACES]}
    add_certainty(description, model, test, found.certainty, settings)
    classes, items, number = (head.get("certainty", {}) for head in description["heads"])
    # Two standard errors of a share of 3,000 and of a quantile of 1,500 rows, or of 3,000 without a calibration.
    assert classes["conformal"]["coverage"] == pytest.approx(0.8, abs=0.03)
    assert number["conformal"]["coverage"] == pytest.approx(0.8, abs=0.03)
    assert 1 < classes["conformal"]["mean_size"] < 3
    assert number["conformal"]["mean_size"] == pytest.approx(2 * 1.2816, rel=0.1)
    assert "conformal" not in items


def test_a_calibration_and_sets_come_of_different_rows() -> None:
    valid, model = judged(400)
    settings = EvaluationConfig.model_validate({"conformal": {}})
    both = settle(valid, model, SPACES, settings).certainty["c", "h"]
    alone = settle(valid, model, SPACES, EvaluationConfig()).certainty["c", "h"]
    assert both.calibration != alone.calibration
    assert settle(*judged(150), SPACES, settings).certainty["c", "h"].calibration is None, "75 rows are too few"


def test_too_few_rows_for_a_coverage_are_told_with_how_many_it_takes() -> None:
    settings = EvaluationConfig.model_validate({"conformal": {"coverage": 0.95}})
    found = settle(*judged(18), SPACES, settings)
    assert found.certainty == {}
    assert "head 'n.h': a coverage of 0.95 needs 19 labelled validation rows at least" in found.warnings[-1]
    nothing = settle(SplitResult(), judged(2)[1], SPACES, settings)
    assert nothing.thresholds["i", "h"].tolist() == [0.5, 0.5]
    assert nothing.warnings[0] == "head 'c.h': no validation row has a label, so its answers have no sets"


def described(result: SplitResult, model: Any, settings: EvaluationConfig, certainty: Any) -> list[dict[str, Any]]:
    metrics = {key: model.tasks[key[0]].metrics(space, result.predictions[key], result.targets[key])
               for key, space in SPACES.items()}  # fmt: skip
    heads = [{"task": t, "head": h, "metrics": metrics[t, h], "details": {}} for t, h in SPACES]
    description: dict[str, Any] = {"heads": heads}
    add_certainty(description, model, result, certainty, settings)
    return heads


def test_a_split_tells_what_its_calibration_did_and_between_what_its_metrics_lie() -> None:
    valid, model = judged(400)
    certainty = settle(valid, model, SPACES, EvaluationConfig()).certainty
    valid.logits |= {key: own.calibrated(valid.raw[key]) for key, own in certainty.items()}
    classes, items, number = described(valid, model, EvaluationConfig(bootstrap=50), certainty)
    for head in (classes, items):
        told = head["certainty"]
        assert told["calibration"] == "temperature"
        assert told["after"]["nll"] < told["before"]["nll"]
        assert told["temperature"] == pytest.approx(3, rel=0.4)
    evidence = model.tasks["c"].evidence(CLASSES, valid.raw["c", "h"], valid.targets["c", "h"])
    assert classes["certainty"]["before"] == quality(evidence)
    assert "certainty" not in number
    for head in (classes, items, number):
        assert head["intervals"].keys() == head["metrics"].keys()
        for name, (low, high) in head["intervals"].items():
            assert low <= head["metrics"][name] <= high
    assert all("intervals" not in head for head in described(valid, model, EvaluationConfig(bootstrap=0), {}))


def test_a_metric_that_fails_on_rows_drawn_again_loses_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    valid, model = judged(30)

    def fails(*_: Any, **__: Any) -> dict[str, float]:
        raise ZeroDivisionError("mine")

    heads = [{"task": "c", "head": "h", "metrics": {"mine": 1.0}, "details": {}}]
    monkeypatch.setattr(model.tasks["c"], "metrics", fails)
    add_certainty({"heads": heads}, model, valid, {}, EvaluationConfig())
    assert heads[0]["intervals"] == {}
    assert "head 'c.h': no intervals, since its metrics fail on rows drawn again: mine" in caplog.text


def test_what_is_known_of_a_split_is_not_computed_again(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", "flags", "names", data={"valid_fraction": 0.3})
    sources, calls = trainer.experiment.sources, []
    runner = Runner(trainer.model, torch.device("cpu"), contextlib.nullcontext, {"shared": 8}, {},
                    on_batch=lambda: calls.append(1))  # fmt: skip
    known = runner.evaluate(sources, "valid", logits=True)
    batches = len(calls)
    again = runner.evaluate(sources, "valid", logits=True, known=known)
    assert len(calls) == batches > 0
    assert again.metrics == known.metrics
    assert describe_split(again, trainer.model, sources, "valid") == describe_split(
        known, trainer.model, sources, "valid"
    )


def test_a_report_keeps_the_logits_of_heads_whose_certainty_they_tell(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("mood", "flags", data={"valid_fraction": 0.3})
    for silent in ("evidence", "strangeness", "unlikeness"):
        monkeypatch.setattr(trainer.model.tasks["mood"], silent, lambda *_: None)
    sources = trainer.experiment.sources
    runner = Runner(trainer.model, torch.device("cpu"), contextlib.nullcontext, {"shared": 8}, {})
    assert len(runner.evaluate(sources, "valid", logits=True).raw) == 3, "a calibration is fitted to any of them"
    result = runner.evaluate(sources, "valid", report=True, logits=True)
    assert [task for task, _ in result.raw] == [task for task, _ in result.logits] == ["flags"]
    description = describe_split(result, trainer.model, sources, "valid")
    add_certainty(description, trainer.model, result, {}, EvaluationConfig(bootstrap=10))
    assert all(head["intervals"] for head in description["heads"])
    assert [head["task"] for head in description["heads"] if "certainty" in head] == ["flags"]
    monkeypatch.setattr(trainer.model.tasks["mood"], "unlikeness", lambda *_: np.zeros(1))
    kept = runner.evaluate(sources, "valid", report=True, logits=True).raw
    assert len(kept) == 3, "which rows are of none of the classes is told by them too"
