"""Where MLflow keeps runs, and how it is opened: a server, or a database that is made where it is not there."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import sqlite3
import urllib.error
import urllib.request
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jenga.callbacks.mlflow_database import quickly_made
from jenga.config.schema import TrackingConfig
from jenga.extras import command, is_here
from jenga.imports import collector_at_rest

logger = logging.getLogger(__name__)

# MLflow's defaults try a dead server for four minutes; what the user sets wins.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class Server:
    """The MLflow of `tracking`: its `uri`, by default the `database` mlflow.db of `output_dir`."""

    def __init__(self, tracking: TrackingConfig, *, project: str, output_dir: Path) -> None:
        root = output_dir.resolve()
        self.database = None if tracking.uri else root / "mlflow.db"
        self.uri = tracking.uri or f"sqlite:///{self.database}"
        # A server knows where its artifacts are; a local database would put them into the working directory.
        served = self.uri.startswith(("http:", "https:", "databricks", "file:"))
        self.artifact_root = None if served else (root / "mlartifacts").as_uri()
        self.experiment = tracking.experiment or project

    @property
    def probed(self) -> bool:
        """Whether it can be asked if it is there."""
        return self.uri.startswith(("http:", "https:"))

    def answers(self, patience_s: float) -> bool:
        """Return whether it is there: a server that answers within `patience_s`, or a file, which always is."""
        if not self.probed:
            return self.uri.startswith(("sqlite:", "file:"))
        bare = re.sub(r"//[^/@]*@", "//", self.uri).rstrip("/")
        try:
            with urllib.request.urlopen(f"{bare}/health", timeout=patience_s):
                return True
        except urllib.error.HTTPError:
            return True
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def client(self) -> Any:
        """Return MLflow's client. Raises OSError for a database that cannot be opened."""
        from mlflow.tracking import MlflowClient

        _check_database(self.uri)
        # The code of the store is imported only as it is opened.
        with collector_at_rest(), quickly_made(self.database, _template()) if self.database else nullcontext():
            return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def experiment_id(self, client: Any) -> str:
        """Return the id of the experiment, which is made where it is not there."""
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return str(client.create_experiment(self.experiment, artifact_location=self.artifact_root))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                # Another run made it in between.
                found = client.get_experiment_by_name(self.experiment)
        return str(found.experiment_id)


def is_tracked(tracking: TrackingConfig) -> bool:
    """Return whether runs go to MLflow. Where `tracking` leaves that open, a warning says why not."""
    if tracking.enabled is not None:
        return tracking.enabled
    if not is_here("mlflow"):
        logger.warning(
            "not tracked: MLflow is not installed here; losses and metrics are kept in the run folder alone. For "
            "tracking: %s; without this line: tracking: {enabled: false}",
            command("track"),
        )
        return False
    return True


def import_mlflow() -> None:
    """Import MLflow as a run wants it. In the main thread: two that import the same packages can meet them half made.

    Raises whatever that import raises.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with collector_at_rest():
        import mlflow.tracking  # noqa: F401

    # Each new database would be announced in two lines.
    for name in ("mlflow.store", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _check_database(uri: str) -> None:
    """Raise OSError where a database that is a file cannot be opened, which MLflow would try for minutes."""
    path = uri.split("?")[0].removeprefix("sqlite:///")
    if uri.startswith("sqlite:///") and path not in ("", ":memory:"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from error


def _template() -> Path:
    """Return where the user's cache keeps an empty database of this version of MLflow."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "jenga" / f"mlflow-{version('mlflow')}.db"
