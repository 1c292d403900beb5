import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.config.space import Dimension
from jenga.config.tune import Interval, TuneConfig
from jenga.errors import SetupError
from jenga.tuning.trials import FIRST_TRIALS, Trial, Trials, imported

DIMENSIONS = {
    "training.rate": Dimension(("training", "rate"), interval=Interval(low=1e-5, high=1e-1, log=True)),
    "training.size": Dimension(("training", "size"), interval=Interval(low=1, high=64), whole=True),
    "part": Dimension(("part",), values=["plain", None, [1, 2], {"type": "x"}]),
}
OPTIONS = {"part": Dimension(("part",), values=["a", "b"]), "n": Dimension(("n",), values=[1, 2, 3])}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Trials]:
    def make(
        name: str = "study", dimensions: dict[str, Dimension] = DIMENSIONS, greater: bool = True, **tune: Any
    ) -> Trials:
        config = TuneConfig(space={"x": [1]}, **tune)
        return Trials(tmp_path / f"{name}.db", config, dimensions, greater_is_better=greater)

    return make


def score_of(trial: Trial) -> float:
    return -abs(trial.values["training.rate"] - 1e-3) + 0.1 * (trial.values["part"] is None)


def carried_out(open_again: Callable[[], Trials], count: int) -> list[Trial]:
    """Carry out `count` trials, each by the `Trials` that `open_again` returns."""
    for _ in range(count):
        trials = open_again()
        trial = trials.begin()
        assert trial is not None
        trials.end(trial.number, score_of(trial))
    return open_again().all()


def test_draws_are_a_function_of_the_seed_the_number_and_the_scores_before(opened: Callable[..., Trials]) -> None:
    count = FIRST_TRIALS + 4  # the last ones learn from scores
    kept = opened("kept", seed=3)
    straight = carried_out(lambda: kept, count)
    carried_out(lambda: opened("reopened", seed=3), 2)
    again = opened("reopened", seed=3)
    assert carried_out(lambda: again, count - 2) == straight
    assert len({trial.values["training.rate"] for trial in straight}) == count
    assert carried_out(lambda: opened("other", seed=4), 1) != straight[:1]


def test_later_draws_follow_the_scores(opened: Callable[..., Trials]) -> None:
    good, bad = opened("good"), opened("bad", greater=False)
    first, second = carried_out(lambda: good, FIRST_TRIALS + 2), carried_out(lambda: bad, FIRST_TRIALS + 2)
    assert [each.values for each in first[:FIRST_TRIALS]] == [each.values for each in second[:FIRST_TRIALS]]
    assert [each.values for each in first[FIRST_TRIALS:]] != [each.values for each in second[FIRST_TRIALS:]]


def test_trials_that_began_are_under_way_after_reopening(opened: Callable[..., Trials]) -> None:
    first, second = opened().begin(), opened().begin()
    assert first is not None
    assert second is not None
    assert opened().under_way() == [first, second]
    opened().end(first.number, 1.0)
    assert opened().under_way() == [second]
    opened().end(second.number, 1.0)
    assert opened().under_way() == []


def test_values_come_back_with_their_types(opened: Callable[..., Trials]) -> None:
    trials = opened(sampler="random")
    found = carried_out(lambda: trials, 12)
    assert {type(trial.values["training.size"]) for trial in found} == {int}
    assert {type(trial.values["training.rate"]) for trial in found} == {float}
    assert all(trial.values["part"] in DIMENSIONS["part"].values for trial in found)
    assert len({str(trial.values["part"]) for trial in found}) > 2


def test_a_grid_takes_every_combination_once_and_ends(opened: Callable[..., Trials]) -> None:
    found = []
    for most in (2, 99):
        trials = opened("g", OPTIONS, sampler="grid")
        while len(found) < most and (trial := trials.begin()) is not None:
            found.append((trial.values["part"], trial.values["n"]))
            trials.end(trial.number, 0.0)
    assert sorted(found) == [(part, n) for part in "ab" for n in (1, 2, 3)]
    assert found != sorted(found)


def judged(trials: Trials, scores: list[float]) -> list[bool]:
    """Report `scores` of a further trial until it is to end; return the answers."""
    trial = trials.begin()
    assert trial is not None
    answers: list[bool] = []
    for at, score in enumerate(scores):
        answers.append(trials.report(trial.number, at, score, at == len(scores) - 1))
        if answers[-1]:
            break
    trials.end(trial.number, scores[len(answers) - 1])
    return answers


@pytest.mark.parametrize("greater", [True, False])
def test_what_is_worse_than_the_median_is_pruned_from_its_second_evaluation(
    opened: Callable[..., Trials], greater: bool
) -> None:
    sign = 1.0 if greater else -1.0
    trials = opened(greater=greater)
    for level in range(FIRST_TRIALS):
        assert judged(trials, [sign * level, sign * level, sign * level]) == [False] * 3
    assert judged(trials, [-sign, -sign, -sign]) == [False, True]
    assert judged(trials, [5 * sign, 5 * sign, 5 * sign]) == [False] * 3
    assert [each.state for each in trials.all()[-2:]] == ["pruned", "finished"]
    assert trials.all()[-2].score is None


def test_the_last_evaluation_prunes_nothing_and_neither_does_none(opened: Callable[..., Trials]) -> None:
    trials, free = opened(), opened("free", pruner="none")
    for _ in range(FIRST_TRIALS):
        judged(trials, [1.0, 1.0, 1.0])
        judged(free, [1.0, 1.0, 1.0])
    assert judged(trials, [0.0, 0.0]) == [False, False]
    assert judged(free, [0.0, 0.0, 0.0]) == [False] * 3


def test_an_evaluation_that_is_repeated_after_a_kill_counts_once_and_is_answered_alike(
    opened: Callable[..., Trials],
) -> None:
    trials = opened()
    for _ in range(FIRST_TRIALS):
        judged(trials, [1.0, 1.0, 1.0])
    trial = trials.begin()
    assert trial is not None
    for again in (trials, opened()):
        assert [again.report(trial.number, at, 0.0, False) for at in (0, 1)] == [False, True]
    assert trials.all()[-1].evaluations == 2


def test_a_kill_between_an_evaluation_and_its_judgement_prunes_no_earlier_one(opened: Callable[..., Trials]) -> None:
    trials = opened()
    for _ in range(FIRST_TRIALS):
        judged(trials, [1.0, 1.0, 5.0, 5.0])
    trial = trials.begin()
    assert trial is not None
    assert [trials.report(trial.number, at, 1.0, False) for at in (0, 1)] == [False, False]
    # The process died here: the third score is noted, and what follows from it is not.
    trials._trial(trial.number).report(1.0, 2)
    assert [opened().report(trial.number, at, 1.0, False) for at in (0, 1, 2)] == [False, False, True]


def test_the_best_is_the_first_finished_one_of_the_best_score(opened: Callable[..., Trials]) -> None:
    for greater, wanted in ((True, 2), (False, 1)):
        trials = opened(f"best{greater}", greater=greater)
        for score in (None, 1.0, 2.0, 2.0, 1.0):
            trial = trials.begin()
            assert trial is not None
            if score is None:
                trials.fail(trial.number, "loss is not finite")
            else:
                trials.end(trial.number, score)
        best = trials.best()
        assert best is not None
        assert best.number == wanted
        assert (trials.all()[0].state, trials.all()[0].reason) == ("failed", "loss is not finite")


def test_importances_name_the_key_that_scores_follow(opened: Callable[..., Trials]) -> None:
    trials = opened(sampler="random")
    assert trials.importances() == {}
    for _ in range(16):
        trial = trials.begin()
        assert trial is not None
        trials.end(trial.number, float(trial.values["training.size"]))
    assert next(iter(trials.importances())) == "training.size"
    assert trials.importances() == opened(sampler="random").importances()
    assert sum(trials.importances().values()) == pytest.approx(1.0)


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SetupError, match=r"pip install 'jenga\[tune\]'"):
        imported()


def test_a_harmed_database_is_told_with_its_path(opened: Callable[..., Trials], tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database " * 200)
    with pytest.raises(SetupError, match=r"study\.db: cannot be used"):
        opened()
