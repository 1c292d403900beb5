import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import jenga
from jenga.errors import ConfigError, DataError, DivergedError, InterruptedRun, SetupError
from jenga.run import experiment
from jenga.tuning import study, trials
from jenga.tuning.attempt import Here, Judged
from jenga.tuning.folder import StudyFolder

Searched = Callable[..., dict[str, Any]]
Outcome = Callable[[dict[str, Any]], list[dict[str, Any]]]


class Death(BaseException):
    """What ends a process, as nothing here catches it."""


def studies(config: dict[str, Any]) -> list[Path]:
    return sorted((Path(config["output_dir"]) / "test").glob("study_*"))


def test_the_best_configuration_trains_to_the_very_score_of_its_trial(searched: Searched) -> None:
    found = study.tune(searched(), device="cpu")
    assert [each["state"] for each in found["trials"]] == ["finished"] * 3
    assert found["best"]["score"] == min(each["score"] for each in found["trials"])
    best = yaml.safe_load(Path(found["best"]["config"]).read_text())
    assert best["tune"] is None
    assert best["training"]["batch_size"] == found["best"]["values"]["training.batch_size"]
    run = experiment.train(found["best"]["config"], device="cpu").run
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert min(each["metrics"]["eval_loss"] for each in records if each["event"] == "eval") == found["best"]["score"]


def test_jenga_tune_is_that_function() -> None:
    assert jenga.tune is study.tune


@pytest.mark.parametrize("keep", ["best", "all"])
def test_which_trials_keep_their_weights(searched: Searched, keep: str) -> None:
    found = study.tune(searched(keep=keep), device="cpu")
    kept = {each["number"] for each in found["trials"] if (Path(each["run"]) / "best").exists()}
    checkpoints = {each["number"] for each in found["trials"] if (Path(each["run"]) / "checkpoints").exists()}
    assert kept == checkpoints == ({found["best"]["number"]} if keep == "best" else {0, 1, 2})
    assert all((Path(each["run"]) / "report.html").exists() for each in found["trials"])


# ------------------------------------------------------------------------------------------------------ what goes wrong


def test_a_trial_that_diverges_is_marked_and_the_study_goes_on(searched: Searched) -> None:
    config = searched(space={"training.learning_rate": [1e-3, 1e30]}, sampler="grid")
    found = study.tune(config, device="cpu")
    by_rate = {each["values"]["training.learning_rate"]: each for each in found["trials"]}
    assert by_rate[1e30]["state"] == "failed"
    assert "not finite" in by_rate[1e30]["reason"]
    assert by_rate[1e-3]["state"] == "finished"
    assert found["status"] == "finished"


def test_a_trial_that_runs_out_of_memory_is_marked_and_the_study_goes_on(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = experiment.train, []

    def small(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("tried to allocate 80 GiB")
        return real(*arguments, **options)

    monkeypatch.setattr(experiment, "train", small)
    found = study.tune(searched(trials=2), device="cpu")
    assert [each["state"] for each in found["trials"]] == ["failed", "finished"]
    assert found["trials"][0]["reason"] == "OutOfMemoryError: tried to allocate 80 GiB"


def test_a_study_without_a_finished_trial_is_an_error(searched: Searched) -> None:
    config = searched(space={"training.learning_rate": [1e30]}, trials=1)
    with pytest.raises(DivergedError, match=r"none of 1 trials finished; the first: .*not finite"):
        study.tune(config, device="cpu")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"metric": "eval_mood_mood_f2"}, ConfigError, r"tune\.metric: unknown 'eval_mood_mood_f2'; did you mean"),
        ({"metric": "test_loss"}, ConfigError, r"tune\.metric: unknown 'test_loss'"),
    ],
)
def test_what_no_trial_could_be_judged_by_is_told_before_there_is_a_study(
    searched: Searched, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    config = searched(**change)
    with pytest.raises(error, match=message):
        study.tune(config, device="cpu")
    assert studies(config) == []


def test_rows_that_are_missing_are_told_before_there_is_a_study(searched: Searched) -> None:
    config = searched()
    Path(config["tasks"][0]["data_path"]).unlink()
    with pytest.raises(DataError, match="no such file"):
        study.tune(config, device="cpu")
    assert studies(config) == []


def test_a_study_without_validation_rows_is_refused(searched: Searched) -> None:
    config = searched()
    config["data"]["valid_fraction"] = 0.0
    with pytest.raises(DataError, match="no validation rows to judge trials by"):
        study.tune(config, device="cpu")


# ------------------------------------------------------------------------------------------------------------ the score


def test_the_score_is_of_the_model_that_the_run_keeps(searched: Searched) -> None:
    found = study.tune(searched(metric="eval_mood_mood_accuracy", trials=2), device="cpu")
    assert found["metric"] == "eval_mood_mood_accuracy"
    assert found["greater_is_better"] is True
    for trial in found["trials"]:
        run = Path(trial["run"])
        step = json.loads((run / "run.json").read_text())["best_step"]
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        (kept,) = [each["metrics"] for each in records if each["event"] == "eval" and each["step"] == step]
        assert trial["score"] == kept["eval_mood_mood_accuracy"]


def test_a_trial_that_falls_behind_is_pruned_and_its_run_ends_there(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "FIRST_TRIALS", 1)
    config = searched(space={"training.learning_rate": [1e-9, 0.3]}, sampler="grid", seed=0)
    found = study.tune(config, device="cpu")
    good, bad = found["trials"]
    assert good["values"]["training.learning_rate"] == 1e-9  # else another seed has to order them so
    assert (bad["state"], bad["score"], bad["evaluations"]) == ("pruned", None, 2)
    steps = [json.loads(line)["step"] for line in (Path(bad["run"]) / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 2
    assert good["evaluations"] == 4


# ------------------------------------------------------------------------------------------------------------ going on


def deaths(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Let the process die before and after every report, begin and end of a trial, `count` deaths in all.

    Returns the list to which each death is added.
    """
    died: list[str] = []

    def deadly(name: str) -> None:
        real, seen = getattr(trials.Trials, name), set()

        def method(self: trials.Trials, *arguments: Any) -> Any:
            for place, act in (("before", False), ("after", True)):
                answer = real(self, *arguments) if act else None
                key = (place, arguments[:2] if name == "report" else len(self.all()))
                if len(died) < count and key not in seen:
                    seen.add(key)
                    died.append(f"{place} {name}")
                    raise Death
            return answer

        monkeypatch.setattr(trials.Trials, name, method)

    for name in ("begin", "report", "end"):
        deadly(name)
    return died


@pytest.mark.parametrize("count", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_a_study_that_dies_again_and_again_ends_as_one_that_does_not(
    count: int, searched: Searched, outcome: Outcome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = searched(trials=1 if count == 3 else 2)
    straight = study.tune({**config, "output_dir": str(tmp_path / "straight")}, device="cpu")
    died = deaths(monkeypatch, count)
    for _ in range(count + 1):
        try:
            struck = study.tune(config, device="cpu", resume="auto")
            break
        except Death:
            continue
    assert len(died) == count
    assert died[:3] == ["before begin", "after begin", "before report"]
    assert count == 3 or {"after report", "before end", "after end"} <= set(died)
    assert len(studies(config)) == 1
    assert outcome(struck) == outcome(straight)


def test_ctrl_c_leaves_a_trial_that_goes_on(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    config = searched(trials=2)
    with monkeypatch.context() as patch:

        def pressed(*_: Any) -> bool:
            raise KeyboardInterrupt

        patch.setattr(trials.Trials, "report", pressed)
        with pytest.raises(InterruptedRun, match=r"interrupted in trial 0\. Go on with --resume auto"):
            study.tune(config, device="cpu")
    (folder,) = studies(config)
    assert StudyFolder(folder).info()["status"] == "interrupted"
    found = study.tune(config, device="cpu", resume=str(folder))
    assert found["status"] == "finished"
    assert [each["state"] for each in found["trials"]] == ["finished"] * 2
    assert Path(found["trials"][0]["run"]).parent == folder


def test_more_trials_go_on_with_a_finished_study(searched: Searched, outcome: Outcome) -> None:
    first = study.tune(searched(trials=1), device="cpu")
    more = study.tune(searched(trials=2), device="cpu", resume="auto")
    assert outcome(more)[:1] == outcome(first)
    assert len(more["trials"]) == 2


def test_no_trial_begins_after_the_timeout(searched: Searched) -> None:
    found = study.tune(searched(timeout_s=1e-6), device="cpu")
    assert (found["status"], found["trials"]) == ("timed out", [])
    assert len(study.tune(searched(trials=1), device="cpu", resume="auto")["trials"]) == 1


def test_rows_that_change_between_trials_end_the_study(
    searched: Searched, make_rows: Callable[..., Any], write_rows: Callable[..., str]
) -> None:
    study.tune(searched(trials=1), device="cpu")
    config = searched(trials=2)
    write_rows(Path(config["tasks"][0]["data_path"]), make_rows(40, seed=1))
    with pytest.raises(DataError, match=r"not those of the trials before: .*rows\.jsonl changed"):
        study.tune(config, device="cpu", resume="auto")


# ------------------------------------------------------------------------------------------------------ several at once


class TwoAtOnce(Here):
    """Two trials under way, of which the later one ends first; once the study is to end, they are interrupted."""

    slots = 2
    ended = False

    def wait(self) -> tuple[int, Callable[[], Judged]]:
        if not self.ended:
            return super().wait()
        number, *_ = self._begun.pop()

        def interrupted() -> Judged:
            raise InterruptedRun(f"saved trial {number}")

        return number, interrupted

    def end(self) -> None:
        self.ended = True


def test_trials_at_once_are_those_of_one_after_another_where_no_draw_learns(
    searched: Searched, outcome: Outcome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = searched(sampler="random")
    straight = study.tune({**config, "output_dir": str(tmp_path / "straight")}, device="cpu")
    monkeypatch.setattr(study, "Here", TwoAtOnce)
    assert outcome(study.tune(config, device="cpu")) == outcome(straight)


def test_what_ends_a_study_lets_the_other_trials_save_and_all_of_them_go_on(
    searched: Searched, outcome: Outcome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = searched(sampler="random")
    straight = study.tune({**config, "output_dir": str(tmp_path / "straight")}, device="cpu")

    def lost(*_: Any, **__: Any) -> Any:
        raise SetupError("the hub does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(study, "Here", TwoAtOnce)
        patch.setattr(experiment, "train", lost)
        with pytest.raises(SetupError, match=r"trial 1 \(.*\): the hub does not answer"):
            study.tune(config, device="cpu")
    (folder,) = studies(config)
    assert StudyFolder(folder).info()["status"] == "failed"
    found = study.tune(config, device="cpu", resume="auto")
    assert [each["number"] for each in found["trials"]] == [0, 1, 2]
    assert outcome(found) == outcome(straight)


def test_trials_under_way_at_the_timeout_are_carried_out(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "Here", TwoAtOnce)
    clock = iter(range(1000))
    monkeypatch.setattr(study.time, "monotonic", lambda: next(clock))
    found = study.tune(searched(timeout_s=2.5), device="cpu")
    assert found["status"] == "timed out"
    assert [each["state"] for each in found["trials"]] == ["finished"] * 2


@pytest.mark.slow
def test_a_study_that_is_killed_again_and_again_loses_and_repeats_no_trial(
    searched: Searched, outcome: Outcome, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"config": searched(trials=4), "folder": str(tmp_path), "share": [0.3, 0.5, 0.7]}))
    driver = Path(__file__).with_name("kill_driver.py")
    done = subprocess.run([sys.executable, str(driver), str(plan)], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["codes"].count(-9) >= 2
    assert [each["number"] for each in told["struck"]["trials"]] == [0, 1, 2, 3]
    assert outcome(told["struck"]) == outcome(told["straight"])
