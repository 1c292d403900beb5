"""Whole trainings in stages: each method, what it keeps, and going on in the middle of one."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jenga.callbacks import Action, BaseCallback
from jenga.errors import ConfigError, InterruptedRun
from jenga.run.build import build
from jenga.run.experiment import load_config, train

pytestmark = pytest.mark.usefixtures("without_report")
Settings = Callable[..., dict[str, Any]]

METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "replay": {"continual": {"replay": {"memory": 12}}},
    "agem": {"continual": {"agem": {"memory": 12, "rows_per_step": 6}}},
    "ewc": {"continual": {"ewc": {"strength": 1e6, "rows": 8}}},
    "all": {
        "continual": {"replay": {"memory": 12, "rows_per_step": 3}, "agem": {"rows_per_step": 4}, "ewc": {}},
        "training": {"ema": 0.9},
    },
}


class StopAt(BaseCallback[Any]):
    """Interrupts at a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        if trainer.state.step == self.step:
            signal.raise_signal(signal.SIGINT)


class Rates(BaseCallback[Any]):
    """Notes the rate and the tasks' losses of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, grad_norm: Any, **kwargs: Any) -> None:
        self.rates.append(trainer.optimizer.param_groups[0]["lr"])


def of(staged: Settings, name: str, **blocks: Any) -> dict[str, Any]:
    merged = {**METHODS[name]}
    for key, block in blocks.items():
        merged[key] = {**merged.get(key, {}), **block}
    return staged(**merged)


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted((run / "best").rglob("*.safetensors"))
    assert len(files) > 1
    return {f"{file.name}/{name}": each for file in files for name, each in load_file(file).items()}


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "continual.json").read_text())
    return found


def matrix(run: Path) -> list[list[float]]:
    found: list[list[float]] = record(run)["matrix"]
    return found


def test_who_learns_a_contradiction_forgets_and_the_record_says_so(staged: Settings) -> None:
    run = train(of(staged, "plain", training={"epochs": 12}), device="cpu").run
    found = record(run)
    assert [stage["name"] for stage in found["stages"]] == ["one", "two"]
    assert [(stage["rows"], stage["judged_rows"], stage["split"]) for stage in found["stages"]] == [
        (24, 12, "test")
    ] * 2
    assert found["metric"] == "accuracy"
    assert found["matrix"][0][0] > 0.8 > 0.3 > found["matrix"][1][0]
    assert found["matrix"][1][1] > 0.8
    assert found["summary"]["forgetting"] == pytest.approx(found["matrix"][0][0] - found["matrix"][1][0])
    assert len(found["before"]) == len(found["baselines"]["prototypes"]["matrix"]) == 2


@pytest.mark.parametrize("name", ["ewc", "all"])
@pytest.mark.parametrize("step", [4, 6, 9])
def test_a_run_stopped_in_a_stage_or_at_its_end_goes_on_bit_for_bit(staged: Settings, name: str, step: int) -> None:
    settings = of(staged, name, training={"epochs": 2}, checkpoint={"every_steps": 100})
    whole = train({**settings, "project_name": "whole"}, device="cpu").run
    with pytest.raises(InterruptedRun):
        train(settings, device="cpu", callbacks=[StopAt(step)])
    parts = train(settings, device="cpu", resume="auto").run
    one, other = weights(whole), weights(parts)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert record(whole) == record(parts)


@pytest.mark.parametrize("name", ["replay", "agem", "ewc"])
def test_each_method_changes_the_second_stage_and_not_the_first(staged: Settings, name: str) -> None:
    plain, other = (train(of(staged, each), device="cpu").run for each in ("plain", name))
    assert record(plain)["heads"][0] == record(other)["heads"][0]
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (plain, other)]
    norms = [[each["grad_norm"] for each in run if each["event"] == "train"] for run in lines]
    assert norms[0][:6] == norms[1][:6]
    # The first step of a stage has a rate of 0, and only behind the second are the weights elsewhere for EWC.
    assert all(one != two for one, two in zip(norms[0][8:], norms[1][8:], strict=True))


def test_a_method_keeps_more_than_none(staged: Settings) -> None:
    # No feature tells the parts apart, whose labels contradict one another: what is kept is lost for the other.
    found = {}
    for name in ("plain", "replay", "ewc"):
        run = train(of(staged, name, training={"epochs": 12}), device="cpu").run
        found[name] = record(run)["summary"]["forgetting"]
    assert found["replay"] < found["plain"]
    assert found["ewc"] < found["plain"]


def test_every_stage_has_the_schedule_of_its_own_steps(staged: Settings) -> None:
    rates = Rates()
    train(staged(), device="cpu", callbacks=[rates])
    assert len(rates.rates) == 12
    assert rates.rates[:6] == rates.rates[6:]
    assert len(set(rates.rates[:6])) > 3


def test_the_result_is_the_last_model_whatever_the_validation_rows_say(staged: Settings) -> None:
    settings = staged(data={"valid_fraction": 0.25}, training={"epochs": 6})
    run = train(settings, device="cpu").run
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["metrics"]["eval_loss"] for line in lines if line["event"] == "eval"]
    steps = [line["step"] for line in lines if line["event"] == "eval"]
    assert min(losses) < losses[-1], "another model was better on the rows of all stages"
    assert json.loads((run / "run.json").read_text())["best_step"] == steps[-1]
    final = json.loads((run / "evaluation.json").read_text())["splits"]["test"]["metrics"]["go_way_accuracy"]
    assert final == pytest.approx(sum(matrix(run)[-1]) / 2)


def test_a_stage_trains_its_own_tasks_alone_over_the_same_rows(two_tasks: dict[str, Any]) -> None:
    run = train(two_tasks, device="cpu").run
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    tasks = [set(line["task_loss"]) for line in lines if line["event"] == "train"]
    assert tasks == [{"go"}] * 12 + [{"look"}] * 12
    found = record(run)
    assert [set(each) for each in found["heads"][0]] == [{"go.way"}, {"look.side"}]
    assert found["summary"]["forward_transfer"] is None, "no earlier stage had trained that head"


def test_replay_keeps_a_head_that_another_stage_does_not_train(two_tasks: dict[str, Any]) -> None:
    run = train({**two_tasks, "continual": {"replay": {}}}, device="cpu").run
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    tasks = [set(line["task_loss"]) for line in lines if line["event"] == "train"]
    assert tasks == [{"go"}] * 12 + [{"go", "look"}] * 12


def test_heads_without_a_common_score_are_refused_before_the_run(two_tasks: dict[str, Any], tmp_path: Path) -> None:
    two_tasks["tasks"][1] = {**two_tasks["tasks"][1], "type": "regression", "heads": [{"name": "y", "column": "y"}]}
    two_tasks["model"]["refinery"]["schema"]["fields"].pop()
    with pytest.raises(ConfigError, match=r"no score in common \(go.way: accuracy, greater .*look.y: mae, less"):
        train(two_tasks, device="cpu")
    assert not (tmp_path / "runs").exists()


def test_a_longer_training_is_another_one_where_there_are_stages(staged: Settings) -> None:
    with pytest.raises(InterruptedRun) as stopped:
        train(staged(), device="cpu", callbacks=[StopAt(2)])
    run = str(stopped.value).split("saved ")[1].split("/checkpoints")[0]
    with pytest.raises(ConfigError, match="was made with another configuration"):
        train(staged(training={"epochs": 3}), device="cpu", resume=run)


def test_stages_of_other_classes_share_one_head_and_the_mark_is_no_feature(staged: Settings, tmp_path: Path) -> None:
    settings = staged(stages=[{"name": way, "where": {"way": [way]}} for way in ("up", "down")])
    del settings["model"]["refinery"]
    run = train(settings, device="cpu").run
    found = record(run)
    assert sum(stage["rows"] for stage in found["stages"]) == 48
    assert found["matrix"][0] == [1.0, 0.0], "all that it has seen is up"
    by_part = build(load_config(staged(model={"refinery": {}})), tmp_path).bundle.inputs["shared"].describe()
    fields = {path for path, _ in by_part["fields"]}
    assert {"x", "side"} <= fields
    assert not {"part", "way"} & fields


class BackOnce(BaseCallback[Any]):
    """Asks to go back before a step, and notes the rates of the steps that are taken."""

    def __init__(self, step: int | None) -> None:
        self.step, self.rates = step, []  # type: ignore[var-annotated]

    def on_train_begin(self, trainer: Any, **kwargs: Any) -> None:
        trainer.save()

    def on_before_optimizer_step(self, trainer: Any, grad_norm: Any, **kwargs: Any) -> Action | None:
        if trainer.state.step == self.step:
            self.step, self.rates = None, []
            return Action.ROLLBACK
        self.rates.append(trainer.optimizer.param_groups[0]["lr"])
        return None


def test_a_turn_left_out_of_one_stage_takes_nothing_from_the_schedule_of_the_next(staged: Settings) -> None:
    whole, back = BackOnce(None), BackOnce(3)
    train(staged(), device="cpu", callbacks=[whole])
    run = train(staged(checkpoint={"every_steps": 100}), device="cpu", callbacks=[back]).run
    assert len(json.loads((run / "run.json").read_text())["left_out"]) == 1
    assert (len(whole.rates), len(back.rates)) == (12, 11)
    assert back.rates[5:] == whole.rates[6:]
    assert len(matrix(run)) == 2


def test_a_run_that_is_stopped_leaves_its_last_model_too(staged: Settings, tmp_path: Path) -> None:
    settings = staged(data={"valid_fraction": 0.25}, training={"epochs": 6})
    with pytest.raises(InterruptedRun):
        train(settings, device="cpu", callbacks=[StopAt(28)])
    (best,) = (tmp_path / "runs").glob("*/*/best/heads.safetensors")
    (kept,) = best.parents[1].glob("checkpoints/step-*/model.safetensors")
    last = load_file(kept)
    assert [name for name, each in load_file(best).items() if not torch.equal(each, last[name])] == []


def test_a_run_is_the_same_whoever_makes_its_batches(staged: Settings) -> None:
    runs = [train(of(staged, "all", data={"workers": workers}), device="cpu").run for workers in (0, 1)]
    one, other = (weights(run) for run in runs)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert record(runs[0]) == record(runs[1])
