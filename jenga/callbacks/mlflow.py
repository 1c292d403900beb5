"""Tracking with MLflow. Training never waits for it, and never fails because of it."""

from __future__ import annotations

import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypedDict

from jenga.callbacks.base import BaseCallback, Outcome, TrainerView, TrainRecord
from jenga.callbacks.beside import Beside
from jenga.callbacks.mlflow_form import (
    TAG_LENGTH,
    metric_name,
    parameters_of,
    reason_of,
    training_metrics,
    write_plots,
)
from jenga.callbacks.mlflow_model import log_model
from jenga.callbacks.mlflow_server import Server, import_mlflow
from jenga.config.schema import TrackingConfig
from jenga.errors import redacted
from jenga.files import json_object, write_atomic
from jenga.imports import collector_at_rest

logger = logging.getLogger(__name__)

FLUSH_S = 5.0
"""Least time between two uploads of training records."""
PATIENCE_S = 5.0
"""How long the end of a run waits for MLflow to get anything done before it asks whether it is there at all."""
_PROBE_S = 2.0

_ARTIFACTS = ("report.html", "README.md", "evaluation.json", "metrics.jsonl")
# MLflow's own limits.
_PARAMS_A_CALL, _METRICS_A_CALL = 100, 1000
Status = Literal["FINISHED", "FAILED", "KILLED"]
_STATUS: Mapping[Outcome, Status] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class TrackingMemory(TypedDict):
    """The MLflow run; None: there is none yet."""

    run_id: str | None


class MlflowCallback(BaseCallback[TrackingMemory]):
    """Mirrors a run in MLflow: parameters, metrics by task and head, the report and the best model.

    Everything that talks to MLflow happens in one background thread, in order. Its first error switches tracking off
    for the rest of the run, with one warning. A resumed run goes on in the same MLflow run, which run.json names.
    """

    def __init__(self, tracking: TrackingConfig, *, project: str, output_dir: Path) -> None:
        self.tracking = tracking
        self.server = Server(tracking, project=project, output_dir=output_dir)
        self.uri = self.server.uri
        self.run_id: str | None = None
        self.experiment_id: str | None = None
        self.failed = False
        self.folder: Path | None = None
        self._client: Any = None
        self._noted_id: str | None = None
        self._worker = Beside("jenga-mlflow")
        self._pending: list[tuple[str, int, int, dict[str, float]]] = []
        self._flushed = 0.0
        self._closed = False
        self._there: dict[str, int] = {}

    # -------------------------------------------------------------------------------------------------------- events

    def on_train_begin(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Open the MLflow run, or the one of the run that is resumed."""
        self.folder = trainer.folder
        known = self.run_id or _run_info(trainer.folder).get("mlflow_run_id")
        self._guarded(import_mlflow)
        self._submit(self._open, known, trainer.folder.name, parameters_of(trainer.config))
        if known:
            for record in _records(trainer.folder / "metrics.jsonl"):
                if record["event"] in ("train", "eval"):
                    self._note(record["event"], record["step"], record)
            self._flush()

    def on_step_end(self, trainer: TrainerView, logs: TrainRecord | None, **kwargs: Any) -> None:
        """Take up the losses, the gradient norm and the learning rates of a record."""
        self._note_id()
        if logs is not None:
            self._note("train", trainer.state.step, logs)
            if time.monotonic() - self._flushed >= FLUSH_S:
                self._flush()

    def on_evaluate(self, trainer: TrainerView, metrics: dict[str, float], **kwargs: Any) -> None:
        """Take up the metrics of the validation rows."""
        self._note("eval", trainer.state.step, {"metrics": metrics})
        self._flush()

    def on_save(self, trainer: TrainerView, path: Path, **kwargs: Any) -> None:
        """Send what is there, so that MLflow is not behind a checkpoint for long."""
        self._note_id()
        self._flush()

    def on_train_end(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Send what is left."""
        self._flush()

    def state_dict(self) -> TrackingMemory:
        """Return which MLflow run this is."""
        return {"run_id": self.run_id}

    def load_state_dict(self, state: TrackingMemory) -> None:
        """Go on in that MLflow run."""
        self.run_id = state["run_id"]

    def on_result(self, run: Path, evaluation: Mapping[str, Any], **kwargs: Any) -> None:
        """Log the final metrics, the report and the best model of the run in folder `run`."""
        self._flush()
        self._submit(self._log_evaluation, evaluation)
        self._submit(self._log_artifacts, run)
        if self.tracking.log_model:
            self._submit(self._log_model, run / "best", int(evaluation["best_step"]))

    def on_close(self, outcome: Outcome, **kwargs: Any) -> None:
        """End the MLflow run and wait until all is sent, or MLflow answers no more, or the user presses Ctrl-C."""
        if self._closed:
            return
        self._closed = True
        self._flush()
        self._worker.submit(self._terminate, _STATUS[outcome])
        self._note_id()
        try:
            self._wait()
        except KeyboardInterrupt:
            self._switch_off(TimeoutError("stopped by Ctrl-C before all was sent"))
        self._note_id()

    def _wait(self) -> None:
        told = False
        while not self._worker.wait(PATIENCE_S):
            if not self._answers():
                self._switch_off(TimeoutError(f"no answer for {PATIENCE_S + _PROBE_S:g} s"))
                return
            if not told and not self.failed:
                told = True
                logger.warning(
                    "MLflow at %s is still taking what this run has written; Ctrl-C leaves the rest",
                    redacted(self.uri),
                )

    def _answers(self) -> bool:
        return self.server.answers(_PROBE_S) or (not self.server.probed and self.run_id is not None)

    # ------------------------------------------------------------------------------------------------------ buffering

    def _note(self, event: str, step: int, record: Mapping[str, Any]) -> None:
        if not self.failed:
            found = record["metrics"] if event == "eval" else training_metrics(record)
            self._pending.append((event, step, int(time.time() * 1000), dict(found)))

    def _flush(self) -> None:
        if self._pending and not self.failed:
            pending, self._pending = self._pending, []
            self._flushed = time.monotonic()
            self._submit(self._send, pending)

    def _note_id(self) -> None:
        """Write the MLflow run's id to run.json, which outlives a process killed before its first checkpoint.

        Here and not in the thread, because the trainer writes to run.json too.
        """
        if self.run_id == self._noted_id or self.folder is None:
            return
        self._noted_id = self.run_id
        path = self.folder / "run.json"
        write_atomic(path, json.dumps({**_run_info(self.folder), "mlflow_run_id": self.run_id}, indent=1) + "\n")

    def _submit(self, job: Callable[..., None], *arguments: Any) -> None:
        self._worker.submit(self._guarded, job, *arguments)

    def _guarded(self, job: Callable[..., None], *arguments: Any) -> None:
        if self.failed:
            return
        try:
            job(*arguments)
        except Exception as error:
            # Whatever a database, a server or the network comes up with: a run of hours must not end for it.
            self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        logger.debug("MLflow tracking failed", exc_info=error)
        if self.failed:
            return
        self.failed = True
        logger.warning(
            "MLflow tracking at %s failed and is off for the rest of this run: %s. Training goes on; what "
            "MLflow does not get stays in %s",
            redacted(self.uri), reason_of(error), self.folder,
        )  # fmt: skip

    # ----------------------------------------------------------------------------------------- jobs of the one thread

    def _open(self, known: str | None, name: str, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        self._client = self.server.client()
        run = self._known_run(known) if known else None
        if run is None:
            self.experiment_id = self.server.experiment_id(self._client)
            run = self._client.create_run(self.experiment_id, run_name=name)
        else:
            self.experiment_id = run.info.experiment_id
            self._client.update_run(known, status="RUNNING")
            for event in ("train", "eval"):
                history = self._client.get_metric_history(known, f"{event}_loss")
                self._there[event] = max((metric.step for metric in history), default=-1)
        self.run_id = run.info.run_id
        tags = {"jenga.version": version("jenga"), **self.tracking.tags}
        params = [Param(key, value) for key, value in parameters.items()]
        self._client.log_batch(self.run_id, tags=[RunTag(metric_name(k), v[:TAG_LENGTH]) for k, v in tags.items()])
        for start in range(0, len(params), _PARAMS_A_CALL):
            self._client.log_batch(self.run_id, params=params[start : start + _PARAMS_A_CALL])

    def _known_run(self, run_id: str) -> Any:
        """Return the MLflow run, or None where this server does not have it (tracking.uri has changed)."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            logger.warning("MLflow at %s does not know run %s; a new one is made", redacted(self.uri), run_id)
            return None

    def _send(self, pending: list[tuple[str, int, int, dict[str, float]]]) -> None:
        """Log records; a resumed run leaves out the steps that MLflow had got before it stopped."""
        from mlflow.entities import Metric

        metrics = [
            Metric(metric_name(name), value, timestamp, step)
            for event, step, timestamp, found in pending
            if step > self._there.get(event, -1)
            for name, value in found.items()
        ]
        for start in range(0, len(metrics), _METRICS_A_CALL):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + _METRICS_A_CALL])

    def _log_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        found = {
            f"{split}_{name}": value
            for split, result in evaluation["splits"].items()
            for name, value in result["metrics"].items()
        }
        self._send([("final", int(evaluation["best_step"]), int(time.time() * 1000), found)])

    def _log_artifacts(self, run: Path) -> None:
        for name in _ARTIFACTS:
            if (run / name).is_file():
                self._client.log_artifact(self.run_id, str(run / name))
        with tempfile.TemporaryDirectory(dir=run, prefix=".mlflow-") as staging:
            folder = Path(staging)
            config = redacted((run / "config.yml").read_text(encoding="utf-8"))
            (folder / "config.yml").write_text(config, encoding="utf-8")
            write_plots(run / "report.html", folder / "plots")
            self._client.log_artifacts(self.run_id, staging)

    def _log_model(self, best: Path, step: int) -> None:
        assert self.run_id is not None
        assert self.experiment_id is not None
        with warnings.catch_warnings(), collector_at_rest():
            # MLflow warns of its own type hints. Other threads are not affected: training is over and waits.
            warnings.simplefilter("ignore")
            log_model(self._client, best, run_id=self.run_id, experiment_id=self.experiment_id, step=step)

    def _terminate(self, status: Status) -> None:
        if self.run_id is None:
            return
        try:
            # Also after a failure: a run whose upload broke must not look as if it were still running.
            self._client.set_terminated(self.run_id, status)
        except Exception as error:
            self._switch_off(error)


def _run_info(folder: Path) -> dict[str, Any]:
    return json_object(folder / "run.json")


def _records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
