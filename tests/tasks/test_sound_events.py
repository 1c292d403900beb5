"""Sound event detection: its frames, its loss, and a whole run of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import jenga
from jenga.callbacks import BaseCallback
from jenga.errors import InterruptedRun
from jenga.inference.export import export
from jenga.run.experiment import train
from jenga.samples.media import generate_scenes
from jenga.tasks.sound_events import SoundEventDetectionTask, SoundEventsConfig, on_frames
from jenga.types import BackboneOutput

NONE = [math.nan] * 3


def make_task(**head: Any) -> SoundEventDetectionTask:
    block = SoundEventsConfig(
        name="t", type="sound_event_detection", data_path="x", dropout=0.0,
        heads=[{"name": "h", "labels": ["a", "b"], "num_labels": 2, **head}],
    )  # fmt: skip
    task = SoundEventDetectionTask(block, 6)
    task.attach(SimpleNamespace(frame_seconds=0.5))  # type: ignore[arg-type]
    return task


def test_events_lie_on_the_frames_between_their_ends_and_on_one_at_least() -> None:
    events = torch.tensor([[[0.0, 0.0, -1.0], [0.6, 1.9, 1.0], [0.55, 0.6, 0.0]], [[0.0, 0.0, -1.0], NONE, NONE]])
    found = on_frames(events, 5, 2, frame_seconds=0.5)
    assert found[0].T.tolist() == [[0, 1, 0, 0, 0], [0, 1, 1, 1, 0]]
    assert not found[1].any()


def test_the_loss_is_the_mean_over_labelled_rows_of_the_mean_over_their_own_frames() -> None:
    task = make_task(pos_weight=[1.0, 3.0])
    hidden = torch.randn(3, 4, 6)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]])
    events = torch.tensor([[[0.0, 0.0, -1.0], [0.0, 1.0, 1.0]], [[0.0, 0.0, -1.0], NONE], [NONE, NONE]])
    found = task.get_forward_output(BackboneOutput(hidden, hidden.mean(1), mask), events)
    weight = torch.tensor([1.0, 3.0])
    first = F.binary_cross_entropy_with_logits(
        task.head(hidden[0]), torch.tensor([[0.0, 1], [0, 1], [0, 0], [0, 0]]), pos_weight=weight
    )
    second = F.binary_cross_entropy_with_logits(task.head(hidden[1, :2]), torch.zeros(2, 2), pos_weight=weight)
    torch.testing.assert_close(found.loss, (first + second) / 2)
    assert task.count_labels({"h": events}) == [2]


def test_answers_are_in_seconds_by_the_settings_of_the_head() -> None:
    logits = torch.tensor([[4.0, -4.0], [4.0, -4.0], [-4.0, 0.5]])
    assert make_task(min_seconds=0).predict("h", logits)[:, :3].tolist() == [[0.0, 1.0, 0.0], [1.0, 1.5, 1.0]]
    assert make_task(min_seconds=1.0).predict("h", logits)[:, :3].tolist() == [[0.0, 1.0, 0.0]]
    assert make_task(min_seconds=0, threshold=0.9).predict("h", logits)[:, :3].tolist() == [[0.0, 1.0, 0.0]]


class StopAt(BaseCallback):
    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        trainer.interrupted = trainer.state.step == 5


def test_a_run_resumes_is_judged_by_segments_and_onsets_predicts_exports_and_is_reported(tmp_path: Path) -> None:
    rows = [
        {**row, "audio": {**row["audio"], "array": row["audio"]["array"].round(4).tolist()}}
        for row in generate_scenes(48)
    ]
    path = tmp_path / "scenes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    experiment = {
        "model": {"backbone_type": "audio", "base_model": "jenga/tiny-audio", "min_seconds": 0},
        "tasks": [{"name": "scene", "type": "sound_event_detection", "data_path": str(path)}],
        "training": {"max_steps": 12, "batch_size": 4, "gradient_accumulation_steps": 2, "log_every_steps": 1},
        "data": {"cache_dir": str(tmp_path / "cache")},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }
    whole = train(experiment, device="cpu")
    (head,) = whole.evaluation["splits"]["test"]["heads"]
    assert (head["primary_metric"], head["greater_is_better"]) == ("segment_f1", True)
    assert {"label", "f1", "onset_f1"} <= set(head["details"]["per_label"][0])
    assert "onset f1" in (whole.run / "report.html").read_text(encoding="utf-8")
    with pytest.raises(InterruptedRun):
        train(experiment, device="cpu", callbacks=[StopAt()])
    assert train(experiment, device="cpu", resume="auto").evaluation == whole.evaluation
    given = list(generate_scenes(3, seed=5))
    predictor = jenga.load(whole.run, device="cpu")
    answers = predictor.predict(given)
    assert all(set(answer["scene"]["events"]) == {"events"} for answer in answers)
    assert jenga.load(export(whole.run, tmp_path / "out"), device="cpu").predict(given) == answers
    assert "scene_loss" in predictor.evaluate(str(path))["metrics"]
