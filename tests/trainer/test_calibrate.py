"""What tasks learn apart from the gradient; and whole runs of anomaly detection."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import jenga
from jenga.callbacks import BaseCallback
from jenga.errors import ConfigError, InterruptedRun
from jenga.modalities.events.encoder import EventEncoder
from jenga.run import experiment
from jenga.tasks.anomaly.explain import contributions
from jenga.trainer.calibrate import calibrate, observe, settle_norms
from jenga.trainer.evaluate import Runner

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data" / "nsl-kdd"
METHODS = ("nearest", "autoencoder", "deep_svdd", "mahalanobis")


def events(count: int, *, anomalies: float = 0.2, seed: int = 0) -> list[dict[str, Any]]:
    """Events of three numbers on a line; an anomaly lies off it. Every tenth has no label."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        at, odd = rng.normal(), rng.random() < anomalies
        numbers = np.array([at, -at, 2 * at]) + rng.normal(size=3) * (1.5 if odd else 0.1)
        row = {"a": numbers[0], "b": numbers[1], "c": numbers[2], "label": "attack" if odd else "normal"}
        rows.append({**row, "label": None} if i % 10 == 9 else row)
    return rows


@pytest.fixture
def of_events(tmp_path: Path, write_rows: Callable[..., str], without_report: None) -> Callable[..., dict[str, Any]]:
    """Return a function that makes an experiment on events; keywords go to its task, dicts of blocks under `blocks`."""

    def make(
        rows: list[dict[str, Any]] | None = None, *, head: dict[str, Any] | None = None, blocks: Any = None, **task: Any
    ) -> dict[str, Any]:
        path = write_rows(tmp_path / "rows.jsonl", events(400) if rows is None else rows)
        one = {"name": "threat", "labels": ["normal", "attack"], **(head or {})}
        content: dict[str, Any] = {
            "project_name": "test",
            "model": {"base_model": "mlp", "backbone_type": "sequential", "hidden_sizes": [8], "dropout": 0.1},
            "tasks": [{"name": "Threat", "type": "anomaly_detection", "data_path": path, "heads": [one], **task}],
            "training": {"epochs": 2, "batch_size": 32, "log_every_steps": 1},
            "evaluation": {"baselines": []},
            "tracking": {"enabled": False},
            "output_dir": str(tmp_path / "runs"),
        }
        for name, block in (blocks or {}).items():
            content[name] = {**content.get(name, {}), **block}
        return content

    return make


class StopAt(BaseCallback):
    """Interrupts a run after a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Any, **kwargs: Any) -> None:
        trainer.interrupted = trainer.state.step == self.step


def records(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "time_s"} for line in lines]


def built(config: dict[str, Any], folder: Path) -> tuple[Any, Runner]:
    made = experiment.build(experiment.load_config(config), folder)
    accelerator = experiment.make_accelerator("fp32", "cpu")
    return made, Runner(made.bundle.model, torch.device("cpu"), accelerator.autocast, {"shared": 64}, {})


# -------------------------------------------------------------------------------------------------------------- observe


def test_observing_draws_no_random_number_and_leaves_the_mode_as_it_was(
    of_events: Callable[..., Any], tmp_path: Path
) -> None:
    made, runner = built(of_events(mode="unsupervised", method="deep_svdd"), tmp_path)
    made.bundle.model.train()
    before = torch.get_rng_state()
    observe(runner, made.sources, "start")
    assert torch.equal(torch.get_rng_state(), before)
    assert made.bundle.model.training
    task, source = made.bundle.model.tasks["Threat"], made.sources[0].splits["train"]
    batch = source.batch(range(len(source)))
    normal = batch.inputs["features"][batch.labels["Threat"]["threat"] != 1]
    torch.testing.assert_close(task.feature_mean, normal.mean(0), atol=1e-5, rtol=1e-5)
    assert task.detector.centre.abs().min() >= 0.1


def test_rows_that_are_left_out_say_nothing_of_what_is_normal(of_events: Callable[..., Any], tmp_path: Path) -> None:
    made, runner = built(of_events(mode="unsupervised", method="mahalanobis"), tmp_path)
    task, source = made.bundle.model.tasks["Threat"], made.sources[0].splits["train"]
    source.left_out = frozenset(range(0, len(source), 3))
    observe(runner, made.sources, "start")
    batch = source.batch(source.learnt.tolist())
    normal = batch.inputs["features"][batch.labels["Threat"]["threat"] != 1]
    torch.testing.assert_close(task.feature_mean, normal.mean(0), atol=1e-5, rtol=1e-5)


def test_tasks_that_watch_nothing_cost_no_pass(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", "price")
    calls: list[int] = []
    runner = Runner(
        trainer.model, torch.device("cpu"), trainer.accelerator.autocast, {"shared": 8}, {}, lambda: calls.append(1)
    )
    for stage in ("start", "evaluation"):
        observe(runner, trainer.experiment.sources, stage)  # type: ignore[arg-type]
    assert calibrate(runner, trainer.experiment.sources) == []
    assert calls == []


# ---------------------------------------------------------------------------------------------------------------- norms


def test_statistics_are_those_of_the_present_weights_over_training_rows(
    of_events: Callable[..., Any], tmp_path: Path
) -> None:
    """Of 360 rows of 64 a batch all are seen once; dropout is off, and no random number is drawn."""
    norm_model = {"model": {"normalization": "batch", "dropout": 0.5}}
    made, runner = built(of_events(blocks=norm_model), tmp_path)
    model, rows = made.bundle.model.train(), made.sources[0].splits["train"]
    norm, momentum = model.encoders["shared"].layers[0].norm, model.encoders["shared"].layers[0].norm.momentum
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    before = torch.get_rng_state()
    settle_norms(runner, made.sources)
    assert torch.equal(torch.get_rng_state(), before)
    assert (norm.momentum, norm.training) == (momentum, False)
    assert sum(map(len, seen)) == len(rows)
    torch.testing.assert_close(norm.running_mean, torch.stack([each.mean(0) for each in seen]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([each.var(0) for each in seen]).mean(0))
    whole = model.encoders["shared"].layers[0].linear(rows.batch(range(len(rows))).inputs["features"])
    # A mean over batches, of which one is smaller.
    torch.testing.assert_close(norm.running_mean, whole.mean(0), atol=0.05, rtol=0.05)


def test_schedule_free_models_are_judged_by_statistics_of_the_judged_weights(
    of_events: Callable[..., Any], tmp_path: Path
) -> None:
    """Those of training come back for it."""
    pytest.importorskip("pytorch_optimizer", reason="jenga[optimizers] is not there")
    seen: list[torch.Tensor] = []

    class Note(BaseCallback):
        def on_evaluate(self, trainer: Any, metrics: dict[str, float], **kwargs: Any) -> None:
            norm = trainer.model.encoders["shared"].layers[0].norm
            rows = trainer.sources["Threat"].splits["train"]
            inside = trainer.model.encoders["shared"].layers[0].linear(rows.batch(range(len(rows))).inputs["features"])
            seen.extend([norm.running_mean.clone(), inside.detach().mean(0)])

        def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
            seen.append(trainer.model.encoders["shared"].layers[0].norm.running_mean.clone())

    blocks = {
        "model": {"normalization": "batch"},
        "training": {"optimizer": "schedulefreeadamw", "learning_rate": 0.1, "max_steps": 6},
        "evaluation": {"every_steps": 5},
    }
    result = jenga.train(of_events(blocks=blocks), callbacks=[Note()], device="cpu")
    losses = [each["metrics"]["eval_loss"] for each in records(result.run) if each["event"] == "eval"]
    assert result.metrics["eval_loss"] == pytest.approx(min(losses)), "they are saved with the model"
    before, judged, exact, after = seen[4:8]
    torch.testing.assert_close(judged, exact, atol=0.05, rtol=0.05)
    assert (before - exact).abs().max() > 0.2, "what training kept would have been wrong"
    assert (after - before).abs().max() < (judged - before).abs().max(), "it goes on from its own"


# ------------------------------------------------------------------------------------------------------------ calibrate


def test_without_validation_rows_the_training_rows_stand_in_with_a_warning(
    of_events: Callable[..., Any], tmp_path: Path
) -> None:
    config = of_events(blocks={"data": {"valid_fraction": 0.0, "test_fraction": 0.2}})
    result = experiment.train(config, device="cpu")
    warnings = json.loads((result.run / "run.json").read_text())["warnings"]
    assert any("there are no validation rows, so its threshold" in warning for warning in warnings)
    task = jenga.load(result.run, device="cpu").model.tasks["Threat"]
    assert sum(task.calibrator("threat").fitted_on) > 200
    assert "test_Threat_threat_auroc" in result.metrics


# ----------------------------------------------------------------------------------------------------------- whole runs


@pytest.mark.parametrize(("method", "stop_at"), [("nearest", 10), ("deep_svdd", 1), ("mahalanobis", 10)])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    of_events: Callable[..., Any], method: str, stop_at: int
) -> None:
    config = of_events(
        mode="unsupervised", method=method, dropout=0.2,
        blocks={"evaluation": {"every_steps": 4, "metric": "eval_Threat_threat_auroc", "baselines": []}},
    )  # fmt: skip
    straight = experiment.train(config, device="cpu")
    with pytest.raises(InterruptedRun):
        experiment.train(config, device="cpu", callbacks=[StopAt(stop_at)])
    resumed = experiment.train(config, device="cpu", resume="auto")
    assert resumed.run != straight.run
    assert records(resumed.run) == records(straight.run)
    first, second = ((run / "best" / "heads.safetensors").read_bytes() for run in (straight.run, resumed.run))
    assert first == second
    assert resumed.metrics == straight.metrics


@pytest.mark.parametrize(
    "task", [{"loss": "focal"}, {"mode": "unsupervised"}, {"mode": "unsupervised", "method": "deep_svdd"}]
)
def test_accumulation_is_one_big_batch(of_events: Callable[..., Any], task: dict[str, Any]) -> None:
    """A batch may hold few normal rows: the step's mean is over all of them, not over batch means."""
    found = []
    for size, steps in ((32, 1), (8, 4)):
        training = {"batch_size": size, "gradient_accumulation_steps": steps, "epochs": 1}
        result = experiment.train(
            of_events(**task, dropout=0.0, blocks={"training": training, "model": {"dropout": 0.0}}),
            device="cpu",
        )
        found.append([each for each in records(result.run) if each["event"] == "train"])
    for one, other in zip(*found, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_unlabelled_events_are_enough_to_train_on(of_events: Callable[..., Any], method: str) -> None:
    rows = [{name: value for name, value in row.items() if name != "label"} for row in events(300, anomalies=0.0)]
    result = experiment.train(of_events(rows, mode="unsupervised", method=method), device="cpu")
    predictor = jenga.load(result.run, device="cpu")
    calibrator = predictor.model.tasks["Threat"].calibrator("threat")
    assert calibrator.kind == "quantile"
    near, far = predictor.predict([{"a": 1.0, "b": -1.0, "c": 2.0}, {"a": 9.0, "b": 9.0, "c": -9.0}])
    assert near["Threat"]["threat"]["alert"] is False
    assert far["Threat"]["threat"]["alert"] is True
    assert far["Threat"]["threat"]["score"] > 0.97, "above all of 30 normal validation rows"


def test_two_tasks_may_read_the_same_events_one_of_them_without_labels(of_events: Callable[..., Any]) -> None:
    config = of_events()
    other = {**config["tasks"][0], "name": "Odd", "mode": "unsupervised"}
    config["tasks"].append(other)
    config["training"]["epochs"] = 8
    result = experiment.train(config, device="cpu")
    assert result.metrics["test_Odd_threat_auroc"] > 0.7
    losses = [each["head_loss"] for each in records(result.run) if each["event"] == "train"]
    for task in ("Threat", "Odd"):
        series = [each[task]["threat"] for each in losses]
        assert np.mean(series[-10:]) < np.mean(series[:10])


def test_a_text_model_takes_deep_svdd_and_refuses_reconstruction(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any], write_rows: Callable[..., str], tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "calls.jsonl", [{**row, "label": "normal"} for row in make_rows(40)])
    task = {"name": "odd", "type": "anomaly_detection", "mode": "unsupervised", "data_path": path}
    trainer = make_trainer(tasks=[{**task, "method": "deep_svdd"}])
    trainer.train()
    assert trainer.model.tasks["odd"].detector.centre.abs().min() >= 0.1
    with pytest.raises(ConfigError, match=r"tasks\[odd\]: there are no features to reconstruct"):
        make_trainer(tasks=[{**task, "method": "autoencoder"}])


# -------------------------------------------------------------------------------------------------------------- NSL-KDD


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl and test.jsonl, 3,000 rows each, evenly drawn."""
    if not REAL_DATA.is_dir():
        pytest.skip("the real rows (../shared/data) are not beside this checkout")
    folder = tmp_path_factory.mktemp("nsl-kdd")
    for name, split, every in (("KDDTrain+", "train", 41), ("KDDTest+", "test", 7)):
        with gzip.open(REAL_DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            (folder / f"{split}.jsonl").write_text("".join(itertools.islice(file, 0, 3000 * every, every)))
    return folder


@pytest.mark.parametrize(
    ("task", "least"),
    [
        ({}, 0.88), ({"loss": "focal"}, 0.88), ({"mode": "unsupervised"}, 0.92),
        ({"mode": "unsupervised", "method": "deep_svdd"}, 0.92),
        ({"mode": "unsupervised", "method": "mahalanobis"}, 0.92),
    ],
)  # fmt: skip
def test_attacks_are_told_from_normal_flows(flows: Path, tmp_path: Path, task: dict[str, Any], least: float) -> None:
    """Of the full data every way reaches more; these bounds leave room for 3,000 rows and few epochs."""
    result = experiment.train(
        {
            "project_name": "flows",
            "model": {
                "base_model": "security_mlp_v1", "backbone_type": "sequential", "refinery": {"preset": "nsl_kdd"},
            },
            "tasks": [
                {
                    "name": "Threat", "type": "anomaly_detection",
                    "data_path": {"train": str(flows / "train.jsonl"), "test": str(flows / "test.jsonl")},
                    "heads": [{"name": "threat", "num_labels": 2, "normal": "0"}], **task,
                }
            ],
            "training": {"epochs": 4, "batch_size": 64},
            "evaluation": {"metric": "eval_Threat_threat_auroc", "baselines": ["majority"]},
            "tracking": {"enabled": False},
            "output_dir": str(tmp_path),
        },
        device="cpu",
    )  # fmt: skip
    assert result.metrics["test_Threat_threat_auroc"] > least
    assert result.metrics["eval_Threat_threat_fpr"] <= 0.01
    assert "ROC: recall over false alarm rate" in (result.run / "report.html").read_text(encoding="utf-8")

    predictor = jenga.load(result.run, device="cpu")
    rows = [json.loads(line) for line in (flows / "test.jsonl").read_text().splitlines()][:500]
    answers = [row["Threat"]["threat"] for row in predictor.predict(rows)]
    scores = np.array([answer["score"] for answer in answers])
    assert roc_auc_score([row["label"] for row in rows], scores) > least - 0.03
    assert all(answer["alert"] == (answer["score"] > answer["threshold"]) for answer in answers)
    assert 0 < sum(answer["alert"] for answer in answers) < 500

    model, inputs = predictor.model, predictor.bundle.inputs["shared"]
    assert isinstance(inputs, EventEncoder)
    features = torch.from_numpy(inputs.refinery.transform(rows[:20]))
    parts = contributions(model.tasks["Threat"], model.encoders["shared"], features)
    assert parts.shape == features.shape
    assert np.isfinite(parts).all()
