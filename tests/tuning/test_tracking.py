import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.bundle import schema
from jenga.config.load import load_search
from jenga.tuning import study, tracking
from jenga.tuning.folder import StudyFolder, new_study
from jenga.tuning.tracking import ParentRun
from jenga.tuning.trials import Trial

# MLflow's own use of SQLAlchemy, and the connections that it leaves to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]


@pytest.fixture
def tracked(searched: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a function that makes a search whose runs are tracked in the default database."""
    return lambda **tune: {**searched(**tune), "tracking": {"tags": {"team": "calls"}}}


def runs(config: dict[str, Any]) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{Path(config['output_dir']).resolve() / 'mlflow.db'}")
    return list(client.search_runs([each.experiment_id for each in client.search_experiments()]))


@pytest.mark.slow
def test_runs_of_trials_are_children_of_the_run_of_the_study(tracked: Callable[..., dict[str, Any]]) -> None:
    config = tracked(trials=1)
    found = study.tune(config, device="cpu")
    found = study.tune(tracked(trials=2), device="cpu", resume="auto")
    by_name = {run.info.run_name: run for run in runs(config)}
    assert by_name.keys() == {Path(found["study"]).name, "trial-000", "trial-001"}
    parent = by_name.pop(Path(found["study"]).name)
    assert {run.data.tags["mlflow.parentRunId"] for run in by_name.values()} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["team"] == "calls"
    assert parent.data.params["tune.space.training.batch_size"] == "[4, 8]"
    assert parent.data.metrics["best_eval_loss"] == found["best"]["score"]
    assert not list(Path(config["output_dir"]).glob("mlartifacts/**/MLmodel"))


def parent_of(config: dict[str, Any]) -> tuple[ParentRun, StudyFolder]:
    search = load_search(config, schema=schema())
    folder = new_study(search, metric="eval_loss", evaluation_metric="eval_loss", greater_is_better=False)
    folder.release()
    block = search.tune.model_dump(mode="json")
    return ParentRun(search.config, folder, keeps_all=block["keep"] == "all", search=block), folder


def test_an_mlflow_that_is_not_there_costs_one_warning_and_nothing_else(
    tracked: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    config = tracked()
    config["tracking"]["uri"] = f"sqlite:///{config['output_dir']}"
    Path(config["output_dir"]).mkdir()
    parent, folder = parent_of(config)
    with caplog.at_level(logging.WARNING):
        parent.begin()
        parent.note("eval_loss", Trial(0, "finished", {}, 1.0, 1, None), None)
        parent.end("finished")
    assert caplog.text.count("does not take the study itself") == 1
    assert parent.tracked(parent.config).tracking.tags == {"team": "calls"}
    assert "mlflow_run_id" not in folder.info()


def test_an_mlflow_that_does_not_answer_is_left(
    tracked: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import threading

    silent = threading.Event()
    monkeypatch.setattr(tracking, "PATIENCE_S", 0.05)
    monkeypatch.setattr(tracking, "import_mlflow", lambda: None)
    monkeypatch.setattr(ParentRun, "_open", lambda self, known: silent.wait(30))
    config = tracked()
    config["tracking"]["uri"] = "http://127.0.0.1:9"
    parent, _ = parent_of(config)
    with caplog.at_level(logging.WARNING):
        parent.begin()
    silent.set()
    assert "no answer for 2.05 s" in caplog.text
    assert parent.off


def test_without_tracking_nothing_is_asked_of_mlflow(
    searched: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "import_mlflow", lambda: pytest.fail("imported"))
    parent, _ = parent_of(searched())
    parent.begin()
    parent.end("finished")
    assert parent.tracked(parent.config) == parent.config.model_copy(
        update={"tracking": parent.config.tracking.model_copy(update={"log_model": False})}
    )


@pytest.mark.parametrize(("keep", "logged"), [("all", True), ("best", False)])
def test_models_are_logged_where_all_trials_keep_theirs(
    tracked: Callable[..., dict[str, Any]], keep: str, logged: bool
) -> None:
    parent, _ = parent_of(tracked(keep=keep))
    parent.run_id = "abc"
    found = parent.tracked(parent.config).tracking
    assert found.log_model is logged
    assert found.tags == {"team": "calls", "mlflow.parentRunId": "abc"}
