"""Where MLflow keeps runs."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from jenga.callbacks.mlflow_server import Server, import_mlflow
from jenga.config.schema import TrackingConfig


@pytest.mark.parametrize(
    ("uri", "is_ours"), [(None, True), ("sqlite:///{}/own.db", True), ("http://127.0.0.1:9", False)]
)
def test_only_a_server_chooses_where_artifacts_go(tmp_path: Path, uri: str | None, is_ours: bool) -> None:
    tracking = TrackingConfig(uri=uri and uri.format(tmp_path))
    server = Server(tracking, project="calls", output_dir=tmp_path)
    assert server.artifact_root == ((tmp_path / "mlartifacts").as_uri() if is_ours else None)


def test_an_experiment_that_another_run_makes_in_between_is_taken(tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS

    client = MagicMock()
    client.get_experiment_by_name.side_effect = [None, MagicMock(experiment_id="7")]
    client.create_experiment.side_effect = MlflowException("there", error_code=RESOURCE_ALREADY_EXISTS)
    server = Server(TrackingConfig(experiment="team"), project="calls", output_dir=tmp_path)
    assert server.experiment_id(client) == "7"
    assert client.get_experiment_by_name.call_args.args == ("team",)


def test_a_database_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    import_mlflow()
    (tmp_path / "folder").mkdir()
    server = Server(TrackingConfig(uri=f"sqlite:///{tmp_path}/folder"), project="calls", output_dir=tmp_path)
    with pytest.raises(OSError, match="folder"):
        server.client()


def test_a_file_is_always_there_and_a_server_only_where_it_answers(tmp_path: Path) -> None:
    uris = {None: True, "file:///tmp/runs": True, "http://127.0.0.1:9": False, "postgresql://host/runs": False}
    for uri, there in uris.items():
        assert Server(TrackingConfig(uri=uri), project="calls", output_dir=tmp_path).answers(0.5) is there


def test_what_the_user_set_for_mlflow_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "9")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    import_mlflow()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "9"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "60"
