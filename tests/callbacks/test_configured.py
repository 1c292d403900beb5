"""The one list of a run's callbacks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from jenga.callbacks import CALLBACK_REGISTRY, BaseCallback
from jenga.callbacks.configured import configured_callbacks
from jenga.callbacks.early_stopping import EarlyStopping
from jenga.callbacks.mlflow import MlflowCallback


class Mine(BaseCallback):
    pass


@pytest.fixture
def mine() -> Iterator[None]:
    CALLBACK_REGISTRY["mine"] = Mine
    yield
    del CALLBACK_REGISTRY["mine"]


def names(found: list[BaseCallback]) -> list[str]:
    return [type(each).__name__ for each in found]


@pytest.mark.usefixtures("mine")
def test_each_key_of_the_configuration_is_one_callback_of_the_list(make_view: Callable[..., Any]) -> None:
    on = {"callbacks": {"mine": {}}, "early_stopping": {"patience": 2, "min_delta": 0.5}}
    found = configured_callbacks(make_view(**on).config, Console(quiet=True))
    assert names(found) == ["Mine", "EarlyStopping", "MlflowCallback", "ProgressCallback"]
    stopping, tracking = found[1:3]
    assert isinstance(stopping, EarlyStopping)
    assert (stopping.patience, stopping.min_delta) == (2, 0.5)
    assert isinstance(tracking, MlflowCallback)
    assert tracking.server.experiment == "calls"
    tracking.on_close("failed")


def test_what_is_off_is_not_in_the_list(make_view: Callable[..., Any]) -> None:
    config = make_view(tracking={"enabled": False}).config
    assert names(configured_callbacks(config, Console(quiet=True))) == ["ProgressCallback"]


def test_without_mlflow_a_run_is_not_tracked_and_one_warning_says_so(
    make_view: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for enabled, told in ((False, 0), (None, 1)):
        config = make_view(tracking={"enabled": enabled}).config
        assert names(configured_callbacks(config, Console(quiet=True))) == ["ProgressCallback"]
        assert caplog.text.count("not tracked: MLflow is not installed here") == told
    assert "pip install 'jenga[track]'" in caplog.text
