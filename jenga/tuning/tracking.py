"""A study in MLflow: one run, of which the runs of its trials are children."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jenga.callbacks.base import Outcome
from jenga.callbacks.beside import Beside
from jenga.callbacks.mlflow_form import TAG_LENGTH, metric_name, reason_of
from jenga.callbacks.mlflow_server import Server, import_mlflow, is_tracked
from jenga.config.schema import ExperimentConfig
from jenga.errors import redacted
from jenga.tuning.folder import StudyFolder
from jenga.tuning.trials import Trial

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""How long a study waits for MLflow to get anything done before it asks whether it is there at all."""
_PROBE_S = 2.0
_PARENT = "mlflow.parentRunId"
_STATUS: dict[Outcome, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class ParentRun:
    """The study's own run in MLflow, where `tracking` is on. Its first error leaves it, with one warning."""

    def __init__(
        self, config: ExperimentConfig, study: StudyFolder, *, keeps_all: bool, search: dict[str, Any]
    ) -> None:
        self.config, self.study, self.keeps_all = config, study, keeps_all
        self.server = Server(config.tracking, project=str(config.project_name), output_dir=Path(config.output_dir))
        self.parameters = {f"tune.{key}": json.dumps(value) for key, value in _flat(search).items()}
        self.run_id: str | None = None
        self.enabled = is_tracked(config.tracking)
        self.off = not self.enabled
        self._client: Any = None
        self._worker, self._leaving = Beside("jenga-mlflow-study"), threading.Lock()

    def begin(self) -> None:
        """Open the run, or that of a study that is gone on with."""
        self._guarded(import_mlflow)
        self._submit(self._open, self.study.info().get("mlflow_run_id"))
        self._wait()
        if self.run_id is not None:
            self.study.update(mlflow_run_id=self.run_id)

    def tracked(self, config: ExperimentConfig) -> ExperimentConfig:
        """Return the configuration of a trial as one whose run is a child of this one.

        Where only the best trial keeps its weights, MLflow gets none either.
        """
        tags = config.tracking.tags | ({} if self.run_id is None else {_PARENT: self.run_id})
        log_model = config.tracking.log_model and self.keeps_all
        tracking = config.tracking.model_copy(update={"enabled": self.enabled, "tags": tags, "log_model": log_model})
        return config.model_copy(update={"tracking": tracking})

    def note(self, metric: str, trial: Trial, best: Trial | None) -> None:
        """Log the score of a trial, and the best so far, with the trial's number for a step."""
        scores = {metric: trial.score, f"best_{metric}": None if best is None else best.score}
        self._submit(self._log, trial.number, {name: score for name, score in scores.items() if score is not None})

    def end(self, outcome: Outcome) -> None:
        """End the run, and wait for what is still to be sent as long as MLflow gets on with it."""
        self._submit(self._terminate, outcome)
        self._wait()

    def _submit(self, job: Callable[..., None], *arguments: Any) -> None:
        if not self.off:
            self._worker.submit(self._guarded, job, *arguments)

    def _wait(self) -> None:
        while not self.off and not self._worker.wait(PATIENCE_S):
            if not self.server.answers(_PROBE_S):
                self._leave(TimeoutError(f"no answer for {PATIENCE_S + _PROBE_S:g} s"))

    def _guarded(self, job: Callable[..., None], *arguments: Any) -> None:
        if self.off:
            return
        try:
            job(*arguments)
        except Exception as error:
            # As with the runs themselves: whatever MLflow comes up with, the study goes on.
            self._leave(error)

    def _leave(self, error: Exception) -> None:
        with self._leaving:
            if self.off:
                return
            logger.debug("MLflow tracking of the study failed", exc_info=error)
            logger.warning(
                "MLflow at %s does not take the study itself: %s. The study goes on; its results stay in %s",
                redacted(self.server.uri), reason_of(error), self.study.path,
            )  # fmt: skip
            self.off = True  # last: who waits goes on by it, once all is told

    # ----------------------------------------------------------------------------------------- jobs of the one thread

    def _open(self, known: str | None) -> None:
        from mlflow.entities import Param, RunTag
        from mlflow.exceptions import MlflowException

        self._client = self.server.client()
        if known is not None:
            try:
                self._client.update_run(known, status="RUNNING")
                self.run_id = known
                return
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        run = self._client.create_run(self.server.experiment_id(self._client), run_name=self.study.path.name)
        tags = {"jenga.version": version("jenga"), **self.config.tracking.tags}
        self._client.log_batch(
            run.info.run_id,
            tags=[RunTag(metric_name(key), value[:TAG_LENGTH]) for key, value in tags.items()],
            params=[Param(metric_name(key), value) for key, value in self.parameters.items()],
        )
        self.run_id = run.info.run_id

    def _log(self, number: int, scores: dict[str, float]) -> None:
        for name, score in scores.items():
            self._client.log_metric(self.run_id, metric_name(name), score, step=number)

    def _terminate(self, outcome: Outcome) -> None:
        if self.run_id is not None:
            self._client.set_terminated(self.run_id, _STATUS[outcome])


def _flat(search: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a search, those of each key of its space by themselves."""
    return {key: value for key, value in search.items() if key != "space"} | {
        f"space.{key}": value for key, value in search["space"].items()
    }
