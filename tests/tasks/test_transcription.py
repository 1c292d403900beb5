"""Transcription: its loss, and a whole run of it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import jenga
from jenga.callbacks import BaseCallback
from jenga.errors import ConfigError, DataError, InterruptedRun
from jenga.inference.export import export
from jenga.run.experiment import load_config, train
from jenga.samples.media import generate_spelt
from jenga.tasks.transcription import TranscriptionConfig, TranscriptionTask
from jenga.types import BackboneOutput

LABELS = ["a", "b", "c"]


def make_task(hidden: int = 6) -> TranscriptionTask:
    block = TranscriptionConfig(
        name="t", type="transcription", data_path="x", dropout=0.0,
        heads=[{"name": "h", "labels": LABELS, "num_labels": len(LABELS)}],
    )  # fmt: skip
    task = TranscriptionTask(block, hidden)
    task.attach(SimpleNamespace(frame_seconds=0.02, character_layer={}))  # type: ignore[arg-type]
    return task


def encoded(*frames: int) -> BackboneOutput:
    hidden = torch.randn(len(frames), max(frames), 6)
    mask = (torch.arange(max(frames)) < torch.tensor(frames)[:, None]).long()
    return BackboneOutput(hidden, hidden.mean(1), mask)


def test_the_loss_is_that_of_each_rows_own_frames_a_character() -> None:
    task, output = make_task(), encoded(9, 5)
    labels = torch.tensor([[0, 1, 1], [2, -100, -100]])
    found = task.get_forward_output(output, labels)
    losses = []
    for row, (frames, wanted) in enumerate([(9, [1, 2, 2]), (5, [3])]):
        shares = task.head(output.last_hidden_state[row, :frames]).log_softmax(-1)
        losses.append(F.ctc_loss(shares, torch.tensor(wanted), [frames], [len(wanted)], reduction="sum"))
    torch.testing.assert_close(found.loss, sum(losses) / 4)
    assert found.count is not None
    assert found.count.tolist() == [4]
    assert task.count_labels({"h": labels}) == [4]


def test_rows_without_characters_and_with_too_many_get_zero_loss_and_zero_gradient() -> None:
    task, output = make_task(), encoded(4, 3, 3)
    output.last_hidden_state.requires_grad_()
    labels = torch.tensor([[0, 1, -100], [0, 0, 1], [-100, -100, -100]])
    found = task.get_forward_output(output, labels)
    assert found.loss is not None
    found.loss.backward()
    alone = task.get_forward_output(
        BackboneOutput(*(each[:1] for each in (output.last_hidden_state, output.pooler_output, output.attention_mask))),
        labels[:1],
    )
    torch.testing.assert_close(found.loss, alone.loss)
    gradient = output.last_hidden_state.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient[0].abs().sum() > 0
    assert not gradient[1:].any()
    nothing = task.get_forward_output(encoded(3), torch.empty(1, 0, dtype=torch.int64))
    assert nothing.loss is not None
    assert nothing.loss.item() == 0


@pytest.fixture
def experiment(tmp_path: Path) -> dict[str, Any]:
    return {
        "model": {"backbone_type": "audio", "base_model": "jenga/tiny-audio", "min_seconds": 0},
        "tasks": [{"name": "spelt", "type": "transcription", "data_path": write(tmp_path, 64)}],
        "training": {"max_steps": 90, "batch_size": 8, "log_every_steps": 30},
        "data": {"cache_dir": str(tmp_path / "cache")},
        "evaluation": {"metric": "eval_spelt_transcript_cer", "every_steps": 30},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }


def write(folder: Path, count: int, *, seconds: float = 60.0, said: int = 1) -> str:
    rows = []
    for row in generate_spelt(count):
        sound = row["audio"]["array"][: round(seconds * row["audio"]["sampling_rate"])]
        audio = {**row["audio"], "array": sound.round(4).tolist()}
        rows.append({**row, "audio": audio, "text": row["text"] * said})
    path = folder / "spelt.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


class StopAt(BaseCallback):
    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        trainer.interrupted = trainer.state.step == 40


def test_a_run_resumes_is_judged_by_errors_predicts_exports_and_shows_its_worst_rows(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    whole = train(experiment, device="cpu")
    assert whole.metrics["eval_spelt_transcript_cer"] < 0.9
    (head,) = whole.evaluation["splits"]["test"]["heads"]
    assert (head["primary_metric"], head["greater_is_better"]) == ("cer", False)
    assert head["baselines"]["majority"]["wer"] > 0
    assert head["details"]["worst"]["error"] == "cer"
    worst = head["details"]["worst"]["rows"][0]
    assert worst["id"].startswith("spelt-")
    assert worst["error"] > 0
    assert worst["expected"] != worst["answer"]
    report = (whole.run / "report.html").read_text(encoding="utf-8")
    assert f">{worst['id']}</td>" in report
    (picture,) = worst["pictures"]
    assert base64.b64encode((whole.run / picture).read_bytes()).decode() in report
    with pytest.raises(InterruptedRun):
        train(experiment, device="cpu", callbacks=[StopAt()])
    assert train(experiment, device="cpu", resume="auto").evaluation == whole.evaluation
    rows = list(generate_spelt(3, seed=5))
    predictor = jenga.load(whole.run, device="cpu")
    answers = predictor.predict(rows)
    assert any(answer["spelt"]["transcript"]["text"] for answer in answers)
    assert all(set(answer["spelt"]["transcript"]) == {"text"} for answer in answers)
    # A row is heard alike whatever stands beside it.
    assert [predictor.predict([row])[0]["spelt"] for row in rows] == [answer["spelt"] for answer in answers]
    assert jenga.load(export(whole.run, tmp_path / "out"), device="cpu").predict(rows) == answers
    judged = predictor.evaluate(experiment["tasks"][0]["data_path"])["metrics"]
    assert 0 <= judged["spelt_transcript_cer"] <= judged["spelt_transcript_wer"]


def test_transcripts_that_their_clips_are_too_short_for_are_named_and_not_learnt(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    experiment["tasks"][0]["data_path"] = write(tmp_path, 64, seconds=0.15)
    experiment["training"]["max_steps"] = 1
    run = train(experiment, device="cpu").run
    warnings = json.loads((run / "run.json").read_text())["warnings"]
    (told,) = [each for each in warnings if "train rows have more" in each]
    assert "train rows have more characters than the encoder makes frames" in told
    assert "spelt.jsonl:" in told
    assert ": 8 frames, 0.16 s)" in told
    (tmp_path / "valid").mkdir()
    valid = write(tmp_path / "valid", 12, seconds=0.1, said=6)
    experiment["tasks"][0]["data_path"] = {"train": write(tmp_path, 64), "valid": valid}
    with pytest.raises(DataError, match=r"12 of 12 valid rows have more characters .* No other row is left; are the"):
        train(experiment, device="cpu")


def test_texts_have_no_moments(experiment: dict[str, Any]) -> None:
    experiment["model"] = {"base_model": "jenga/tiny-text"}
    with pytest.raises(ConfigError, match="'transcription' labels moments of a recording, and texts have none"):
        load_config(experiment)
