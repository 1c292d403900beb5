"""Trackers beside MLflow: what accelerate knows how to log to."""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from jenga.callbacks.base import CALLBACK_REGISTRY, BaseCallback, Outcome, TrainerView, TrainRecord
from jenga.callbacks.beside import Beside
from jenga.callbacks.mlflow_form import parameters_of, reason_of, training_metrics
from jenga.config.strict import Strict
from jenga.errors import ConfigError
from jenga.files import json_object

logger = logging.getLogger(__name__)

Name = Literal["aim", "clearml", "comet_ml", "dvclive", "swanlab", "tensorboard", "trackio", "wandb"]
PATIENCE_S = 30.0
"""How long the end of a run waits for a tracker to get anything done."""


class TrackersConfig(Strict):
    """Trackers beside MLflow, through accelerate; each is a package of its own. A resumed run goes on in the same one
    in TensorBoard, Weights & Biases and Trackio, and begins another one elsewhere."""

    to: list[Name] = Field(min_length=1, description="Where to log to.")
    project: str | None = Field(None, description="What the runs are filed under; default: project_name.")
    init: dict[Name, dict[str, Any]] = Field(
        default_factory=dict,
        description="What each is started with, as its own library takes it; no keys, which stand in the environment.",
    )


@CALLBACK_REGISTRY.register("trackers", config=TrackersConfig)
class Trackers(BaseCallback[dict[str, Any]]):
    """Sends settings, losses, rates and metrics to trackers, from one thread; the first error of one ends it alone.

    to: their names; ConfigError where one's package is not installed.
    """

    def __init__(
        self, *, to: Sequence[str], project: str | None = None, init: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        from accelerate.tracking import get_available_trackers

        there = {str(each) for each in get_available_trackers()}
        for name in to:
            if name not in get_args(Name):
                raise ConfigError(f"callbacks.trackers.to: got '{name}'; allowed: {', '.join(get_args(Name))}")
            if name not in there:
                raise ConfigError(
                    f"callbacks.trackers.to: {name} is not installed; pip install {name.replace('_', '-')}"
                )
        self._names, self._project, self._init = list(dict.fromkeys(to)), project, dict(init or {})
        self._open: dict[str, Any] = {}
        self._worker = Beside("jenga-trackers")

    def on_train_begin(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Open a run in each; of several processes the first alone does."""
        if not trainer.processes.first:
            return
        project = self._project or str(trainer.config.project_name)
        parameters = parameters_of(trainer.config)
        for name in self._names:
            self._submit(name, self._begin, name, project, trainer.folder, trainer.state.step, parameters)

    def on_step_end(self, trainer: TrainerView, logs: TrainRecord | None, **kwargs: Any) -> None:
        """Send the losses, the gradient norm and the learning rates of a record."""
        if logs is not None:
            self._log(training_metrics(logs), trainer.state.step)

    def on_evaluate(self, trainer: TrainerView, metrics: dict[str, float], **kwargs: Any) -> None:
        """Send the metrics of the validation rows."""
        self._log(metrics, trainer.state.step)

    def on_result(self, run: Path, evaluation: Mapping[str, Any], **kwargs: Any) -> None:
        """Send the final metrics."""
        for split, result in evaluation["splits"].items():
            found = _numbers({f"{split}_{name}": value for name, value in result["metrics"].items()})
            for name in self._names:
                self._submit(name, self._send_final, name, found, int(evaluation["best_step"]))

    def on_close(self, outcome: Outcome, **kwargs: Any) -> None:
        """End the runs, and wait until all is sent, or nothing gets done any more, or the user presses Ctrl-C."""
        for name in self._names:
            self._submit(name, self._end, name)
        try:
            if not self._worker.wait(PATIENCE_S):
                logger.warning("callbacks.trackers: nothing was sent for %g s, and the rest is left", PATIENCE_S)
        except KeyboardInterrupt:
            logger.warning("callbacks.trackers: stopped by Ctrl-C before all was sent")

    # ------------------------------------------------------------------------------------------------- in the thread

    def _begin(self, name: str, project: str, folder: Path, step: int, parameters: Mapping[str, str]) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        known: dict[str, dict[str, Any]] = {
            "tensorboard": {"logging_dir": folder.parent / "tensorboard", "purge_step": step + 1},
            "aim": {"logging_dir": folder.parent},
            "dvclive": {"dir": str(folder / "dvclive")},
            "wandb": {"name": folder.name, "id": _id(folder), "resume": "allow"},
            "trackio": {"name": folder.name, "resume": "allow"},
        }
        # TensorBoard's runs are folders, which it compares; with the others that is the project.
        run = folder.name if name == "tensorboard" else project
        tracker = LOGGER_TYPE_TO_CLASS[name](run, **{**known.get(name, {}), **self._init.get(name, {})})
        tracker.start()
        tracker.store_init_configuration(dict(parameters))
        self._open[name] = tracker

    def _send_final(self, name: str, values: Mapping[str, float], step: int) -> None:
        if name == "wandb" and name in self._open:
            # It drops what comes for a step before the last one, and shows this in its tables of runs.
            self._open[name].run.summary.update(dict(values))
        else:
            self._send(name, values, step)

    def _end(self, name: str) -> None:
        if (tracker := self._open.pop(name, None)) is not None:
            tracker.finish()

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        for name in self._names:
            self._submit(name, self._send, name, _numbers(values), step)

    def _send(self, name: str, values: Mapping[str, float], step: int) -> None:
        if (tracker := self._open.get(name)) is not None:
            tracker.log(dict(values), step=step)

    def _submit(self, name: str, job: Callable[..., None], *arguments: Any) -> None:
        self._worker.submit(self._guarded, name, job, *arguments)

    def _guarded(self, name: str, job: Callable[..., None], *arguments: Any) -> None:
        try:
            job(*arguments)
        except Exception as error:  # whatever a tracker comes up with: a run of hours must not end for it
            self._open.pop(name, None)
            logger.debug("%s failed", name, exc_info=error)
            logger.warning(
                "callbacks.trackers: %s failed and is off for the rest of this run: %s. Training goes on",
                name, reason_of(error),
            )  # fmt: skip


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _id(folder: Path) -> str:
    """Return what tells a run from all others, and is the same where it is gone on with."""
    created = json_object(folder / "run.json").get("created", "")
    return hashlib.sha256(f"{platform.node()} {folder.resolve()} {created}".encode()).hexdigest()[:16]
