"""Trackers beside MLflow, stood in for: what they are told, and what becomes of a run where one fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import jenga
from jenga.callbacks import trackers as module
from jenga.callbacks.trackers import Trackers
from jenga.errors import ConfigError
from jenga.run.experiment import load_config

LOGS: Any = {
    "event": "train", "loss": 1.5, "task_loss": {"intent": 1.0}, "head_loss": {"intent": {"topic": 1.0}},
    "grad_norm": 0.5, "learning_rate": {"backbone": 1e-5}, "epoch": 0.1,
}  # fmt: skip


class StandIn:
    """What accelerate's trackers are called as. `broken`: the method that fails."""

    made: ClassVar[list[StandIn]] = []
    broken: ClassVar[str] = ""

    def __init__(self, run_name: str, **options: Any) -> None:
        self.run_name, self.options = run_name, options
        self.settings: dict[str, Any] = {}
        self.told: list[tuple[int, dict[str, Any]]] = []
        self.calls: list[str] = []
        self.run = SimpleNamespace(summary={})
        self.made.append(self)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.broken:
            raise OSError("no way to https://me:secret@host")

    def start(self) -> None:
        self._call("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._call("store")
        self.settings = values

    def log(self, values: dict[str, Any], step: int) -> None:
        self._call("log")
        if "resume" in self.options and self.told and step < self.told[-1][0]:
            return  # as Weights & Biases has it
        self.told.append((step, values))

    def finish(self) -> None:
        self._call("finish")


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    import accelerate.tracking

    StandIn.made, StandIn.broken = [], ""
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", lambda: ["tensorboard", "wandb"])
    for name in ("tensorboard", "wandb"):
        monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, name, StandIn)
    return StandIn


@pytest.fixture
def view(make_view: Callable[..., Any]) -> Any:
    made = make_view()
    made.processes = SimpleNamespace(first=True)
    return made


def test_a_run_tells_its_settings_losses_and_metrics(view: Any) -> None:
    tracked = Trackers(to=["tensorboard", "wandb"], init={"wandb": {"entity": "us"}})
    tracked.on_train_begin(view)
    view.state.step = 10
    tracked.on_step_end(view, LOGS)
    tracked.on_step_end(view, None)
    tracked.on_evaluate(view, {"eval_loss": 0.7})
    evaluation = {"best_step": 5, "splits": {"test": {"metrics": {"intent_topic_f1": 0.9, "note": None}}}}
    tracked.on_result(view.folder, evaluation)
    tracked.on_close("finished")
    board, wandb = StandIn.made
    for each in (board, wandb):
        assert each.settings["tasks.intent.heads.topic.labels"] == '["a", "b"]'
        assert [step for step, _ in each.told[:2]] == [10, 10]
        assert each.told[0][1]["train_intent_topic_loss"] == 1.0
        assert each.told[1][1] == {"eval_loss": 0.7}
        assert each.calls[-1] == "finish"
    assert board.told[2:] == [(5, {"test_intent_topic_f1": 0.9})]
    assert wandb.run.summary == {"test_intent_topic_f1": 0.9}
    assert (board.run_name, wandb.run_name) == ("run", "calls")
    assert board.options == {"logging_dir": view.folder.parent / "tensorboard", "purge_step": 1}
    identity = wandb.options.pop("id")
    assert wandb.options == {"name": "run", "resume": "allow", "entity": "us"}
    again, other = view.folder, view.folder.parent.parent / "others" / "run"
    other.mkdir(parents=True)
    (other / "run.json").write_text("{}")
    assert module._id(again) == identity != module._id(other), "a trial of another study has the same name"


@pytest.mark.parametrize("broken", ["start", "store", "log", "finish"])
def test_one_that_fails_is_left_out_and_the_others_go_on(
    broken: str, view: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accelerate.tracking

    class Broken(StandIn):
        pass

    Broken.broken = broken
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Broken)
    tracked = Trackers(to=["tensorboard", "wandb"])
    with caplog.at_level(logging.WARNING):
        tracked.on_train_begin(view)
        for _ in range(3):
            tracked.on_step_end(view, LOGS)
        tracked.on_close("finished")
    assert [record.getMessage() for record in caplog.records] == [
        "callbacks.trackers: tensorboard failed and is off for the rest of this run: no way to https://***@host. "
        "Training goes on"
    ]
    (other,) = [each for each in StandIn.made if type(each) is StandIn]
    assert len(other.told) == 3


def test_only_the_first_process_tells(view: Any) -> None:
    view.processes = SimpleNamespace(first=False)
    tracked = Trackers(to=["wandb"])
    tracked.on_train_begin(view)
    tracked.on_step_end(view, LOGS)
    tracked.on_close("finished")
    assert StandIn.made == []


def test_one_that_hangs_is_not_waited_for(
    view: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    monkeypatch.setattr(StandIn, "log", lambda *_, **__: time.sleep(60))
    tracked = Trackers(to=["wandb"])
    tracked.on_train_begin(view)
    tracked.on_step_end(view, LOGS)
    tracked.on_close("finished")
    assert "nothing was sent for 0.1 s" in caplog.text


@pytest.mark.parametrize(
    ("name", "words"), [("aim", "aim is not installed; pip install aim"), ("mlflow", "allowed: aim, clearml")]
)
def test_what_is_not_there_is_refused_before_the_run(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"callbacks\.trackers\.to: .*{words}"):
        Trackers(to=[name])


@pytest.mark.usefixtures("without_report")
def test_yaml_names_them(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "model": {"base_model": "jenga/tiny-text"}, "output_dir": str(tmp_path), "tracking": {"enabled": False},
        "tasks": [{"name": "t", "type": "classification", "data_path": "jenga/helpline",
                   "columns": {"label": "sentiment"}}],
        "training": {"max_steps": 2}, "evaluation": {"baselines": [], "worst_errors": 0}, "data": {"max_rows": 60},
    }  # fmt: skip
    jenga.train({**content, "callbacks": {"trackers": {"to": ["wandb"], "project": "calls"}}}, device="cpu")
    (made,) = StandIn.made
    assert made.run_name == "calls"
    assert "test_loss" in made.run.summary
    with pytest.raises(ConfigError, match=r"callbacks\.trackers\.to\[0\]: unknown 'tb'"):
        load_config({**content, "callbacks": {"trackers": {"to": ["tb"]}}})
