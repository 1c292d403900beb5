"""A whole experiment, from a configuration to a finished run folder, through every kind of death."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seeds
import torch
import yaml
from stops import StopAt
from torch.nn import functional as F

from jenga.callbacks import CALLBACK_REGISTRY, BaseCallback
from jenga.config.render import config_digest
from jenga.config.schema import Strict
from jenga.errors import ConfigError, DataError, InterruptedRun, SetupError
from jenga.files import damage
from jenga.modalities import BackboneManager, BaseBackbone
from jenga.run import experiment
from jenga.run.build import Bundle
from jenga.run.experiment import load_config, make_accelerator, train
from jenga.tasks import TASK_REGISTRY, BaseTask
from jenga.trainer.checkpoint import newest_checkpoint
from jenga.trainer.evaluate import Runner, SplitResult
from jenga.trainer.run import RunFolder

ALL = ("mood", "flags", "names", "price")
DRIVER = Path(__file__).parents[1] / "crash_driver.py"
TRAINING = {"epochs": 2, "batch_size": 8, "log_every_steps": 1}


def lines(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "time_s"} for record in found]


def only_run(folder: Path) -> Path:
    (path,) = (each.parent for each in folder.glob("*/*/run.json"))
    return path


def assert_equal_runs(one: Path, other: Path) -> None:
    assert lines(one) == lines(other)
    assert (one / "evaluation.json").read_bytes() == (other / "evaluation.json").read_bytes()
    newest = [newest_checkpoint(run / "checkpoints") for run in (one, other)]
    assert newest[0] is not None
    assert newest[1] is not None
    assert newest[0].name == newest[1].name
    compared = 0
    for left, right in ((newest[0], newest[1]), (one / "best", other / "best")):
        assert damage(left) is damage(right) is None
        for path in sorted(left.rglob("*.safetensors")):
            assert path.read_bytes() == (right / path.relative_to(left)).read_bytes(), path
            compared += 1
    assert compared >= 6
    assert RunFolder(one).info()["status"] == RunFolder(other).info()["status"] == "finished"


# ---------------------------------------------------------------------------------------------------------- a whole run


def test_a_run_leaves_what_the_design_promises(settings: Callable[..., dict[str, Any]]) -> None:
    # Thresholds that are tuned in the end would change what the evaluations in training said.
    evaluation = {"baselines": ["majority"], "thresholds": 0.5}
    content = settings(*ALL, data={"valid_fraction": 0.2, "test_fraction": 0.2}, evaluation=evaluation)
    result = train(content, device="cpu")
    assert {"best", "checkpoints", "config.yml", "environment.json", "evaluation.json", "metrics.jsonl", "report.html",
            "README.md", "run.json"} <= {each.name for each in result.run.iterdir()}  # fmt: skip
    info = RunFolder(result.run).info()
    assert (info["status"], info["rows"]) == ("finished", {"train": 24, "valid": 8, "test": 8})
    assert {"eval_loss", "test_loss", "eval_mood_mood_accuracy", "test_price_price_mae"} <= set(result.metrics)
    assert json.loads((result.run / "evaluation.json").read_text()) == json.loads(json.dumps(result.evaluation))
    written = load_config(str(result.run / "config.yml"))
    assert (written.evaluation.metric, info["metric"]) == ("eval_loss", "eval_loss"), "what `auto` comes to here"
    open_ones = {"training": {"learning_rate", "scheduler", "weight_decay"}, "evaluation": {"metric"}}
    assert written.model_dump(exclude=open_ones) == load_config(content).model_dump(exclude=open_ones)
    best = next(
        each["metrics"] for each in lines(result.run) if each["event"] == "eval" and each["step"] == info["best_step"]
    )
    assert {name: result.metrics[name] for name in best} == pytest.approx(best)


def test_the_logits_of_a_split_are_let_go_once_it_is_described(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[weakref.ref[SplitResult]] = []
    alive: list[int] = []
    evaluate, described = Runner.evaluate, experiment.add_certainty

    def noted(*given: Any, **options: Any) -> SplitResult:
        result = evaluate(*given, **options)
        if options.get("logits"):
            seen.append(weakref.ref(result))
        return result

    def counted(*given: Any) -> None:
        gc.collect()
        alive.append(sum(each() is not None for each in seen))
        described(*given)

    monkeypatch.setattr(Runner, "evaluate", noted)
    monkeypatch.setattr(experiment, "add_certainty", counted)
    train(settings())
    assert len(seen) == 3
    assert alive == [1, 1], "of the split alone that is described"


def test_a_run_is_written_where_it_is_asked_for_and_over_nothing(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    content = settings(training={"epochs": None, "max_steps": 1})
    folder = tmp_path / "mine" / "run"
    assert train(content, device="cpu", folder=folder).run == folder
    assert not Path(content["output_dir"]).exists()
    with pytest.raises(ConfigError, match="is there already; name another one, or resume it"):
        train(content, device="cpu", folder=folder)


def test_the_card_of_an_event_run_speaks_of_events_alone(event_settings: Callable[..., dict[str, Any]]) -> None:
    content = event_settings(evaluation={"baselines": ["majority", "boosting"]}, training={"max_steps": 1})
    card = (train(content, device="cpu").run / "README.md").read_text()
    for stranger in ("token", "TF-IDF", "text", "max_length", "base_model:"):
        assert stranger not in card
    assert "the majority answer, and gradient-boosted trees on the same features." in card
    assert "| fields of an event | 1" in card
    assert "- Of an event, only the fields above are read." in card


def test_the_card_of_a_run_on_texts_tells_their_length(settings: Callable[..., dict[str, Any]]) -> None:
    card = (train(settings("mood", training={"max_steps": 1}), device="cpu").run / "README.md").read_text()
    assert "- Of a longer text, only the first 32 tokens are read." in card
    assert "free to have" not in card


@pytest.mark.usefixtures("without_report")
def test_a_run_over_rows_that_are_kept_on_disk_is_that_over_rows_that_are_held(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = {"base_model": "jenga/tiny-text"}
    content = settings("mood", "flags", "price", model=tiny, training={**TRAINING, "epochs": 2})
    content["data"] = {**content.get("data", {}), "cache_dir": str(tmp_path / "cache")}
    held = train({**content, "output_dir": str(tmp_path / "held")}, device="cpu").run
    monkeypatch.setattr("jenga.rows.large.LARGE_BYTES", 0)
    kept = train({**content, "output_dir": str(tmp_path / "kept")}, device="cpu").run
    assert list((tmp_path / "cache").glob("rows-*"))
    assert_equal_runs(held, kept)
    again = {**content, "output_dir": str(tmp_path / "again")}
    with pytest.raises(InterruptedRun):
        train(again, device="cpu", callbacks=[StopAt(3)])
    train(again, device="cpu", resume="auto")
    assert_equal_runs(held, only_run(tmp_path / "again"))


@pytest.mark.usefixtures("without_report")
def test_the_same_configuration_gives_the_same_run(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    content = settings("mood", "flags", model={"base_model": "jenga/tiny-text"}, training={**TRAINING, "epochs": 1})
    runs = [train({**content, "output_dir": str(tmp_path / name)}, device="cpu").run for name in ("one", "other")]
    assert_equal_runs(*runs)


@pytest.mark.usefixtures("without_report")
def test_tuned_thresholds_are_saved_and_applied(settings: Callable[..., dict[str, Any]]) -> None:
    content = settings(
        "flags",
        data={"valid_fraction": 0.4},
        evaluation={"thresholds": "tuned"},
        training={**TRAINING, "learning_rate": 1e-2},
    )
    tuned = train(content, device="cpu")
    bundle = Bundle.load(tuned.run / "best")
    thresholds = bundle.thresholds["flags", "flags"]
    assert thresholds.shape == (3,)
    assert not np.allclose(thresholds, 0.5)
    plain = train({**content, "evaluation": {"baselines": [], "thresholds": 0.5}}, device="cpu")
    assert tuned.metrics["eval_flags_flags_macro_f1"] >= plain.metrics["eval_flags_flags_macro_f1"]
    always = train({**content, "evaluation": {"baselines": [], "thresholds": 0.001}}, device="cpu")
    assert Bundle.load(always.run / "best").thresholds["flags", "flags"].tolist() == [0.001] * 3
    heads = always.evaluation["splits"]["valid"]["heads"][0]
    assert heads["metrics"] != tuned.evaluation["splits"]["valid"]["heads"][0]["metrics"]


def test_a_run_without_validation_and_test_rows_ends_with_its_last_model(
    settings: Callable[..., dict[str, Any]],
) -> None:
    result = train(settings("mood", "flags", data={"valid_fraction": 0.0, "test_fraction": 0.0}), device="cpu")
    assert result.metrics == {}
    assert damage(result.run / "best") is None


def test_bad_rows_are_listed(settings: Callable[..., dict[str, Any]], make_rows: Callable[..., Any]) -> None:
    rows = [{**row, "text": "" if i == 3 else row["text"]} for i, row in enumerate(make_rows(40))]
    content = settings("mood", rows=rows, data={"max_bad_fraction": 0.1}, training={**TRAINING, "max_steps": 1})
    run = train(content, device="cpu").run
    (line,) = (run / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["row"] == 4
    for page in ("README.md", "report.html"):
        told = (run / page).read_text(encoding="utf-8").replace("\\", "")
        assert "1 rows cannot be used and are left out" in told
        assert "column 'text' is empty" in told.replace("&#x27;", "'")


@pytest.mark.usefixtures("without_report")
def test_overrides_reach_the_run_and_a_resolved_configuration_takes_none(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(yaml.safe_dump({k: v for k, v in settings("mood").items() if k != "project_name"}))
    config = load_config(path, ["training.batch_size=3"])
    assert (config.training.batch_size, config.project_name) == (3, "mine")
    assert load_config(config) is config
    with pytest.raises(ConfigError, match="overrides need a file or a mapping"):
        load_config(config, ["training.batch_size=3"])


def test_fp16_and_devices_that_are_not_there_are_refused(settings: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(SetupError, match=r"training.precision: fp16 needs a GPU; on a CPU use bf16 or fp32"):
        train(settings("mood", training={"precision": "fp16"}), device="cpu")
    with pytest.raises(ConfigError, match="device: unknown 'gpu'"):
        make_accelerator("fp32", "gpu")
    if not torch.cuda.is_available():
        with pytest.raises(SetupError, match="has no cuda; use auto or cpu"):
            make_accelerator("fp32", "cuda")


def test_a_run_that_cannot_start_leaves_no_folder(settings: Callable[..., dict[str, Any]]) -> None:
    content = settings("mood", data={"max_length": 65})
    with pytest.raises(ConfigError):
        train(content, device="cpu")
    assert not Path(content["output_dir"]).exists()


# ---------------------------------------------------------------------------------------------------- parts of the user


class OneHot(BaseBackbone):
    """A user's backbone, which returns a plain dict."""

    def __init__(self, model_name: str, config: Any) -> None:
        super().__init__(model_name, config)
        self.encoder = torch.nn.Embedding(400, 16)

    @property
    def hidden_size(self) -> int:
        return 16

    def forward(self, **inputs: torch.Tensor) -> Mapping[str, Any]:
        hidden = self.encoder(inputs["input_ids"])
        return {"last_hidden_state": hidden, "pooler_output": hidden.mean(1)}


class OwnTask(BaseTask):
    """A user's task."""

    def get_forward_output(self, encoder_outputs: Any, labels: Any = None) -> Mapping[str, Any]:
        logits = self.head(encoder_outputs.pooler_output)
        return {"loss": F.cross_entropy(logits, labels) if labels is not None else None, "logits": logits}


class EchoConfig(Strict):
    """Parameters of a user's callback."""

    times: int = 1


class Echo(BaseCallback):
    """A user's callback."""

    heard: list[int] = []  # noqa: RUF012

    def __init__(self, times: int) -> None:
        self.times = times

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any, **kwargs: Any) -> None:
        self.heard.extend([epoch] * self.times)


@pytest.mark.usefixtures("without_report")
def test_backbone_task_and_callback_of_the_user_run_from_the_configuration(
    settings: Callable[..., dict[str, Any]], checkpoint: Callable[[str], str]
) -> None:
    BackboneManager._REGISTRY["one_hot"] = OneHot
    TASK_REGISTRY["own"] = OwnTask
    CALLBACK_REGISTRY.register("echo", config=EchoConfig)(Echo)
    try:
        content = settings(
            "mood",
            model={"backbone_type": "one_hot", "base_model": checkpoint("bert")},
            callbacks={"echo": {"times": 2}},
        )
        content["tasks"][0].update(type="own", heads=[{"name": "topic"}])
        result = train(content, device="cpu")
        assert Echo.heard == [0, 0, 1, 1]
        assert "test_mood_topic_accuracy" in result.metrics
        assert isinstance(Bundle.load(result.run / "best").model.encoders["shared"], OneHot)
    finally:
        del BackboneManager._REGISTRY["one_hot"], TASK_REGISTRY["own"], CALLBACK_REGISTRY["echo"]


# ------------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.usefixtures("without_report")
def test_ctrl_c_and_resume_auto_end_in_the_same_run(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    content = settings(*ALL, fusion={"type": "attention"})
    straight = train({**content, "output_dir": str(tmp_path / "straight")}, device="cpu")
    for step in (3, 6):
        with pytest.raises(InterruptedRun):
            train(content, device="cpu", resume="auto", callbacks=[StopAt(step)])
        run = only_run(Path(content["output_dir"]))
        assert RunFolder(run).info()["status"] == "interrupted"
    resumed = train(content, device="cpu", resume="auto")
    assert resumed.run == run
    assert_equal_runs(straight.run, resumed.run)


@pytest.mark.usefixtures("without_report")
def test_a_run_can_be_resumed_by_its_folder_with_tracking_changed(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = settings("mood")
    with pytest.raises(InterruptedRun):
        train(content, device="cpu", callbacks=[StopAt(3)])
    run = only_run(Path(content["output_dir"]))

    class NoTracker(BaseCallback):
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def load_state_dict(self, state: Any) -> None:
            raise AssertionError("this memory is another callback's")

    monkeypatch.setattr("jenga.callbacks.configured.MlflowCallback", NoTracker)
    assert train(content, device="cpu", resume=str(run), overrides=["tracking.enabled=true"]).run == run


def test_what_cannot_be_resumed_is_refused_with_the_reason(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    content = settings("mood", training={**TRAINING, "max_steps": 2})
    run = train(content, device="cpu").run
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(ConfigError, match=r"is finished; its results are in .*report.html"):
        train(content, device="cpu", resume=str(run))
    with pytest.raises(ConfigError, match=r"another configuration \(training\.seed 0 -> 9\); compare .*config\.yml"):
        train(content, device="cpu", resume=str(run), overrides=["training.seed=9"])
    with pytest.raises(ConfigError, match=r"is no run folder"):
        train(content, device="cpu", resume=str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.usefixtures("without_report")
def test_resume_auto_goes_on_where_more_training_alone_is_asked_for(
    settings: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    content = settings("mood", training={**TRAINING, "epochs": 1})
    with pytest.raises(InterruptedRun):
        train(content, callbacks=[StopAt(2)], device="cpu")
    run = only_run(Path(content["output_dir"]))
    longer = {**content, "training": {**content["training"], "epochs": 2}}
    result = train(longer, device="cpu", resume="auto")
    assert result.run == run
    steps = [record["step"] for record in lines(run) if record["event"] == "train"]
    assert steps == list(range(1, len(steps) + 1))
    assert "goes on with training.epochs 1 -> 2" in caplog.text
    assert RunFolder(run).is_of(config_digest(load_config(longer)))


@pytest.mark.usefixtures("without_report")
def test_resume_auto_says_which_run_it_passes_over_and_why(
    settings: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    content = settings("mood", training={**TRAINING, "max_steps": 3})
    with pytest.raises(InterruptedRun):
        train(content, callbacks=[StopAt(2)], device="cpu")
    run = only_run(Path(content["output_dir"]))
    other = {**content, "training": {**content["training"], "batch_size": 4, "max_steps": 1}}
    assert train(other, device="cpu", resume="auto").run != run
    assert f"{run} did not finish and is passed over" in caplog.text
    assert "training.max_steps 3 -> 1, training.batch_size 8 -> 4" in caplog.text


@pytest.mark.usefixtures("without_report")
def test_resume_auto_starts_anew_where_nothing_is_unfinished(settings: Callable[..., dict[str, Any]]) -> None:
    content = settings("mood", training={**TRAINING, "max_steps": 2})
    first = train(content, device="cpu", resume="auto").run
    assert train(content, device="cpu", resume="auto").run != first


def test_a_run_in_use_is_refused_and_left_alone(settings: Callable[..., dict[str, Any]]) -> None:
    content = settings("mood")
    with pytest.raises(InterruptedRun):
        train(content, device="cpu", callbacks=[StopAt(3)])
    other = RunFolder(only_run(Path(content["output_dir"])))
    other.hold()
    try:
        with pytest.raises(SetupError, match="in use by another process"):
            train(content, device="cpu", resume="auto")
        assert other.info()["status"] == "interrupted"
    finally:
        other.release()
    assert train(content, device="cpu", resume="auto").run == other.path


@pytest.mark.usefixtures("without_report")
def test_a_failed_run_says_why_and_can_be_resumed(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    content = settings("mood")
    straight = train({**content, "output_dir": str(tmp_path / "straight")}, device="cpu")

    class Fail(BaseCallback):
        def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
            if trainer.state.step == 6:
                raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        train(content, device="cpu", callbacks=[Fail()])
    run = only_run(Path(content["output_dir"]))
    assert {key: RunFolder(run).info()[key] for key in ("status", "reason")} == {
        "status": "failed", "reason": "no space left on device",
    }  # fmt: skip
    assert_equal_runs(train(content, device="cpu", resume="auto").run, straight.run)


@pytest.mark.usefixtures("without_report")
def test_rows_that_changed_are_refused_by_name_and_taken_on_request(
    settings: Callable[..., dict[str, Any]], make_rows: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    content = settings("mood")
    with pytest.raises(InterruptedRun):
        train(content, device="cpu", callbacks=[StopAt(6)])
    run = RunFolder(only_run(Path(content["output_dir"])))
    settings("mood", rows=make_rows(40)[:12])
    changed = rf"began with: {content['tasks'][0]['data_path']} changed\. .* go on all the same with --changed-rows"
    for resume in ("auto", str(run.path)):
        with pytest.raises(DataError, match=changed):
            train(content, device="cpu", resume=resume)
        assert run.info()["status"] == "interrupted"
    # The epoch that was begun has fewer turns now than it has taken.
    assert train(content, device="cpu", resume="auto", changed_rows=True).run == run.path
    assert "scores before and after differ" in caplog.text
    assert run.info()["status"] == "finished"


@pytest.mark.usefixtures("without_report")
def test_rows_with_another_label_are_of_another_model(
    settings: Callable[..., dict[str, Any]], make_rows: Callable[..., Any]
) -> None:
    content = settings("mood")
    with pytest.raises(InterruptedRun):
        train(content, device="cpu", callbacks=[StopAt(3)])
    settings("mood", rows=[{**row, "mood": "new"} if at % 3 else row for at, row in enumerate(make_rows(40))])
    with pytest.raises(SetupError, match=r"it is of another model \(size mismatch.*start a new run"):
        train(content, device="cpu", resume="auto", changed_rows=True)


# ---------------------------------------------------------------------------------------------------------- a full disk


@contextlib.contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_run_that_finds_no_room_for_its_model_says_so_and_leaves_no_pieces(
    settings: Callable[..., dict[str, Any]],
) -> None:
    content = settings("mood")
    with (
        no_room_beyond(20_000),
        pytest.raises(SetupError, match=r"runs/test/.*: cannot be written \(File too large\);"),
    ):
        train(content, device="cpu")
    run = RunFolder(only_run(Path(content["output_dir"])))
    assert run.info()["status"] == "failed"
    assert "cannot be written" in run.info()["reason"]
    assert [path for path in run.path.rglob(".*") if path.name != ".lock"] == []
    assert train(content, device="cpu", resume="auto").run == run.path


def test_a_run_that_finds_no_room_to_begin_leaves_no_folder(settings: Callable[..., dict[str, Any]]) -> None:
    content = settings("mood")
    with no_room_beyond(10), pytest.raises(SetupError, match=r"run.json: cannot be written \(File too large\);"):
        train(content, device="cpu")
    assert list(Path(content["output_dir"]).iterdir()) == []


def test_a_run_whose_results_are_written_is_finished_whatever_its_callbacks_still_wait_for(
    settings: Callable[..., dict[str, Any]],
) -> None:
    class Waits(BaseCallback):
        def on_close(self, outcome: Any, **kwargs: Any) -> None:
            raise KeyboardInterrupt

    content = settings("mood", training={**TRAINING, "max_steps": 1})
    with pytest.raises(KeyboardInterrupt):
        train(content, device="cpu", callbacks=[Waits()])
    assert RunFolder(only_run(Path(content["output_dir"]))).info()["status"] == "finished"


# ---------------------------------------------------------------------------------------------------------- killed runs


def strike(content: dict[str, Any], folder: Path, deaths: list[list[Any]]) -> dict[str, Any]:
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"config": content, "folder": str(folder), "deaths": deaths}))
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(plan)], env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=900,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["straight"]["code"] == found["struck"]["code"] == 0, done.stderr
    return found


def mortal(settings: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return settings(
        *ALL, model={"base_model": "jenga/tiny-text"}, evaluation={"every_steps": 3}, checkpoint={"every_steps": 2},
        training={
            "max_steps": 10, "log_every_steps": 3, "gradient_accumulation_steps": 2, "batch_size": 2,
            "learning_rate": 1e-2,
        },
    )  # fmt: skip


def test_a_run_killed_twice_and_resumed_equals_one_that_was_not(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Once while a checkpoint takes the place of another, once at some moment."""
    found = strike(mortal(settings), tmp_path, [[signal.SIGKILL, "write", 60], [signal.SIGKILL, "share", 0.3]])
    assert found["codes"] == [-signal.SIGKILL] * 2
    assert_equal_runs(Path(found["straight"]["run"]), Path(found["struck"]["run"]))


@pytest.mark.slow
def test_a_run_on_events_killed_twice_and_resumed_equals_one_that_was_not(
    event_settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    content = event_settings(
        evaluation={"every_steps": 3}, checkpoint={"every_steps": 2},
        model={"base_model": "mlp", "hidden_sizes": [8], "dropout": 0.2, "normalization": "batch"},
        training={"max_steps": 10, "log_every_steps": 3, "batch_size": 16, "learning_rate": 1e-2},
    )  # fmt: skip
    found = strike(content, tmp_path, [[signal.SIGKILL, "write", 45], [signal.SIGKILL, "share", 0.5]])
    assert found["codes"][0] == -signal.SIGKILL
    straight, struck = Path(found["straight"]["run"]), Path(found["struck"]["run"])
    assert_equal_runs(straight, struck)
    states = [run / "best" / "backbone" / "refinery.safetensors" for run in (straight, struck)]
    assert states[0].read_bytes() == states[1].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("teacher", [{"top_k": 5}, {"hidden_states": {}}], ids=["cached", "running"])
def test_a_distillation_killed_twice_and_resumed_equals_one_that_was_not(
    tmp_path: Path, make_gpt2: Callable[..., Path], write_rows: Callable[..., str], teacher: dict[str, Any]
) -> None:
    rows = [{"prompt": f"is {n} good", "completion": "yes it is" if n % 3 else "no"} for n in range(30)]
    content = {
        "model": {
            "name": str(make_gpt2(width=16)),
            "teacher_student_config": {"teacher_model": str(make_gpt2(layers=3, width=24, seed=1)), **teacher},
        },
        "data": {"path": write_rows(tmp_path / "rows.jsonl", rows), "max_length": 48, "packing": True,
                 "cache_dir": str(tmp_path / "cache")},
        "peft": {"type": "lora", "rank": 2, "dropout": 0.1},
        "evaluation": {"every_steps": 3}, "checkpoint": {"every_steps": 2}, "tracking": {"enabled": False},
        "training": {"max_steps": 8, "log_every_steps": 3, "batch_size": 2, "gradient_accumulation_steps": 2},
        "generation": {"rows": 1, "max_new_tokens": 3},
    }  # fmt: skip
    found = strike(content, tmp_path, [[signal.SIGKILL, "write", 45], [signal.SIGKILL, "share", 0.5]])
    assert found["codes"][0] == -signal.SIGKILL
    assert_equal_runs(Path(found["straight"]["run"]), Path(found["struck"]["run"]))


@pytest.mark.slow
def test_a_run_killed_at_many_random_moments_equals_one_that_was_not(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(seeds.derived(0))
    # The first three strike before a run can end; when a later one does is chance, and so is whether it still strikes.
    deaths: list[list[Any]] = [[signal.SIGKILL, "write", int(rng.integers(1, 20))] for _ in range(3)]
    for _ in range(7):
        number = int(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
        deaths.append(
            [number, "write", int(rng.integers(1, 70))]
            if rng.random() < 0.7
            else [number, "share", float(rng.uniform(0.1, 0.9))]
        )
    found = strike(mortal(settings), tmp_path, deaths)
    assert set(found["codes"]) <= {0, 130, -signal.SIGKILL}
    assert found["codes"][:3] == [-signal.SIGKILL] * 3
    assert_equal_runs(Path(found["straight"]["run"]), Path(found["struck"]["run"]))


@pytest.mark.usefixtures("without_report")
def test_a_run_on_events_goes_on_with_more_rows_though_their_quantiles_are_others(
    event_settings: Callable[..., dict[str, Any]], flows: list[dict[str, Any]]
) -> None:
    model = {"base_model": "security_tab_v1", "backbone_type": "sequential"}
    content = event_settings(flows[:60], model=model)
    with pytest.raises(InterruptedRun):
        train(content, device="cpu", callbacks=[StopAt(3)])
    more = [{**flow, "bytes_in": 7 * flow["bytes_in"] + at} for at, flow in enumerate(flows)]
    Path(content["tasks"][0]["data_path"]).write_text(json.dumps(flows[:60] + more))
    run = train(content, device="cpu", resume="auto", changed_rows=True).run
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
