"""Anomaly detection as a task: what it learns from, its losses, its scores and its answers."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import seeds
import torch
from torch.nn import functional as F

from jenga.errors import ConfigError, DataError, SetupError
from jenga.labels.thresholds import ThresholdRule
from jenga.modalities.text.columns import Texts
from jenga.tasks import TASK_REGISTRY, BaseTask
from jenga.tasks.anomaly.config import AnomalyConfig
from jenga.tasks.anomaly.normal import anomaly_log_odds
from jenga.tasks.anomaly.task import AnomalyDetectionTask
from jenga.types import BackboneOutput, HeadSpace, TaskOutput

WIDTH, N_FEATURES = 6, 10
LABELS = ("normal", "dos", "probe")
SPACE = HeadSpace("t", "threat", "class", 3, LABELS)
UNSUPERVISED: dict[str, Any] = {"mode": "unsupervised"}
TARGETS = torch.tensor([0, 1, 0, -100, 2])


def config(
    *, heads: list[dict[str, Any]] | None = None, head: Mapping[str, Any] = {}, **settings: Any
) -> AnomalyConfig:
    one = {"name": "threat", "num_labels": 3, "labels": list(LABELS), **head}
    return AnomalyConfig.model_validate(
        {
            "name": "t",
            "type": "anomaly_detection",
            "data_path": "x",
            "dropout": 0.0,
            "heads": heads or [one],
            **settings,
        }
    )


def backbone_of(n_features: int | None) -> Any:
    """A stand-in for a backbone that reads features of this width; None: texts."""
    return SimpleNamespace(n_features=n_features)


def task_of(n_features: int | None = N_FEATURES, **settings: Any) -> AnomalyDetectionTask:
    torch.manual_seed(seeds.derived(0))
    task = AnomalyDetectionTask(config(**settings), WIDTH)
    task.attach(backbone_of(n_features))
    return task


def encoded(rows: int = 5) -> BackboneOutput:
    generator = seeds.generator(0)
    hidden = torch.randn(rows, WIDTH, generator=generator)
    features = torch.randn(rows, N_FEATURES, generator=generator)
    return BackboneOutput(hidden.unsqueeze(1), hidden, torch.ones(rows, 1).long(), features)


def output_of(task: AnomalyDetectionTask, labels: Any = None, given: BackboneOutput | None = None) -> TaskOutput:
    output = task.get_forward_output(given or encoded(), labels)
    assert isinstance(output, TaskOutput)
    return output


def observe(task: AnomalyDetectionTask, stage: Any, labels: torch.Tensor = TARGETS) -> None:
    observer = task.observer(stage)
    assert observer is not None
    observer.see(encoded(len(labels)), {"threat": labels})
    observer.finish()


def test_it_is_registered() -> None:
    assert TASK_REGISTRY["anomaly_detection"] is AnomalyDetectionTask


# --------------------------------------------------------------------------------------------------------------- normal


@pytest.mark.parametrize(
    ("labels", "given", "guessed"),
    [(["normal", "x"], None, False), (["0", "1"], None, True), (["b", "a"], "b", False)],
)
def test_a_guess_at_the_normal_class_is_told(labels: list[str], given: str | None, guessed: bool) -> None:
    notes = task_of(head={"labels": labels, "num_labels": 2, "normal": given}).notes()
    assert len(notes) == guessed
    assert all(f"head 't.threat': takes '{labels[0]}' for normal" in note for note in notes)


def test_one_class_is_not_enough_to_learn_from_labels() -> None:
    with pytest.raises(ConfigError, match=r"tasks\[t\].heads\[threat\]: one class .* mode: unsupervised"):
        task_of(head={"labels": ["normal"], "num_labels": 1})
    assert task_of(**UNSUPERVISED, head={"labels": ["normal"], "num_labels": 1}).normal == {"threat": 0}


# ----------------------------------------------------------------------------------------------------------- supervised


@pytest.mark.parametrize(("mode", "unlabelled"), [("supervised", 9.0), ("unsupervised", -9.0)])
def test_alerts_begin_where_a_rule_has_them(mode: str, unlabelled: float) -> None:
    task = task_of(mode=mode)
    # A row without a label says nothing to what learns from labels, and is normal to what does not.
    scores = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, unlabelled])
    targets = np.array([0, 0, 1, 0, 1, 2, -100])
    task.calibrator("threat").fit(scores[:6], targets[:6] > 0, method="none", target_fpr=0.5)

    def alerts(rule: ThresholdRule) -> list[bool]:
        assert task.decide(SPACE, scores, targets, rule) == (True, [])
        limit = task.calibrator("threat").threshold
        assert limit is not None
        return (scores[:6] > limit).tolist()

    assert alerts(ThresholdRule("recall", 0.99)) == [False, False, True, True, True, True]
    assert alerts(ThresholdRule("precision", 0.99)) == [False, False, False, False, True, True]
    assert alerts(ThresholdRule("cost", false_negative=0.1)) == [False, False, False, False, True, True]
    assert alerts(ThresholdRule("recall", 0.1)) == [False, False, False, False, False, True]
    assert alerts(ThresholdRule("false_positive_rate", 0.34)) == [False, False, True, True, True, True]


def test_without_an_anomaly_only_a_rate_of_false_alarms_is_a_rule() -> None:
    task = task_of()
    scores, normal = np.arange(10.0), np.zeros(10, np.int64)
    task.calibrator("threat").fit(scores, normal > 0, method="none", target_fpr=0.1)
    before = task.calibrator("threat").threshold
    taken, (unmet,) = task.decide(SPACE, scores, normal, ThresholdRule("recall", 0.9))
    assert not taken
    assert unmet == "without an anomaly recall tells nothing; alerts keep the head's target_fpr"
    assert task.calibrator("threat").threshold == before
    assert task.decide(SPACE, scores, normal, ThresholdRule("false_positive_rate", 0.3)) == (True, [])
    limit = task.calibrator("threat").threshold
    assert limit is not None
    assert (scores > limit).sum() <= 3


def test_rows_without_a_label_are_normal_to_a_rule_where_none_is_learnt_from() -> None:
    scores, unlabelled = np.arange(100.0) + 7, np.full(100, -100)
    rule = ThresholdRule("false_positive_rate", 0.05)
    task = task_of(**UNSUPERVISED, head={"calibration": "none"})
    task.calibrate(SPACE, scores, unlabelled)
    assert task.decide(SPACE, scores, unlabelled, rule) == (True, [])
    limit = task.calibrator("threat").threshold
    assert limit is not None
    assert (scores > limit).sum() == 5
    learning = task_of()
    learning.calibrator("threat").fit(scores, scores < 0, method="none", target_fpr=0.5)
    before = learning.calibrator("threat").threshold
    told = ["no row has a label; alerts keep the head's target_fpr"]
    assert learning.decide(SPACE, scores, unlabelled, rule) == (False, told)
    assert learning.calibrator("threat").threshold == before


def test_scores_that_only_float64_tells_apart_raise_no_alert_too_many() -> None:
    calibrator, low = task_of().calibrator("threat"), 1.0 + 1e-12
    calibrator.alert_from(low + 1e-12, below=low)
    assert low <= float(calibrator.limit)


def test_scores_are_calibrated_by_the_task_alone_and_classes_have_sets() -> None:
    logits = torch.zeros(2, 3)
    assert task_of().evidence(SPACE, logits, np.array([0, 1])) is None
    assert task_of().strangeness(SPACE, np.array([0, 0]), logits, np.array([0, 1])) is not None
    assert task_of().unlikeness(SPACE, logits, "energy") is None, "the task's own score is that"
    assert task_of(**UNSUPERVISED).strangeness(SPACE, np.array([0, 0]), logits[:, :1], np.array([0, 1])) is None


def test_cross_entropy_is_that_of_the_classes() -> None:
    task = task_of(head={"class_weight": [1.0, 2.0, 3.0], "label_smoothing": 0.1}).eval()
    output = output_of(task, TARGETS)
    expected = F.cross_entropy(
        output.logits["threat"], TARGETS, weight=torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1, reduction="sum"
    )
    torch.testing.assert_close(output.loss, expected / 4)


def focal_losses(logits: torch.Tensor, targets: torch.Tensor, gamma: float, weight: list[float]) -> torch.Tensor:
    """Lin et al. 2017, equation 5, of each row."""
    p = logits.softmax(1)[torch.arange(len(targets)), targets]
    return -torch.tensor(weight)[targets] * (1 - p) ** gamma * p.log()


@pytest.mark.parametrize("gamma", [None, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
def test_focal_loss_and_its_gradient_are_those_of_its_equation(gamma: float | None, weight: list[float] | None) -> None:
    task = task_of(loss="focal", gamma=gamma, head={"class_weight": weight}).eval()
    output = output_of(task, TARGETS)
    known = TARGETS != -100
    losses = focal_losses(output.logits["threat"][known], TARGETS[known], gamma or 2.0, weight or [1.0, 1.0, 1.0])
    torch.testing.assert_close(output.loss, losses.mean())
    weights = task.heads.weight
    wanted = torch.autograd.grad(losses.mean(), weights)[0]
    torch.testing.assert_close(torch.autograd.grad(torch.as_tensor(output.loss), weights)[0], wanted)


def test_focal_loss_of_rows_that_are_certain_has_a_finite_gradient() -> None:
    task = task_of(loss="focal", gamma=0.5)
    with torch.no_grad():
        task.heads.bias.copy_(torch.tensor([200.0, 0.0, 0.0]))
    output_of(task, TARGETS).loss.backward()
    assert task.heads.bias.grad is not None
    assert task.heads.bias.grad.isfinite().all()


def test_focal_loss_counts_labelled_rows_and_weighs_heads() -> None:
    heads = [
        {"name": name, "num_labels": 3, "labels": list(LABELS), "weight": w} for name, w in (("a", 1.0), ("b", 2.0))
    ]
    task = task_of(heads=heads, loss="focal", gamma=1.5).eval()
    labels = {"a": TARGETS, "b": torch.full((5,), -100)}
    output = output_of(task, labels)
    assert output.count is not None
    assert output.count.tolist() == [4, 0]
    known = TARGETS != -100
    losses = focal_losses(output.logits["a"][known], TARGETS[known], 1.5, [1.0, 1.0, 1.0])
    torch.testing.assert_close(output.loss, losses.mean())
    other = output_of(task_of(heads=heads, loss="focal").eval(), labels)
    assert not torch.allclose(torch.as_tensor(other.loss), torch.as_tensor(output.loss)), "gamma has a default of 2"


def test_the_score_ranks_as_one_minus_the_probability_of_normal() -> None:
    logits = torch.randn(50, 3, generator=seeds.generator(0)).double() * 4
    p = logits.softmax(1)[:, 0]
    torch.testing.assert_close(anomaly_log_odds(logits, 0), ((1 - p) / p).log())
    # Of two classes there is nothing to sum up, and a third one that is out of the question changes no bit.
    certain = torch.cat([logits[:, :2], torch.full((len(logits), 1), -torch.inf)], dim=1)
    for normal in (0, 1):
        assert torch.equal(anomaly_log_odds(logits[:, :2], normal), anomaly_log_odds(certain, normal))
    torch.testing.assert_close(anomaly_log_odds(logits, 2).sigmoid(), 1 - logits.softmax(1)[:, 2])
    task = task_of()
    certain = torch.tensor([[-50.0, 0.0, 0.0], [-60.0, 0.0, 0.0], [80.0, 0.0, 0.0], [90.0, 0.0, 0.0]])
    assert len(set(task.scores("threat", certain))) == 4, "certain rows keep their ranks"


# --------------------------------------------------------------------------------------------------------- unsupervised


@pytest.mark.parametrize("method", ["nearest", "autoencoder", "deep_svdd", "mahalanobis"])
def test_rows_of_another_class_are_masked_out_of_the_loss(method: str) -> None:
    task = task_of(**UNSUPERVISED, method=method)
    given = encoded()
    given.pooler_output.requires_grad_()
    output = output_of(task, TARGETS, given)
    assert output.count is not None
    assert output.loss is not None
    assert output.count.tolist() == [3], "a missing label counts as normal"
    rows = task.detector.loss(given, given.pooler_output)
    torch.testing.assert_close(output.loss, rows[[0, 2, 3]].mean())
    output.loss.backward()
    assert given.pooler_output.grad is not None
    assert given.pooler_output.grad.abs().sum(1).gt(0).tolist() == [True, False, True, True, False]


def test_an_anomaly_whose_loss_overflows_does_not_reach_the_loss_or_the_gradient() -> None:
    task, given = task_of(**UNSUPERVISED), encoded()
    assert given.features is not None
    given.features[1] = 1e30
    assert task.detector.loss(given, given.pooler_output)[1].isinf()
    output = output_of(task, TARGETS, given)
    assert output.loss is not None
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())


def test_labels_are_counted_as_the_loss_counts_them() -> None:
    for settings, expected in (({}, 4), (UNSUPERVISED, 3)):
        task = task_of(**settings)
        output = output_of(task, TARGETS)
        assert output.count is not None
        assert task.count_labels({"threat": TARGETS}) == [int(output.count)] == [expected]


def test_only_normal_rows_are_asked_of_the_data() -> None:
    labels = TARGETS.numpy()
    unsupervised = config(**UNSUPERVISED)
    kept = AnomalyDetectionTask.training_rows(unsupervised, labels, SPACE)
    assert kept is not None
    assert kept.tolist() == [True, False, True, True, False]
    assert AnomalyDetectionTask.training_rows(config(), labels, SPACE) is None
    assert not AnomalyDetectionTask.needs_labels(unsupervised)
    assert AnomalyDetectionTask.needs_labels(config())


def test_the_logit_is_the_error_and_the_score_its_logarithm() -> None:
    task = task_of(**UNSUPERVISED).eval()
    logits = output_of(task).logits["threat"].detach()
    assert logits.shape == (5, 1)
    torch.testing.assert_close(logits[:, 0], task.detector.error(encoded()))
    np.testing.assert_allclose(task.scores("threat", logits), logits[:, 0].double().log().numpy())
    broken = torch.tensor([[0.0], [float("inf")], [float("nan")]])
    scores = task.scores("threat", broken)
    assert np.isfinite(scores).all()
    assert scores[1] == scores[2] > scores[0]


def test_in_training_with_labels_no_score_is_computed() -> None:
    assert output_of(task_of(**UNSUPERVISED).train(), TARGETS).logits == {}
    # The supervised loss makes them anyway.
    logits = output_of(task_of(loss="focal").train(), TARGETS).logits
    assert not any(each.requires_grad for each in logits.values())


# ------------------------------------------------------------------------------------------------------------ observers


def test_the_mean_of_the_features_is_that_of_normal_rows() -> None:
    for settings in ({}, UNSUPERVISED):
        task = task_of(**settings)
        observe(task, "start")
        features = encoded().features
        assert features is not None
        torch.testing.assert_close(task.feature_mean, features[[0, 2, 3]].mean(0))
    assert task_of(None).observer("start") is None, "nothing to see where the encoder reads no features"


def test_the_centre_is_fixed_at_the_start_and_what_scores_before_each_evaluation() -> None:
    svdd = task_of(None, **UNSUPERVISED, method="deep_svdd")
    observe(svdd, "start")
    assert svdd.detector.centre.abs().min() >= 0.1  # type: ignore[operator]
    assert svdd.observer("evaluation") is None
    task = task_of(**UNSUPERVISED)
    observe(task, "evaluation")
    torch.testing.assert_close(task.detector.spread, task.detector.squares(encoded())[[0, 2, 3]].mean(0))  # type: ignore[operator]
    task = task_of(**UNSUPERVISED, method="mahalanobis")
    observe(task, "evaluation")
    torch.testing.assert_close(task.detector.mean, encoded().pooler_output[[0, 2, 3]].mean(0))


def test_training_rows_without_a_normal_one_are_an_error() -> None:
    with pytest.raises(DataError, match=r"tasks\[t\]: no training row is normal"):
        observe(task_of(**UNSUPERVISED), "start", torch.tensor([1, 1, 2, 2, 2]))


# ------------------------------------------------------------------------------------------------------ after training


def test_calibrate_fits_the_threshold_to_normal_rows_and_predict_obeys_it() -> None:
    task = task_of(**UNSUPERVISED, head={"target_fpr": 0.1, "calibration": "none"})
    errors = np.arange(1.0, 21.0)
    targets = np.array([0] * 10 + [-100] * 10)
    logits = torch.from_numpy(errors).unsqueeze(1)
    assert task.predict("threat", logits).tolist() == [0] * 20, "before it is fitted there is no alert"
    assert task.calibrate(SPACE, task.scores("threat", logits), targets) == []
    assert task.predict("threat", logits).sum() == 2, "rows without a label count as normal"
    calibrator = task.calibrator("threat")
    assert calibrator.fitted_on == (20, 0)


def test_a_supervised_head_is_calibrated_on_labelled_rows_only() -> None:
    task = task_of(head={"target_fpr": 0.5})
    task.calibrate(SPACE, np.array([0.0, 1.0, 2.0, 9.0]), np.array([0, 0, 1, -100]))
    assert task.calibrator("threat").fitted_on == (2, 1)


def test_too_few_normal_rows_for_the_target_are_told() -> None:
    [warning] = task_of().calibrate(SPACE, np.arange(50.0), np.zeros(50, int))
    assert "head 't.threat': 50 normal validation rows cannot show a false alarm rate of 0.01" in warning


def test_without_a_normal_validation_row_there_is_no_threshold() -> None:
    with pytest.raises(DataError, match=r"head 't.threat': no validation row is normal \('normal'\)"):
        task_of().calibrate(SPACE, np.arange(3.0), np.array([1, 2, 1]))


def test_metrics_need_scores_and_keep_to_their_names() -> None:
    task = task_of()
    rng = np.random.default_rng(seeds.derived(0))
    # Mostly right, so that there are alerts and none of the metrics is undefined.
    targets = rng.integers(0, 3, 60)
    logits = torch.from_numpy(rng.normal(size=(60, 3)) + 3 * np.eye(3)[targets])
    scores = task.scores("threat", logits)
    found = task.metrics(SPACE, task.predict("threat", logits), targets, scores=scores)
    declared = [metric.name for metric in task.declared_metrics(SPACE)]
    assert declared[0] == "auroc"
    assert set(found) == set(declared)
    with pytest.raises(TypeError, match=r"t\.threat: the metrics of an anomaly head need its scores"):
        task.metrics(SPACE, logits.argmax(1).numpy(), targets)
    details = task.details(SPACE, task.predict("threat", logits), targets, scores=scores)
    assert details["detection"]["normal"] == "normal"


def test_all_that_was_fitted_comes_back_from_the_state_dict() -> None:
    for settings in (
        {},
        UNSUPERVISED,
        {**UNSUPERVISED, "method": "mahalanobis"},
        {**UNSUPERVISED, "method": "deep_svdd"},
    ):
        task, again = task_of(**settings), task_of(**settings)
        observe(task, "start")
        if task.observer("evaluation") is not None:
            observe(task, "evaluation")
        task.calibrate(SPACE, np.linspace(-3, 3, 200), np.arange(200) // 180)
        again.load_state_dict(task.state_dict())
        logits = output_of(task.eval()).logits["threat"].detach()
        again_logits = output_of(again.eval()).logits["threat"].detach()
        assert torch.equal(again_logits, logits)
        assert torch.equal(again.feature_mean, task.feature_mean)
        assert again.calibrator("threat").threshold == task.calibrator("threat").threshold
        np.testing.assert_array_equal(again.predict("threat", logits), task.predict("threat", logits))


def answers(predictions: Any, logits: list[torch.Tensor], *, task: BaseTask, probabilities: bool = False) -> Any:
    rows = Texts([""] * len(logits))
    return task.answers(FLOWS, predictions, logits, rows, as_words=[False] * len(logits), probabilities=probabilities)


FLOWS = HeadSpace("task", "head", "class", 3, ("normal", "dos", "probe"))


def anomaly_task(*, fitted: bool = True, **settings: Any) -> AnomalyDetectionTask:
    """A task whose threshold lies at raw score 0 (supervised), or at an error of 1."""
    head = {"name": "head", "num_labels": 3, "labels": list(FLOWS.labels), "calibration": "none"}
    config = AnomalyConfig.model_validate(
        {"name": "task", "type": "anomaly_detection", "data_path": "x", "heads": [head], **settings}
    )
    task = AnomalyDetectionTask(config, 2)
    if fitted:
        task.calibrate(FLOWS, np.zeros(100), np.zeros(100, np.int64))
    return task


def test_a_supervised_anomaly_has_score_alert_threshold_and_class() -> None:
    logits = [torch.tensor([np.log(3.0), 0.0, -200.0]), torch.tensor([0.0, np.log(2.0), np.log(6.0)])]
    first, second = answers(np.array([0, 2]), logits, task=anomaly_task())
    assert first == {"score": 0.25, "alert": False, "threshold": 0.5, "label": "normal", "probability": 0.75}
    assert second["alert"] is True
    assert second["score"] == pytest.approx(8 / 9, abs=1e-6)
    assert second["label"] == "probe"


def test_all_probabilities_are_given_on_request() -> None:
    [found] = answers(np.array([0]), [torch.zeros(3)], task=anomaly_task(), probabilities=True)
    assert found["probabilities"] == {"normal": 0.333333, "dos": 0.333333, "probe": 0.333333}


def test_an_unsupervised_anomaly_has_no_class() -> None:
    task = anomaly_task(mode="unsupervised", method="deep_svdd")
    found = answers(np.array([0, 1]), [torch.tensor([0.5]), torch.tensor([3.0])], task=task)
    assert found == [
        {"score": 0.5, "alert": False, "threshold": 1.0},
        {"score": 3.0, "alert": True, "threshold": 1.0},
    ]


def test_a_head_whose_threshold_was_never_fitted_gives_no_answer() -> None:
    with pytest.raises(SetupError, match=r"head 'task.head': the run ended before the threshold .*--resume"):
        answers(np.array([0]), [torch.zeros(3)], task=anomaly_task(fitted=False))


def test_the_worst_errors_are_those_furthest_on_the_wrong_side_of_the_threshold() -> None:
    task = task_of(**UNSUPERVISED)
    logits = [torch.tensor([each]).exp() for each in (1.0, 2.5, 1.5, 3.0, 2.9)]
    targets = np.array([1, 0, 0, -100, 2])
    before = task.errors(SPACE, np.zeros(5), targets, logits)
    assert before is None  # nothing says yet where alerts begin
    normal = np.array([1.0, 2.0])
    task.calibrator("threat").fit(normal, np.zeros(2, bool), method="none", target_fpr=0.01)
    assert task.calibrator("threat").threshold == 2.0
    found = task.errors(SPACE, np.array([0, 1, 0, 1, 1]), targets, logits)
    assert found is not None
    assert found.sizes == pytest.approx([1.0, 0.5, 0, 0, 0], rel=1e-5)
    words = task.written(SPACE, [0, 1], [1, 0], Texts(["a", "b"]))
    assert words == [("dos", "no alert"), ("normal", "alert")]


def test_the_worst_errors_of_a_supervised_head_are_those_of_its_classes() -> None:
    task = task_of()
    logits = [torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])]
    found = task.errors(SPACE, np.array([0, 1]), np.array([2, 1]), logits)
    assert found is not None
    assert found.sizes == pytest.approx([float(F.cross_entropy(logits[0], torch.tensor(2))), 0])
    assert task.written(SPACE, [0, 1], [2, 1], Texts(["a", "b"])) == [("probe", "normal"), ("dos", "dos")]
