"""Pictures through the whole life of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jenga
from jenga.callbacks import BaseCallback
from jenga.errors import ConfigError, InterruptedRun
from jenga.inference.export import export
from jenga.run.experiment import load_config, train

pytestmark = pytest.mark.usefixtures("without_report")


class StopAt(BaseCallback):
    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        trainer.interrupted = trainer.state.step == 12


@pytest.fixture
def experiment(write_shapes: Callable[[int], Path], tmp_path: Path) -> dict[str, Any]:
    return {
        "model": {"backbone_type": "vision", "base_model": "jenga/tiny-vision", "image_size": 24,
                  "augment": {"shift": 2}},
        "tasks": [{"name": "shape", "type": "classification", "data_path": str(write_shapes(120))}],
        "training": {"max_steps": 40, "batch_size": 12, "log_every_steps": 1},
        "data": {"max_bad_fraction": 0.05},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }  # fmt: skip


def test_pictures_train_resume_predict_and_export(experiment: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "png" / "7.png").write_bytes(b"no picture")
    whole = train(experiment, device="cpu")
    assert whole.metrics["test_shape_label_accuracy"] > 0.9
    assert "7.png: it is no picture" in (whole.run / "quarantine.jsonl").read_text(encoding="utf-8")
    with pytest.raises(InterruptedRun):
        train(experiment, device="cpu", callbacks=[StopAt()])
    assert train(experiment, device="cpu", resume="auto").evaluation == whole.evaluation
    rows = [{"image": str(tmp_path / "png" / f"{at}.png")} for at in (0, 1, 7)]
    answers = jenga.load(whole.run, device="cpu").predict(rows)
    assert [answer["shape"]["label"]["label"] for answer in answers[:2]] == ["square", "disc"]
    assert "no known format" in answers[2]["error"]
    assert jenga.load(export(whole.run, tmp_path / "out"), device="cpu").predict(rows) == answers


def test_an_image_model_of_transformers_trains_with_adapters(experiment: dict[str, Any], vit: str) -> None:
    experiment["model"] = {"backbone_type": "vision", "base_model": vit}
    experiment["peft"] = {"type": "lora", "rank": 2}
    experiment["training"]["max_steps"] = 3
    result = train(experiment, device="cpu")
    assert result.metrics["test_shape_loss"] > 0
    assert (result.run / "best" / "backbone" / "adapter_model.safetensors").is_file()


def test_adapters_in_the_preset_are_refused(experiment: dict[str, Any]) -> None:
    experiment["peft"] = {"type": "lora"}
    with pytest.raises(ConfigError, match="jenga/tiny-vision starts from nothing"):
        load_config(experiment)
