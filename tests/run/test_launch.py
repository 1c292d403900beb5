"""One training in several processes against the same in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from launches import NO_DROPOUT, Make, compared, processes_of, records, run_of, start, until, without_dropout

from jenga.run.experiment import train


def test_two_processes_make_the_run_of_one(settings: Make, tmp_path: Path) -> None:
    """Classes and tags, with a step's rows in two passes, missing labels, and accumulation."""
    training = {"epochs": 2, "batch_size": 7, "gradient_accumulation_steps": 2, "log_every_steps": 1}
    content = without_dropout(settings("mood", "price", "names", training=training, **NO_DROPOUT))
    alone = train(content, device="cpu").run
    assert start(content, tmp_path / "two", "--processes", "2").wait(timeout=300) == 0, (
        tmp_path / "two" / "told"
    ).read_text()
    compared(alone, run_of(tmp_path / "two"))
    told = (tmp_path / "two" / "told").read_text()
    assert "2 processes" in told
    assert told.count("run: ") == 1


@pytest.mark.slow
def test_two_processes_make_the_run_of_one_whose_steps_are_planned_by_tokens(settings: Make, tmp_path: Path) -> None:
    training = {"epochs": 2, "batch_size": None, "tokens_per_step": 90, "gradient_accumulation_steps": 2}
    content = without_dropout(settings("mood", "names", training=training, **NO_DROPOUT))
    alone = train(content, device="cpu").run
    assert start(content, tmp_path / "two", "--processes", "2").wait(timeout=300) == 0, (
        tmp_path / "two" / "told"
    ).read_text()
    compared(alone, run_of(tmp_path / "two"))


def test_a_configuration_that_is_wrong_is_told_once_and_starts_nothing(settings: Make, tmp_path: Path) -> None:
    content = settings("mood")
    content["training"]["epocs"] = 2
    assert start(content, tmp_path / "two", "--processes", "2").wait(timeout=120) == 2
    assert (tmp_path / "two" / "told").read_text().count("epocs") == 1


@pytest.mark.slow
def test_what_the_first_process_finds_wrong_is_told_once_and_ends_all(settings: Make, tmp_path: Path) -> None:
    content = settings("mood", training={"loss_balance": "gradnorm", "fsdp": True})
    assert start(content, tmp_path / "gradnorm", "--processes", "2", "--restarts", "2").wait(timeout=300) == 4
    told = (tmp_path / "gradnorm" / "told").read_text()
    assert told.count("error:") == told.count("'gradnorm' needs the gradients of single tasks") == 1
    assert not (tmp_path / "gradnorm" / "runs").exists()
    Path(content["tasks"][0]["data_path"]).write_text("{broken\n")
    assert start(content, tmp_path / "rows", "--processes", "2").wait(timeout=300) == 3
    assert (tmp_path / "rows" / "told").read_text().count("error:") == 1


STOPS = """
import sys
import time
import jenga
from jenga.launched import number

class Stops(jenga.BaseCallback):
    def on_step_end(self, trainer, logs, **kwargs):
        return jenga.Action.STOP if number() == 1 and trainer.state.step == 3 else None

    def on_save(self, trainer, path, **kwargs):
        assert (path / "state.json").exists()

if __name__ == "__main__":
    jenga.train(sys.argv[1], callbacks=[Stops()])
"""


@pytest.mark.slow
def test_a_stop_that_one_process_asks_for_ends_all(settings: Make, tmp_path: Path) -> None:
    (tmp_path / "stops.py").write_text(STOPS)
    path = tmp_path / "experiment.yml"
    path.write_text(yaml.safe_dump({**settings("mood"), "output_dir": str(tmp_path / "runs")}))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, str(tmp_path / "stops.py"), str(path)], timeout=300, check=False)
    assert done.returncode == 0
    assert records(run_of(tmp_path))[-1]["step"] == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "training",
    [
        {"loss_balance": "uncertainty", "optimizer": "adafactor", "gradient_accumulation_steps": 2},
        {"loss_balance": "gradnorm"},
        {"loss_balance": "dwa", "ema": 0.9},
        {"gradient_conflict": "upgrad"},
        {"loss_balance": "famo", "batch_size": 2, "fsdp": True},
        {"loss_balance": "famo", "batch_size": 2},
    ],
    ids=str,
)
def test_balances_and_optimizers_work_over_processes(settings: Make, tmp_path: Path, training: dict[str, Any]) -> None:
    if "gradient_conflict" in training:
        pytest.importorskip("torchjd")
    content = without_dropout(settings("mood", "price", training={"epochs": 2, **training}, **NO_DROPOUT))
    alone = train({**content, "training": {**content["training"], "fsdp": False}}, device="cpu").run
    # Of famo, which looks at losses twice, batches with fewer rows than processes too.
    processes = "3" if training.get("loss_balance") == "famo" else "2"
    assert start(content, tmp_path / "two", "--processes", processes).wait(timeout=300) == 0
    compared(alone, run_of(tmp_path / "two"))


@pytest.mark.slow
def test_events_with_batch_normalisation_are_those_of_one_process(event_settings: Make, tmp_path: Path) -> None:
    content = event_settings(
        task={"dropout": 0.0},
        model={"dropout": 0.0, "normalization": "batch"},
        training={"epochs": 3, "batch_size": 16},
    )
    alone = train(content, device="cpu").run
    assert start(content, tmp_path / "three", "--processes", "3").wait(timeout=300) == 0
    # Statistics of 16 rows blow up the last bits, those that another number of threads changes too.
    compared(alone, run_of(tmp_path / "three"), within=2e-3)


@pytest.mark.slow
def test_a_killed_process_ends_all_and_other_numbers_of_processes_go_on(settings: Make, tmp_path: Path) -> None:
    # Rates that do not follow from how many steps there are.
    training = {"epochs": 400, "log_every_steps": 1, "scheduler": "constant", "warmup_steps": 0}
    content = without_dropout(settings("mood", "price", training=training, **NO_DROPOUT))
    folder = tmp_path / "runs"
    begun = start(content, folder, "--processes", "2")
    until(lambda: any(folder.glob("runs/*/*/checkpoints/step-*/state.json")), folder)
    os.kill(processes_of(folder)[1], signal.SIGKILL)
    assert begun.wait(timeout=120) == 4
    assert "process 1 of 2 was ended by SIGKILL" in (folder / "told").read_text()
    for number in ("1", "3"):
        steps = records(run_of(folder))[-1]["step"]
        begun = start(content, folder, "--processes", number, "--resume", "auto")
        until(lambda before=steps: records(run_of(folder))[-1]["step"] > before + 8, folder)  # type: ignore[misc]
        begun.send_signal(signal.SIGINT)
        assert begun.wait(timeout=120) == 130
    straight = {**content, "training": {**content["training"], "max_steps": records(run_of(folder))[-1]["step"]}}
    alone = records(train(straight, device="cpu").run)
    seen = {each["step"]: each["loss"] for each in records(run_of(folder)) if each["event"] == "train"}
    for each in alone:
        if each["event"] == "train":
            # The last bits of float32 grow over some hundred steps of a small model.
            assert seen[each["step"]] == pytest.approx(each["loss"], rel=1e-4 if each["step"] <= 40 else 1e-2)


@pytest.mark.slow
def test_a_restart_goes_on_at_the_newest_checkpoint(settings: Make, tmp_path: Path) -> None:
    content = without_dropout(settings("mood", training={"epochs": 40}, **NO_DROPOUT))
    alone, folder = train(content, device="cpu").run, tmp_path / "two"
    begun = start(content, folder, "--processes", "2", "--restarts", "1")
    until(lambda: any(folder.glob("runs/*/*/checkpoints/step-*/state.json")), folder)
    os.kill(processes_of(folder)[0], signal.SIGKILL)
    assert begun.wait(timeout=300) == 0, (folder / "told").read_text()
    compared(alone, run_of(folder))


@pytest.mark.slow
def test_a_process_that_hangs_is_named_and_ended_and_so_are_the_others(settings: Make, tmp_path: Path) -> None:
    """The first of two, and the second: in two runs at once, which wait most of the time."""
    content = settings("mood", training={"epochs": 4000})
    folders, both = [tmp_path / "first", tmp_path / "second"], {}
    begun = [start(content, folder, "--processes", "2", "--wait-limit", "20") for folder in folders]
    for rank, folder in enumerate(folders):
        until(lambda: any(folder.glob("runs/*/*/checkpoints/step-*/state.json")), folder)  # noqa: B023
        both[rank] = processes_of(folder)
        os.kill(both[rank][rank], signal.SIGSTOP)
    assert [each.wait(timeout=200) for each in begun] == [4, 4]
    for rank, folder in enumerate(folders):
        told = (folder / "told").read_text()
        assert told.count(f"error: process {rank} of 2 did not come within 20 s to where the others waited") == 1
        assert "memory" not in told
        assert not any(Path(f"/proc/{each}").exists() for each in both[rank])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_launcher_ends_all_with_a_checkpoint(settings: Make, tmp_path: Path, number: int) -> None:
    folder = tmp_path / "two"
    begun = start(settings("mood", training={"epochs": 4000}), folder, "--processes", "2")
    until(lambda: any(folder.glob("runs/*/*/checkpoints/step-*/state.json")), folder)
    both = processes_of(folder)
    begun.send_signal(number)
    try:
        assert begun.wait(timeout=120) == 130
    finally:
        begun.kill()  # else they would train on beside all other tests
    assert "error: interrupted at step" in (folder / "told").read_text()
    assert json.loads((run_of(folder) / "run.json").read_text())["status"] == "interrupted"
    assert not any(Path(f"/proc/{each}").exists() for each in both)


@pytest.mark.slow
def test_a_second_signal_to_the_launcher_ends_all_at_once_though_one_of_them_is_stopped(
    settings: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "two"
    begun = start(settings("mood", training={"epochs": 4000}), folder, "--processes", "2")
    until(lambda: any(folder.glob("runs/*/*/checkpoints/step-*/state.json")), folder)
    both = processes_of(folder)
    os.kill(both[1], signal.SIGSTOP)
    begun.send_signal(signal.SIGTERM)
    time.sleep(2)
    assert begun.poll() is None
    begun.send_signal(signal.SIGTERM)
    assert begun.wait(timeout=10) == 130
    until(lambda: not processes_of(folder), folder, timeout_s=10)


@pytest.mark.slow
def test_a_restart_of_a_run_that_was_gone_on_with_goes_on_with_it(settings: Make, tmp_path: Path) -> None:
    content, folder = settings("mood", training={"epochs": 60}), tmp_path / "two"
    begun = start(content, folder, "--processes", "2")
    until(lambda: any(folder.glob("runs/*/*/checkpoints/step-*/state.json")), folder)
    begun.send_signal(signal.SIGINT)
    assert begun.wait(timeout=120) == 130
    before = records(run_of(folder))[-1]["step"]
    begun = start(content, folder, "--processes", "2", "--restarts", "1", "--resume", "auto")
    until(lambda: records(run_of(folder))[-1]["step"] > before, folder)
    os.kill(processes_of(folder)[1], signal.SIGKILL)
    assert begun.wait(timeout=300) == 0, (folder / "told").read_text()
    assert [each["step"] for each in records(run_of(folder)) if each["event"] == "train"] == list(range(1, 241))
