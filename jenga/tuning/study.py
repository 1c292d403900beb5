"""A study from its configuration to its best one: trials in turn, each an ordinary run in a folder of its own."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from jenga.bundle import schema
from jenga.callbacks.base import Outcome
from jenga.config.load import Search, load_search
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, DataError, DivergedError, InterruptedRun, JengaError, SetupError, suggest
from jenga.files import json_object
from jenga.run import experiment
from jenga.run.build import build
from jenga.trainer.directions import metric_directions
from jenga.trainer.evaluate import choose_device
from jenga.tuning.folder import StudyFolder, drop_weights, find_study, new_study, shown, write_results
from jenga.tuning.pruning import Pruning
from jenga.tuning.tracking import ParentRun
from jenga.tuning.trials import Trial, Trials, imported

logger = logging.getLogger(__name__)

_ENDS_A_STUDY = (ConfigError, DataError, SetupError, InterruptedRun)
"""Errors of a trial by which the others would fail too, or that the user asks for."""


def tune(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    device: str = "auto",
    resume: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Carry out the search of the block `tune` of `config` and return the content of the study's study.json.

    `config` is a YAML file or a mapping. resume: ``auto`` goes on with the newest study of the same search that has
    trials left (and starts one if there is none); a study's folder goes on with that one. console: where progress is
    shown; default: nowhere.
    Raises a `JengaError` for whatever a user can mend.
    """
    console = console or Console(quiet=True)
    imported()
    search = load_search(config, schema=schema(), overrides=overrides)
    metric = search.tune.metric or search.config.evaluation.metric
    study = find_study(search, resume)
    if study is None:
        greater = _rehearsed(search.config, metric, device)
        study = new_study(search, metric=metric, greater_is_better=greater)
    with _Holding(study):
        return _Studying(study, search, device, console).carry_out()


def _rehearsed(config: ExperimentConfig, metric: str, device: str) -> bool:
    """Build the experiment of the file itself and return whether a greater `metric` is better.

    Raises what is wrong with it before there is a study, DataError where no rows could judge a trial.
    """
    with tempfile.TemporaryDirectory(prefix="jenga-") as scratch:
        built = build(config, Path(scratch), device=choose_device(device))
    if not any("valid" in source.splits and len(source.splits["valid"]) for source in built.sources):
        raise DataError("tune: there are no validation rows to judge trials by; give valid, or data.valid_fraction")
    directions = metric_directions(config.evaluation, built.bundle.model, built.sources)
    if metric not in directions:
        known = ", ".join(directions)
        raise ConfigError(f"tune.metric: unknown '{metric}'{suggest(metric, directions) or '.'} Known: {known}")
    greater = directions[metric]
    if greater is None:
        raise ConfigError(
            f"tune.metric: its task does not say whether a greater {metric} is better; name it in evaluation.metric "
            "with evaluation.greater_is_better, and leave tune.metric out"
        )
    return greater


class _Holding:
    """Gives a study back, with how it ended in study.json."""

    def __init__(self, study: StudyFolder) -> None:
        self.study = study

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is not None:
                interrupted = isinstance(error, InterruptedRun | KeyboardInterrupt)
                reason = str(error) or type(error).__name__
                self.study.update(status="interrupted" if interrupted else "failed", reason=reason)
        except SetupError as full:
            logger.warning("why the study ended is not noted: %s", full)
        finally:
            self.study.release()


class _Studying:
    """A study that this process carries out."""

    def __init__(self, study: StudyFolder, search: Search, device: str, console: Console) -> None:
        self.study, self.search, self.device, self.console = study, search, device, console
        info = study.info()
        self.metric: str = info["metric"]
        self.trials = Trials(
            study.database, search.tune, search.dimensions, greater_is_better=info["greater_is_better"]
        )
        self.parent = ParentRun(
            search.config, study, keeps_all=search.tune.keep == "all", search=search.tune.model_dump(mode="json")
        )

    def carry_out(self) -> dict[str, Any]:
        wanted, begun, status = self.search.tune.trials, time.monotonic(), "finished"
        done = [each for each in self.trials.all() if each.state != "running"]
        self._tell(f"{self.study.path}: {len(done)} of {wanted} trials are done; judged by {self.metric}")
        outcome: Outcome = "failed"
        try:
            self.parent.begin()
            while (trial := self.trials.under_way()) is not None or len(self.trials.all()) < wanted:
                limit = self.search.tune.timeout_s
                if trial is None and limit is not None and time.monotonic() - begun > limit:
                    status = "timed out"
                    break
                trial = trial or self.trials.begin()
                if trial is None:  # a grid has no more
                    break
                self._try(trial)
            info = self._written(status)
            outcome = "finished"
        except (InterruptedRun, KeyboardInterrupt):
            outcome = "interrupted"
            raise
        finally:
            self.parent.end(outcome)
        if info["best"] is None and info["trials"]:
            first = next((each["reason"] for each in info["trials"] if each["reason"]), "all were pruned")
            raise DivergedError(f"{self.study.path}: none of {len(info['trials'])} trials finished; the first: {first}")
        return info

    def _try(self, trial: Trial) -> None:
        """Carry out what is left of a trial and note how it did."""
        drawn = ", ".join(f"{key} {shown(value)}" for key, value in trial.values.items())
        self._tell(f"trial {trial.number} of {self.search.tune.trials}: {drawn}")
        try:
            score = self._score(trial)
        except InterruptedRun as error:
            raise InterruptedRun(f"trial {trial.number}: {error}, which goes on with this trial") from None
        except KeyboardInterrupt:
            raise InterruptedRun(f"interrupted in trial {trial.number}. Go on with --resume auto") from None
        except _ENDS_A_STUDY as error:
            raise type(error)(f"trial {trial.number} ({drawn}): {error}") from error
        except OSError:  # of this machine, as a full disk or a hub that does not answer
            raise
        except Exception as error:
            # What one draw does to a run, such as too large a rate or batch, says nothing of the next.
            reason = str(error) if isinstance(error, JengaError) else f"{type(error).__name__}: {error}"
            self.trials.fail(trial.number, reason)
            logger.warning("trial %d failed, and the study goes on: %s", trial.number, reason)
            logger.debug("trial %d", trial.number, exc_info=error)
        else:
            self.trials.end(trial.number, score)
        self._free()
        after, best = self.trials.all()[trial.number], self.trials.best()
        if after.state != "failed":
            known = "" if best is None else f"; the best, of trial {best.number}: {best.score:.4f}"
            end = f"{self.metric} {after.score:.4f}" if after.score is not None else "pruned"
            self._tell(f"trial {trial.number}: {end}{known}")
        self.parent.note(self.metric, after, best)
        self._written("running")

    def _score(self, trial: Trial) -> float:
        """Train what is left to train and return the score of the model that the run kept, on the validation rows."""
        folder = self.study.run_of(trial.number)
        if not (folder / "run.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)  # a process was killed as it made the folder
        there = folder.is_dir()
        if not there or json_object(folder / "run.json").get("status") != "finished":
            experiment.train(
                self.parent.tracked(self.search.experiment(trial.values)),
                callbacks=[Pruning(self.metric, lambda *details: self.trials.report(trial.number, *details))],
                device=self.device,
                resume=str(folder) if there else None,
                folder=None if there else folder,
                console=self.console,
            )
        self._check_rows(folder)
        return _score_of(folder, self.metric)

    def _check_rows(self, folder: Path) -> None:
        """Refuse rows that are not those of the trials before: scores of other rows could not be compared."""
        found = json_object(folder / "run.json")["fingerprint"]
        known = self.study.info().get("fingerprint")
        if known is None:
            self.study.update(fingerprint=found)
            return
        changed = [
            f"{name} changed" for name, digest in known["files"].items() if found["files"].get(name, digest) != digest
        ]
        changed += [
            f"the validation rows of {name} are others"
            for name, splits in known["splits"].items()
            if found["splits"].get(name, splits).get("valid") != splits.get("valid")
        ]
        if changed:
            raise DataError(
                f"the rows are not those of the trials before: {'; '.join(changed)}. Their scores cannot be compared; "
                "bring the rows back as they were, or start a new study (without --resume)"
            )

    def _written(self, status: str) -> dict[str, Any]:
        if self.search.tune.keep == "best":
            drop_weights(self.study, self.trials)
        self.study.update(status=status)
        return write_results(self.study, self.search, self.trials)

    def _free(self) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tell(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _score_of(folder: Path, metric: str) -> float:
    """Return `metric` of the evaluation that chose the model which the run in `folder` kept."""
    step = json_object(folder / "run.json")["best_step"]
    records = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    found = [each["metrics"][metric] for each in records if each["event"] == "eval" and each["step"] == step]
    return float(found[-1])
