"""Which run is gone on with. (What comes of going on: test_experiment.py.)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.config.render import config_digest, to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError
from jenga.run.experiment import load_config
from jenga.run.resume import find_run
from jenga.trainer.run import RunFolder

Settings = Callable[..., dict[str, Any]]


def begun(config: ExperimentConfig, *, written: bool = True) -> Path:
    """A run of `config` that did not finish."""
    run = RunFolder.create(Path(config.output_dir), str(config.project_name), config_digest(config))
    if written:
        (run.path / "config.yml").write_text(to_yaml(config))
    run.release()
    return run.path


@pytest.fixture
def changed(settings: Settings) -> Callable[..., ExperimentConfig]:
    content = settings("mood", training={"epochs": 2, "batch_size": 8})

    def make(**training: Any) -> ExperimentConfig:
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


@pytest.mark.parametrize(
    ("training", "why"),
    [
        ({"epochs": 1}, "training.epochs 2 -> 1"),
        ({"batch_size": 4}, "training.batch_size 8 -> 4"),
        ({"seed": 9, "epochs": 3}, "training.seed"),
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
    begun(changed(), written=False)
    assert find_run(changed(epochs=3), "auto") is None
    assert "is passed over" in caplog.text


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
