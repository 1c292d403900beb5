"""Experiments over rows that are taken as they come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from launches import NO_DROPOUT, compared, run_of, start, without_dropout
from stops import StopAt

from jenga.errors import ConfigError, DataError, InterruptedRun
from jenga.rows.stream import StreamedSplit
from jenga.run.build import build
from jenga.run.experiment import load_config, train
from jenga.trainer.checkpoint import newest_checkpoint

MOODS = ("glad", "cross", "calm")


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    for shard in range(3):
        rows = [{"text": f"{MOODS[at % 3]} words {at} of {shard}", "mood": MOODS[at % 3]} for at in range(60)]
        (tmp_path / f"part-{shard}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "project_name": "stream", "model": {"base_model": "jenga/tiny-text"}, "output_dir": str(tmp_path / "runs"),
        "data": {"streaming": True, "max_length": 16},
        "tasks": [{"name": "t", "type": "classification", "data_path": f"{tmp_path}/part-*.jsonl",
                   "columns": {"label": "mood"}}],
        "training": {"max_steps": 20, "batch_size": 8}, "tracking": {"enabled": False},
        "evaluation": {"baselines": [], "worst_errors": 0},
    }  # fmt: skip


def weights(run: Path) -> dict[str, bytes]:
    newest = newest_checkpoint(run / "checkpoints")
    assert newest is not None
    found = {
        path.name: path.read_bytes() for path in [*newest.glob("*.safetensors"), *run.glob("best/**/*.safetensors")]
    }
    assert len(found) >= 3
    return found


def test_rows_that_judge_never_train_and_all_others_do(content: dict[str, Any], tmp_path: Path) -> None:
    (source,) = build(load_config(content), tmp_path / "work").sources
    split = source.stream
    assert isinstance(split, StreamedSplit)
    assert not isinstance(source.splits["train"], StreamedSplit)
    judged = {text for name in ("valid", "test") for text in source.splits[name].rows.content.texts}
    assert len(judged) == 36
    assert split.stream is not None
    streamed = list(split.stream.rows(range(144)).content.texts)
    assert len(set(streamed)) == 144
    assert not judged & set(streamed)
    batch = split.batch([0, 5, 2])
    assert batch.inputs["input_ids"].shape[0] == 3
    assert batch.rows == [0, 5, 2]


@pytest.mark.usefixtures("without_report")
def test_a_run_that_is_stopped_again_and_again_ends_as_one_that_is_not(content: dict[str, Any], tmp_path: Path) -> None:
    whole = train({**content, "output_dir": str(tmp_path / "whole")}, device="cpu").run
    for number, step in enumerate((3, 4, 9, 17)):
        with pytest.raises(InterruptedRun):
            train(content, device="cpu", callbacks=[StopAt(step)], resume="auto" if number else None)
    run = train(content, device="cpu", resume="auto").run
    assert weights(run) == weights(whole)
    evaluation = [(each / "evaluation.json").read_text() for each in (run, whole)]
    assert evaluation[0] == evaluation[1]
    assert json.loads(evaluation[0])["splits"]["test"]["metrics"]["t_label_accuracy"] > 0.5


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_ends_as_one_that_is_not(content: dict[str, Any], tmp_path: Path) -> None:
    """By signal 9, each time a few steps on from the newest checkpoint."""
    content["training"]["max_steps"], content["checkpoint"] = 60, {"every_steps": 5}
    (tmp_path / "c.yml").write_text(yaml.safe_dump(content))
    whole = train({**content, "output_dir": str(tmp_path / "whole")}, device="cpu").run
    driver = tmp_path / "driver.py"
    # A fork for each run, so that torch is imported once.
    driver.write_text(
        "import json, os, signal, sys\n"
        "from jenga.callbacks import BaseCallback\n"
        "from jenga.run.experiment import load_config, train\n"
        "class Kill(BaseCallback):\n"
        "    def __init__(self, step): self.step = step\n"
        "    def on_step_end(self, trainer, logs, **kwargs):\n"
        "        if trainer.state.step == self.step: os.kill(os.getpid(), signal.SIGKILL)\n"
        "codes = []\n"
        "for number in range(10):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        kill, resume = Kill(7 + 5 * number), 'auto' if number else None\n"
        "        try: train(load_config(sys.argv[1]), device='cpu', callbacks=[kill], resume=resume)\n"
        "        finally: os._exit(1)\n"
        "    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "print(json.dumps(codes))\n"
    )
    done = subprocess.run(
        [sys.executable, str(driver), str(tmp_path / "c.yml")], capture_output=True, text=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1]) == [-signal.SIGKILL] * 10, done.stderr
    run = train(load_config(str(tmp_path / "c.yml")), device="cpu", resume="auto").run
    assert weights(run) == weights(whole)


def test_a_stream_from_an_address_is_that_from_files(content: dict[str, Any], tmp_path: Path) -> None:
    here = build(load_config(content), tmp_path / "here").sources[0].stream
    content["tasks"][0]["data_path"] = f"file://{tmp_path}/part-*.jsonl"
    there = build(load_config(content), tmp_path / "there").sources[0].stream
    assert isinstance(here, StreamedSplit)
    assert isinstance(there, StreamedSplit)
    assert here.stream is not None
    assert there.stream is not None
    assert list(here.stream.rows(range(50)).content.texts) == list(there.stream.rows(range(50)).content.texts)


def test_a_row_that_judges_one_task_trains_no_other(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "valid.jsonl").write_text(
        "".join(json.dumps({"text": f"v {at}", "mood": "glad"}) + "\n" for at in range(9))
    )
    files = f"{tmp_path}/part-*.jsonl"
    other = {**content["tasks"][0], "name": "u", "data_path": {"train": files, "valid": f"{tmp_path}/valid.jsonl"}}
    content["tasks"].append(other)
    one, two = build(load_config(content), tmp_path / "work").sources
    judged = {text for name in ("valid", "test") for text in one.splits[name].rows.content.texts}
    assert isinstance(two.stream, StreamedSplit)
    assert two.stream.stream is not None
    assert not judged & set(two.stream.stream.rows(range(150)).content.texts)
    content["tasks"][1]["data_path"]["valid"] = f"{tmp_path}/../{tmp_path.name}/part-0.jsonl"
    with pytest.raises(DataError, match="its rows train, and are given to judge"):
        build(load_config(content), tmp_path / "again")


def test_files_that_begin_alike_are_all_read_each_once(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "part-1.jsonl").write_text((tmp_path / "part-0.jsonl").read_text())
    content["tasks"][0]["data_path"] = [f"{tmp_path}/part-*.jsonl", f"{tmp_path}/./part-0.jsonl"]
    (source,) = build(load_config(content), tmp_path / "work").sources
    assert isinstance(source.stream, StreamedSplit)
    assert source.stream.stream is not None
    rows = source.stream.stream.rows(range(144))
    assert len(set(zip(rows.files, rows.numbers, strict=True))) == 144


def test_labels_that_come_late_in_a_file_are_read(content: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"text": f"late {at}", **({"mood": "calm"} if at >= 4000 else {})} for at in range(4100)]
    (tmp_path / "part-1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source,) = build(load_config(content), tmp_path / "work").sources
    assert isinstance(source.stream, StreamedSplit)
    assert source.stream.stream is not None
    found = source.stream.stream.rows(range(4100))
    late = [label for text, label in zip(found.content.texts, next(iter(found.labels.values())), strict=True)
            if text.startswith("late 40")]  # fmt: skip
    assert len(late) > 90
    assert sum(label >= 0 for label in late) > 90


def test_rows_that_are_no_texts_with_labels_are_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["tasks"] = [{"name": "lm", "type": "causal_lm", "data_path": content["tasks"][0]["data_path"]}]
    with pytest.raises(ConfigError, match="the rows of lm are no texts with labels"):
        build(load_config(content), tmp_path / "work")


@pytest.mark.parametrize("path", ["jenga/helpline", "list.json"])
def test_rows_that_do_not_come_one_by_one_are_refused(content: dict[str, Any], tmp_path: Path, path: str) -> None:
    (tmp_path / "list.json").write_text("[]")
    content["tasks"][0]["data_path"] = path if "/" in path else str(tmp_path / path)
    with pytest.raises(DataError, match=r"data\.streaming"):
        build(load_config(content), tmp_path / "work")


def test_labels_of_the_first_rows_alone_are_told(content: dict[str, Any], tmp_path: Path) -> None:
    told = build(load_config(content), tmp_path / "work").warnings
    assert any("labels are those of the first 144 training rows" in words for words in told)
    content["tasks"][0]["heads"] = [{"name": "t", "labels": list(MOODS)}]
    told = build(load_config(content), tmp_path / "work").warnings
    assert not any("labels are those of the first" in words for words in told)


@pytest.mark.slow
def test_two_processes_take_the_rows_that_one_does(content: dict[str, Any], tmp_path: Path) -> None:
    content["training"]["log_every_steps"] = 1
    content = without_dropout({**content, **NO_DROPOUT, "model": {**content["model"], **NO_DROPOUT["model"]}})
    alone = train(content, device="cpu").run
    folder = tmp_path / "two"
    assert start(content, folder, "--processes", "2").wait(timeout=300) == 0, (folder / "told").read_text()
    assert "144 training to begin with, and more as they come, 18 validation" in (folder / "told").read_text()
    compared(alone, run_of(folder))
