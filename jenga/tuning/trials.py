"""The trials of a study, kept by Optuna in SQLite: what each has drawn, how it did, and what the next one draws.

What trial n draws is a function of `tune.seed`, n and what is known of the trials before it as it begins, and it stands
in the database whole or not at all. So a study of one trial at a time that is killed and gone on with draws what it
would have drawn; with several at once, what is known depends on which of them is done first.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jenga.config.space import Dimension
from jenga.config.tune import TuneConfig
from jenga.errors import SetupError
from jenga.extras import required
from jenga.files import writing

if TYPE_CHECKING:
    import optuna
    from optuna import Study

State = Literal["running", "finished", "pruned", "failed"]

FIRST_TRIALS = 5
"""Trials before the sampler learns from scores, and finished ones before the pruner compares."""
_PRUNED, _REASON = "pruned_after", "reason"
_NAME = "study"


@dataclass(frozen=True)
class Trial:
    """What one trial has drawn, by key, and how it did. `score`: None unless it finished. `reason`: why it failed."""

    number: int
    state: State
    values: dict[str, Any]
    score: float | None
    evaluations: int
    reason: str | None


def imported() -> Any:
    """Return Optuna. Raises SetupError where it is not installed."""
    optuna = required("optuna", extra="tune", need="jenga tune needs Optuna")
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


class Trials:
    """The trials in the database `path`, which is made where it is not there.

    greater_is_better: of the score. Raises SetupError where the database cannot be opened.
    """

    def __init__(
        self, path: Path, config: TuneConfig, dimensions: Mapping[str, Dimension], *, greater_is_better: bool
    ) -> None:
        self.config, self.dimensions = config, dimensions
        self._optuna = optuna = imported()
        self._direction = "maximize" if greater_is_better else "minimize"
        self._distributions = {key: self._distribution(each) for key, each in dimensions.items()}
        # Five finished trials say what is usual, and the first evaluation is of a model that has hardly begun.
        median = optuna.pruners.MedianPruner(n_startup_trials=FIRST_TRIALS, n_warmup_steps=1)
        pruner = median if config.pruner == "median" else optuna.pruners.NopPruner()
        self._path = path
        with self._database():
            self._study: Study = optuna.create_study(
                storage=f"sqlite:///{path.resolve()}", study_name=_NAME, direction=self._direction,
                load_if_exists=True, pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=config.seed),
            )  # fmt: skip

    def all(self) -> list[Trial]:
        """Return the trials by number."""
        return [self._read(each) for each in self._study.get_trials(deepcopy=False)]

    def under_way(self) -> list[Trial]:
        """Return the trials that have begun and not ended, by number."""
        return [each for each in self.all() if each.state == "running"]

    def begin(self) -> Trial | None:
        """Draw the values of a further trial and return it, under way; None where a grid has no more."""
        before = self._study.get_trials(deepcopy=False)
        parameters = self._drawn(len(before), before)
        if parameters is None:
            return None
        running = self._optuna.trial.TrialState.RUNNING
        drawn = self._optuna.trial.create_trial(state=running, params=parameters, distributions=self._distributions)
        with self._database():
            # In one transaction: a process that is killed leaves no trial that has drawn a half of its values.
            self._study.add_trial(drawn)
        return self.all()[len(before)]

    def report(self, number: int, evaluation: int, score: float, last: bool) -> bool:
        """Note the score of an evaluation; return whether the trial is to end here. last: there is nothing to end."""
        before = self._frozen(number)
        known = before.intermediate_values  # a process that was killed has evaluations to repeat
        trial = self._trial(number)
        with self._database():
            if evaluation not in known:
                trial.report(score, evaluation)
            if _PRUNED in before.user_attrs:
                return bool(evaluation >= before.user_attrs[_PRUNED])
            if last or evaluation < max(known, default=0) or not trial.should_prune():
                return False
            trial.set_user_attr(_PRUNED, evaluation)
        return True

    def end(self, number: int, score: float) -> None:
        """Note that a trial is over: finished with `score`, or pruned, where `report` said so."""
        pruned = _PRUNED in self._frozen(number).user_attrs
        with self._database():
            if pruned:
                self._study.tell(number, state=self._optuna.trial.TrialState.PRUNED)
            else:
                self._study.tell(number, score)

    def fail(self, number: int, reason: str) -> None:
        """Note that a trial failed."""
        with self._database():
            self._trial(number).set_user_attr(_REASON, reason)
            self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def best(self) -> Trial | None:
        """Return the finished trial of the best score, the first one where several have it."""
        finished = [(each.score, each) for each in self.all() if each.state == "finished" and each.score is not None]
        sign = 1 if self._direction == "maximize" else -1
        return max(finished, key=lambda pair: sign * pair[0], default=(0.0, None))[1]

    def importances(self) -> dict[str, float]:
        """Return the share of each key in how scores differ (fANOVA, Hutter et al. 2014), the greatest first.

        None of fewer than four finished trials, or of equal scores.
        """
        finished = [each for each in self.all() if each.state == "finished"]
        if len(finished) < 4 or len({each.score for each in finished}) < 2:
            return {}
        evaluator = self._optuna.importance.FanovaImportanceEvaluator(seed=self.config.seed)
        try:
            found = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except RuntimeError:  # scores that no tree tells apart
            return {}
        return dict(found)

    # ------------------------------------------------------------------------------------------------------- drawing

    def _drawn(self, number: int, before: list[optuna.trial.FrozenTrial]) -> dict[str, Any] | None:
        if self.config.sampler == "grid":
            grid = list(itertools.product(*(each.grid() or () for each in self.dimensions.values())))
            random.Random(self.config.seed).shuffle(grid)
            if number >= len(grid):
                return None
            drawn = zip(self.dimensions.items(), grid[number], strict=True)
            return {key: _written(each, value) for (key, each), value in drawn}
        seed = int.from_bytes(hashlib.sha256(f"{self.config.seed} {number}".encode()).digest()[:4])
        # A study of its own: what is asked of that of the database stands there at once, value by value.
        shadow = self._optuna.create_study(direction=self._direction, sampler=self._sampler(seed))
        shadow.add_trials(before)
        parameters: dict[str, Any] = shadow.ask(self._distributions).params
        return parameters

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        samplers = self._optuna.samplers
        if self.config.sampler == "random":
            return samplers.RandomSampler(seed=seed)  # type: ignore[no-any-return]
        return samplers.TPESampler(seed=seed, n_startup_trials=FIRST_TRIALS)  # type: ignore[no-any-return]

    def _distribution(self, dimension: Dimension) -> optuna.distributions.BaseDistribution:
        distributions, interval = self._optuna.distributions, dimension.interval
        if interval is None:
            return distributions.CategoricalDistribution(  # type: ignore[no-any-return]
                [_written(dimension, value) for value in dimension.values]
            )
        if dimension.whole:
            return distributions.IntDistribution(  # type: ignore[no-any-return]
                round(interval.low), round(interval.high), log=interval.log, step=round(interval.step or 1)
            )
        return distributions.FloatDistribution(  # type: ignore[no-any-return]
            interval.low, interval.high, log=interval.log, step=interval.step
        )

    # ------------------------------------------------------------------------------------------------------- reading

    @contextmanager
    def _database(self) -> Iterator[None]:
        """Raise SetupError where the database cannot be read or written."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with writing(self._path):
                yield
        except (self._optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            cause = error.__cause__ or error
            raise SetupError(f"{self._path}: cannot be used ({cause}); free some space, or restore it") from error

    def _frozen(self, number: int) -> optuna.trial.FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _trial(self, number: int) -> optuna.trial.Trial:
        return self._optuna.trial.Trial(self._study, self._frozen(number)._trial_id)  # type: ignore[no-any-return]

    def _read(self, frozen: optuna.trial.FrozenTrial) -> Trial:
        states: dict[str, State] = {"RUNNING": "running", "COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
        state = states[frozen.state.name]
        values = {key: _value(each, frozen.params[key]) for key, each in self.dimensions.items()}
        return Trial(
            number=frozen.number, state=state, values=values, score=frozen.value if state == "finished" else None,
            evaluations=len(frozen.intermediate_values), reason=frozen.user_attrs.get(_REASON),
        )  # fmt: skip


def _written(dimension: Dimension, value: Any) -> Any:
    """Return `value` as the database has it: of a list as JSON, since Optuna takes no lists and mappings."""
    return value if dimension.interval is not None else json.dumps(value, ensure_ascii=False)


def _value(dimension: Dimension, written: Any) -> Any:
    return written if dimension.interval is not None else json.loads(written)
