"""Sound through the whole life of a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tones import RATE, tone

import jenga
from jenga.callbacks import BaseCallback
from jenga.errors import ConfigError, DataError, InterruptedRun
from jenga.inference.export import export
from jenga.run.experiment import load_config, train

pytestmark = pytest.mark.usefixtures("without_report")


@pytest.fixture
def experiment(whisper: str, write_clips: Callable[..., Path], tmp_path: Path) -> dict[str, Any]:
    return {
        "model": {"backbone_type": "audio", "base_model": whisper, "min_seconds": 0.5},
        "tasks": [{"name": "pitch", "type": "classification", "data_path": str(write_clips(60))}],
        "training": {"max_steps": 30, "batch_size": 8, "learning_rate": 0.01, "log_every_steps": 1},
        "data": {"cache_dir": str(tmp_path / "cache"), "max_bad_fraction": 0.05},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }


class StopAt(BaseCallback):
    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        trainer.interrupted = trainer.state.step == 12


def test_clips_train_resume_predict_and_export(experiment: dict[str, Any], tmp_path: Path) -> None:
    lines = Path(experiment["tasks"][0]["data_path"])
    with lines.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "bad", "audio": "clips.jsonl", "label": "low"}) + "\n")
    whole = train(experiment, device="cpu")
    assert whole.metrics["test_pitch_label_accuracy"] == 1
    (bad,) = [json.loads(line) for line in (whole.run / "quarantine.jsonl").read_text().splitlines()]
    assert "it is no recording" in bad["reason"]
    assert bad["row"] == 61
    with pytest.raises(InterruptedRun):
        train(experiment, device="cpu", callbacks=[StopAt()])
    resumed = train(experiment, device="cpu", resume="auto")
    assert resumed.evaluation == whole.evaluation

    soundfile.write(tmp_path / "new.wav", tone(1500, 0.4), RATE)
    rows = [{"audio": str(tmp_path / "new.wav")}, {"audio": {"array": tone(200, 0.4).tolist(), "sampling_rate": RATE}},
            {"audio": str(lines)}, {"audio": None}]  # fmt: skip
    kept = sorted((tmp_path / "cache").rglob("*"))
    answers = jenga.load(whole.run, device="cpu").predict(rows)
    assert [answer["pitch"]["label"]["label"] for answer in answers[:2]] == ["high", "low"]
    assert "no recording" in answers[2]["error"]
    assert answers[3]["error"] == "column 'audio' is empty"
    # What a run keeps of its own rows is no place for those of whoever asks its model, on this machine or another.
    assert sorted((tmp_path / "cache").rglob("*")) == kept
    shutil.rmtree(tmp_path / "cache")
    assert jenga.load(export(whole.run, tmp_path / "out"), device="cpu").predict(rows) == answers
    assert not (tmp_path / "cache").exists()
    assert "seconds" in (whole.run / "README.md").read_text(encoding="utf-8")


def test_recordings_that_cannot_be_judged_are_told_and_too_many_stop(
    experiment: dict[str, Any], write_clips: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment["training"]["max_steps"] = 2
    predictor = jenga.load(train(experiment, device="cpu").run, device="cpu")
    lines = write_clips(40).read_text(encoding="utf-8").splitlines()
    (tmp_path / "wav" / "3.wav").write_bytes(b"")
    judged = tmp_path / "judged.jsonl"
    judged.write_text("\n".join(lines), encoding="utf-8")
    assert predictor.evaluate(str(judged))["rows"] == 39
    assert "judged.jsonl: 1 rows cannot be used and do not count; the first:" in caplog.text
    for at in range(5):
        (tmp_path / "wav" / f"{at}.wav").write_bytes(b"")
    with pytest.raises(DataError, match="5 of 40 rows cannot be used"):
        predictor.evaluate(str(judged))


def test_a_split_with_too_many_bad_recordings_stops(experiment: dict[str, Any]) -> None:
    for path in list(Path(experiment["tasks"][0]["data_path"]).parent.glob("wav/?.wav")):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="10 of 60 rows cannot be used"):
        train(experiment, device="cpu")


def test_settings_of_texts_are_refused_beside_sound(experiment: dict[str, Any]) -> None:
    experiment["tasks"][0] |= {"max_length": 12}
    with pytest.raises(ConfigError, match="is for texts, and this model reads sound"):
        load_config(experiment)


def test_what_only_the_end_of_long_recordings_tells_is_learnt_and_answered_in_windows(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    lines = []
    for at in range(60):
        sound = np.concatenate([tone(500, 0.8 + at % 3 / 10), tone(1500 if at % 2 else 200, 0.7)])
        soundfile.write(tmp_path / f"{at}.wav", sound, RATE)
        lines.append(json.dumps({"audio": f"{at}.wav", "label": "high" if at % 2 else "low"}))
    (tmp_path / "long.jsonl").write_text("\n".join(lines))
    experiment["tasks"][0]["data_path"] = str(tmp_path / "long.jsonl")
    experiment["model"] |= {"min_seconds": 0, "max_seconds": 0.7}
    beginning = train(experiment, device="cpu")
    assert beginning.metrics["test_pitch_label_accuracy"] < 1
    experiment["model"] |= {"max_seconds": None, "window_seconds": 0.5, "window_stride_seconds": 0.4}
    result = train(experiment, device="cpu")
    assert result.metrics["test_pitch_label_accuracy"] == 1
    predictor = jenga.load(export(result.run, tmp_path / "out"), device="cpu")
    rows = [{"audio": str(tmp_path / f"{at}.wav")} for at in range(4)]
    answers = predictor.predict(rows)
    assert [answer["pitch"]["label"]["label"] for answer in answers] == ["low", "high"] * 2
    assert not any(answer.get("truncated") for answer in answers)
    # A row is heard alike whatever stands beside it.
    for row, answer in zip(rows, answers, strict=True):
        (alone,) = predictor.predict([row])
        assert alone["pitch"]["label"]["probability"] == pytest.approx(
            answer["pitch"]["label"]["probability"], abs=1e-5
        )


@pytest.mark.parametrize("kind", ["transcription", "sound_event_detection"])
def test_tasks_that_label_moments_are_refused_where_windows_are_pooled(experiment: dict[str, Any], kind: str) -> None:
    experiment["model"]["window_seconds"] = 1.0
    rows = Path(experiment["tasks"][0]["data_path"])
    said = {"text": "a", "events": [{"start": 0, "end": 0.2, "label": "a"}]}
    rows.write_text("".join(json.dumps({**json.loads(each), **said}) + "\n" for each in rows.read_text().splitlines()))
    experiment["tasks"][0]["type"] = kind
    with pytest.raises(ConfigError, match=r"labels moments, and the positions of .*leave window_seconds out"):
        train(experiment, device="cpu")


def test_windows_of_parted_encoders_are_refused(experiment: dict[str, Any]) -> None:
    """A process runs each layer once for eight windows, and would wait for one that has fewer."""
    experiment["model"]["window_seconds"] = 1.0
    experiment["training"]["fsdp"] = True
    with pytest.raises(
        ConfigError, match=r"model\.window_seconds: processes have as many windows as their rows ask for"
    ):
        load_config(experiment)
