"""A study from its configuration to its best one: trials, each an ordinary run in a folder of its own."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from jenga.bundle import schema
from jenga.callbacks.base import Outcome
from jenga.config.load import Search, load_search
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, DataError, DivergedError, InterruptedRun, JengaError, SetupError, suggest
from jenga.run.build import build
from jenga.trainer.directions import metric_directions
from jenga.trainer.evaluate import choose_device
from jenga.tuning import parallel
from jenga.tuning.attempt import Carrier, Here, Judged, TrialReport
from jenga.tuning.folder import StudyFolder, drop_weights, experiment, find_study, new_study, shown, write_results
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
    ray: str | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Carry out the search of the block `tune` of `config` and return the content of the study's study.json.

    `config` is a YAML file or a mapping. resume: ``auto`` goes on with the newest study of the same search that has
    trials left (and starts one if there is none); a study's folder goes on with that one. console: where progress is
    shown; default: nowhere. ray: ``local``, ``auto`` or a cluster's address: `workers` trials at once, by Ray; default:
    one after another in this process.
    Raises a `JengaError` for whatever a user can mend.
    """
    console = console or Console(quiet=True)
    imported()
    carrier = _carrier(ray, workers, device, console)
    search = load_search(config, schema=schema(), overrides=overrides)
    with parallel.connected(ray) if ray is not None else nullcontext():
        study = find_study(search, resume)
        if study is None:
            metric, own, greater = _rehearsed(search.config, search.tune.metric, device)
            study = new_study(search, metric=metric, evaluation_metric=own, greater_is_better=greater)
        with _Holding(study):
            return _Studying(study, search, carrier, console).carry_out()


class _MakesCarrier(Protocol):
    def __call__(self, *, metric: str, report: TrialReport) -> Carrier: ...


def _carrier(ray: str | None, workers: int | None, device: str, console: Console) -> _MakesCarrier:
    if ray is None:
        if workers is not None:
            raise ConfigError("--workers: several trials at once are carried out by Ray; add --ray, or leave it out")
        return partial(Here, device=device, console=console)
    return partial(parallel.Workers, count=workers, device=device)


def _rehearsed(config: ExperimentConfig, metric: str | None, device: str) -> tuple[str, str, bool]:
    """Build the experiment of the file itself; return `metric`, that of its evaluations, and if greater is better.

    Of no `metric` it is the latter.

    Raises what is wrong with it before there is a study, DataError where no rows could judge a trial.
    """
    with tempfile.TemporaryDirectory(prefix="jenga-") as scratch:
        built = build(config, Path(scratch), device=choose_device(device))
    if not any("valid" in source.splits and len(source.splits["valid"]) for source in built.sources):
        raise DataError("tune: there are no validation rows to judge trials by; give valid, or data.valid_fraction")
    evaluation = built.bundle.config.evaluation
    metric = metric or evaluation.metric
    directions = metric_directions(evaluation, built.bundle.model, built.sources)
    if metric not in directions:
        known = ", ".join(directions)
        raise ConfigError(f"tune.metric: unknown '{metric}'{suggest(metric, directions) or '.'} Known: {known}")
    greater = directions[metric]
    if greater is None:
        raise ConfigError(
            f"tune.metric: its task does not say whether a greater {metric} is better; name it in evaluation.metric "
            "with evaluation.greater_is_better, and leave tune.metric out"
        )
    return metric, evaluation.metric, greater


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

    def __init__(self, study: StudyFolder, search: Search, carrier: _MakesCarrier, console: Console) -> None:
        self.study, self.search, self.console = study, search, console
        info = study.info()
        self.metric: str = info["metric"]
        self.trials = Trials(
            study.database, search.tune, search.dimensions, greater_is_better=info["greater_is_better"]
        )
        self.parent = ParentRun(
            search.config, study, keeps_all=search.tune.keep == "all", search=search.tune.model_dump(mode="json")
        )
        self.carrier = carrier(metric=self.metric, report=self._report)
        self.under_way: dict[int, Trial] = {}
        self.timed_out = False

    def carry_out(self) -> dict[str, Any]:
        done = [each for each in self.trials.all() if each.state != "running"]
        self._tell(
            f"{self.study.path}: {len(done)} of {self.search.tune.trials} trials are done; judged by {self.metric}"
        )
        outcome: Outcome = "failed"
        try:
            self.parent.begin()
            with self.carrier:
                self._carry_out_trials()
            info = self._written("timed out" if self.timed_out else "finished")
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

    def _carry_out_trials(self) -> None:
        """Carry out the trials that are left. What ends the study lets those under way save checkpoints first."""
        begun, fault = time.monotonic(), None
        while True:
            try:
                while fault is None and not self.carrier.interrupted and len(self.under_way) < self.carrier.slots:
                    if (trial := self._next(begun)) is None:
                        break
                    self._begin(trial)
                if not self.under_way:
                    break
                number, judged = self.carrier.wait()
                self._settle(self.under_way.pop(number), judged)
            except (JengaError, OSError) as error:
                fault = fault or error
                self.carrier.end()
        if self.carrier.interrupted and (fault is None or isinstance(fault, InterruptedRun)):
            left = ", ".join(str(each.number) for each in self.trials.under_way())
            raise InterruptedRun(f"interrupted; trials under way: {left or 'none'}. Go on with --resume auto")
        if fault is not None:
            raise fault

    def _begin(self, trial: Trial) -> None:
        self._tell(f"trial {trial.number} of {self.search.tune.trials}: {_drawn(trial)}")
        try:
            config = experiment(self.study, self.search, trial.values)
        except ConfigError as error:
            raise ConfigError(f"trial {trial.number} ({_drawn(trial)}): {error}") from error
        self.carrier.begin(trial.number, self.parent.tracked(config), self.study.run_of(trial.number))
        self.under_way[trial.number] = trial

    def _next(self, begun: float) -> Trial | None:
        """Return a trial to begin or to go on with; None where there is none, or where it is too late for it."""
        left = (each for each in self.trials.under_way() if each.number not in self.under_way)
        if (trial := next(left, None)) is not None or len(self.trials.all()) >= self.search.tune.trials:
            return trial
        limit = self.search.tune.timeout_s
        if limit is not None and time.monotonic() - begun > limit:
            self.timed_out = True
            return None
        return self.trials.begin()

    def _settle(self, trial: Trial, judged: Callable[[], Judged]) -> None:
        """Note how a trial did, of which `judged` gives the score. Raises what ends the study."""
        try:
            result = judged()
            self._check_rows(result.fingerprint)
        except InterruptedRun as error:
            raise InterruptedRun(f"trial {trial.number}: {error}, which goes on with this trial") from None
        except KeyboardInterrupt:
            raise InterruptedRun(f"interrupted in trial {trial.number}. Go on with --resume auto") from None
        except _ENDS_A_STUDY as error:
            raise type(error)(f"trial {trial.number} ({_drawn(trial)}): {error}") from error
        except OSError:  # of this machine, as a full disk or a hub that does not answer
            raise
        except Exception as error:
            # What one draw does to a run, such as too large a rate or batch, says nothing of the next.
            reason = str(error) if isinstance(error, JengaError) else f"{type(error).__name__}: {error}"
            self.trials.fail(trial.number, reason)
            logger.warning("trial %d failed, and the study goes on: %s", trial.number, reason)
            logger.debug("trial %d", trial.number, exc_info=error)
        else:
            self.trials.end(trial.number, result.score)
        after, best = self.trials.all()[trial.number], self.trials.best()
        if after.state != "failed":
            known = "" if best is None else f"; the best, of trial {best.number}: {best.score:.4f}"
            end = f"{self.metric} {after.score:.4f}" if after.score is not None else "pruned"
            self._tell(f"trial {trial.number}: {end}{known}")
        self.parent.note(self.metric, after, best)
        self._written("running")

    def _report(self, number: int, evaluation: int, score: float, last: bool) -> bool:
        if self.carrier.slots > 1:  # else the run's own progress is shown
            self._tell(f"trial {number}: {self.metric} {score:.4f} at evaluation {evaluation}")
        return self.trials.report(number, evaluation, score, last)

    def _check_rows(self, found: dict[str, Any]) -> None:
        """Refuse rows that are not those of the trials before: scores of other rows could not be compared."""
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

    def _tell(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _drawn(trial: Trial) -> str:
    return ", ".join(f"{key} {shown(value)}" for key, value in trial.values.items())
