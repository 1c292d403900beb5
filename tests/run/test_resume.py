"""Which run is gone on with. (What comes of going on: test_experiment.py.)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.config.render import config_digest, to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError
from jenga.launched import LAUNCH
from jenga.report.runs import this_machine
from jenga.run.experiment import load_config
from jenga.run.resume import find_run, record
from jenga.trainer.run import RunFolder

Settings = Callable[..., dict[str, Any]]


def begun(config: ExperimentConfig, *, written: bool = True) -> Path:
    """A run of `config` that did not finish."""
    run = RunFolder.create(Path(config.output_dir), str(config.project_name), record(config) if written else {})
    if written:
        (run.path / "config.yml").write_text(to_yaml(config))
    run.release()
    return run.path


def decided(config: ExperimentConfig, **training: Any) -> Path:
    """A run of `config` in whose config.yml the rows have decided `training`."""
    path = begun(config)
    settled = config.model_copy(update={"training": config.training.model_copy(update=training)})
    (path / "config.yml").write_text(to_yaml(settled))
    return path


@pytest.fixture
def changed(settings: Settings) -> Callable[..., ExperimentConfig]:
    content = settings("mood", training={"epochs": 2, "batch_size": 8})

    def make(**training: Any) -> ExperimentConfig:
        """None: left open."""
        return load_config({**content, "training": {**content["training"], **training}})

    return make


@pytest.mark.parametrize("training", [{}, {"epochs": 3}, {"max_steps": 99}, {"epochs": 5, "max_steps": 7}])
def test_a_run_of_the_same_settings_goes_on_also_for_longer(
    changed: Callable[..., ExperimentConfig], training: dict[str, Any]
) -> None:
    path = begun(changed())
    for resume in ("auto", str(path)):
        run = find_run(changed(**training), resume)
        assert run is not None
        assert run.path == path
        assert run.is_of(config_digest(changed(**training)))
        run.release()


def test_a_run_says_which_machine_has_it_also_where_another_one_began_it(
    changed: Callable[..., ExperimentConfig],
) -> None:
    path = begun(changed())
    assert RunFolder(path).info()["machine"] == this_machine()
    RunFolder(path).update(machine={"host": "gpu-7", "boot": "x"})
    run = find_run(changed(), "auto")
    assert run is not None
    assert run.info()["machine"] == this_machine()
    run.release()


@pytest.mark.parametrize(
    ("training", "why"),
    [
        ({"epochs": 1}, "training.epochs 2 -> 1"),
        ({"batch_size": 4}, "training.batch_size 8 -> 4"),
        ({"seed": 9, "epochs": 3}, "training.seed"),
        ({"batch_size": None}, "training.batch_size 8 -> left open"),
        ({"epochs": None}, "training.epochs 2 -> left open"),
        ({"learning_rate": 0.5}, "training.learning_rate"),
    ],
)
def test_a_run_of_other_settings_is_passed_over_with_the_reason(
    changed: Callable[..., ExperimentConfig], training: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = begun(changed())
    assert find_run(changed(**training), "auto") is None
    assert f"{path} did not finish and is passed over" in caplog.text
    assert why in caplog.text
    with pytest.raises(ConfigError, match=f"another configuration .*{why}"):
        find_run(changed(**training), str(path))


def test_a_run_that_does_not_say_its_settings_is_passed_over(
    changed: Callable[..., ExperimentConfig], caplog: pytest.LogCaptureFixture
) -> None:
    path = begun(changed(), written=False)
    (path / "config.yml").write_text(to_yaml(changed()))
    assert find_run(changed(epochs=3), "auto") is None
    assert "is passed over: its run.json does not say which configuration it was begun with" in caplog.text
    with pytest.raises(ConfigError, match=r"its run\.json does not say .* start anew"):
        find_run(changed(), str(path))


def test_what_was_left_open_goes_on_as_it_was_and_for_longer_than_was_decided(
    changed: Callable[..., ExperimentConfig],
) -> None:
    open_ = changed(epochs=None, batch_size=None)
    path = decided(open_, epochs=6, batch_size=32)
    for longer in (open_, changed(epochs=7, batch_size=None)):
        run = find_run(longer, str(path))
        assert run is not None
        run.release()
        assert run.is_of(config_digest(longer))
    path = decided(open_, epochs=6, batch_size=32)
    with pytest.raises(ConfigError, match=r"training\.epochs 6 -> 5"):
        find_run(changed(epochs=5, batch_size=None), str(path))
    with pytest.raises(ConfigError, match=r"training\.batch_size left open -> 32"):
        find_run(changed(epochs=None, batch_size=32), str(path))


def test_a_run_is_known_by_its_own_config_yml_also_for_longer(changed: Callable[..., ExperimentConfig]) -> None:
    path = decided(changed(epochs=None, batch_size=None), epochs=6, batch_size=32)
    run = find_run(changed(epochs=9, batch_size=32), str(path))
    assert run is not None
    run.release()
    with pytest.raises(ConfigError, match=r"training\.batch_size left open -> 16"):
        find_run(changed(epochs=9, batch_size=16), str(path))


def test_an_older_run_that_fits_is_taken_and_nothing_is_said_of_newer_ones(
    changed: Callable[..., ExperimentConfig], caplog: pytest.LogCaptureFixture
) -> None:
    path = begun(changed())
    begun(changed(batch_size=4))
    run = find_run(changed(), "auto")
    assert run is not None
    assert run.path == path
    assert caplog.text == ""
    run.release()


@pytest.mark.parametrize("resume", [None, "auto"])
def test_a_launcher_that_starts_all_anew_goes_on_with_its_own_run_whatever_the_clock_says(
    changed: Callable[..., ExperimentConfig], monkeypatch: pytest.MonkeyPatch, resume: str | None
) -> None:
    """Also with one that was older than the launcher, and beside one whose name is later: a clock was set back."""
    resumed = begun(changed())
    monkeypatch.setenv(LAUNCH, "this")
    run = find_run(changed(), str(resumed))
    assert run is not None
    run.release()
    monkeypatch.setenv(LAUNCH, "other")
    later = begun(changed())
    assert later.name > resumed.name
    run = find_run(changed(), resume, launch="this")
    assert run is not None
    assert run.path == resumed
    run.release()
