"""One training with parted encoders (training.fsdp) against the same in one process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from launches import NO_DROPOUT, Make, compared, processes_of, records, run_of, start, until, without_dropout

from jenga.run.experiment import train

PARTED = ("--set", "training.fsdp=true")


def told(folder: Path) -> str:
    return (folder / "told").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["2", "4"])
def test_parted_encoders_make_the_run_of_one_process(settings: Make, tmp_path: Path, processes: str) -> None:
    """Classes and tags, batches with fewer rows than processes, and a pooler that tags do not reach."""
    training = {"max_steps": 100, "batch_size": 7, "gradient_accumulation_steps": 2, "log_every_steps": 1}
    content = without_dropout(settings("mood", "names", training=training, **NO_DROPOUT))
    alone = train(content, device="cpu").run
    folder = tmp_path / "several"
    assert start(content, folder, "--processes", processes, *PARTED).wait(timeout=600) == 0, told(folder)
    compared(alone, run_of(folder))


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["2", "4"])
def test_parted_language_models_with_adapters_make_the_run_of_one_process(
    settings: Make, make_gpt2: Callable[..., Path], tmp_path: Path, processes: str
) -> None:
    """Prompts with completions; the output layer, tied to the embeddings, is read outside of the encoder."""
    rows = [{"prompt": f"the {word} is", "completion": f" {word} and {word} again"} for word in "abcdefghijklmnopqrst"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        **settings("mood", **NO_DROPOUT),
        "model": {"base_model": str(make_gpt2()), "dropout": 0.0},
        "tasks": [{"name": "lm", "type": "causal_lm", "data_path": str(path), "dropout": 0.0}],
        "peft": {"type": "lora", "rank": 4, "dropout": 0.0},
        "training": {"max_steps": 100, "batch_size": 5, "log_every_steps": 1},
    }
    alone = train(content, device="cpu").run
    folder = tmp_path / "several"
    assert start(content, folder, "--processes", processes, *PARTED).wait(timeout=600) == 0, told(folder)
    compared(alone, run_of(folder))


@pytest.mark.slow
def test_a_parted_run_goes_on_with_other_numbers_of_processes_and_whole(settings: Make, tmp_path: Path) -> None:
    training = {"epochs": 400, "log_every_steps": 1, "scheduler": "constant", "warmup_steps": 0, "ema": 0.9}
    content = without_dropout(settings("mood", "names", training=training, **NO_DROPOUT))
    folder = tmp_path / "runs"
    begun = start(content, folder, "--processes", "2", *PARTED)
    until(lambda: any(folder.glob("runs/*/*/checkpoints/step-*/state.json")), folder)
    os.kill(processes_of(folder)[1], signal.SIGKILL)
    assert begun.wait(timeout=120) == 4, told(folder)
    assert "process 1 of 2 was ended by SIGKILL" in told(folder)
    for more in (("--processes", "1"), ("--processes", "3", *PARTED), ("--processes", "2")):
        steps = records(run_of(folder))[-1]["step"]
        begun = start(content, folder, *more, "--resume", "auto")
        until(lambda before=steps: records(run_of(folder))[-1]["step"] > before + 8, folder)  # type: ignore[misc]
        begun.send_signal(signal.SIGINT)
        assert begun.wait(timeout=120) == 130, told(folder)
    straight = {**content, "training": {**content["training"], "max_steps": records(run_of(folder))[-1]["step"]}}
    alone = records(train(straight, device="cpu").run)
    seen = {each["step"]: each["loss"] for each in records(run_of(folder)) if each["event"] == "train"}
    for each in alone:
        if each["event"] == "train":
            # The last bits of float32 grow over some hundred steps of a small model.
            assert seen[each["step"]] == pytest.approx(each["loss"], rel=1e-4 if each["step"] <= 40 else 1e-2)
