import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from jenga.bundle import schema
from jenga.config.load import Search, load_search
from jenga.errors import ConfigError, SetupError
from jenga.tuning.folder import (
    StudyFolder,
    drop_weights,
    experiment,
    find_study,
    importance_table,
    new_study,
    results_table,
    write_results,
)
from jenga.tuning.trials import Trials


@pytest.fixture
def search(searched: Callable[..., dict[str, Any]]) -> Callable[..., Search]:
    """Return a function that makes a search; `settings` go beside its block `tune`."""

    def make(settings: dict[str, Any] | None = None, **tune: Any) -> Search:
        return load_search({**searched(**tune), **(settings or {})}, schema=schema())

    return make


def made(search: Search, **fields: Any) -> StudyFolder:
    study = new_study(search, metric="eval_loss", evaluation_metric="eval_loss", greater_is_better=False)
    study.update(**fields)
    study.release()
    return study


def found(search: Search, resume: str = "auto") -> Path | None:
    study = find_study(search, resume)
    if study is None:
        return None
    study.release()
    return study.path


def test_all_trials_keep_their_models_by_what_the_metric_of_the_file_came_to(search: Callable[..., Search]) -> None:
    of_file = search({"evaluation": {"metric": "auto"}})
    study = new_study(of_file, metric="eval_mood_mood_accuracy", evaluation_metric="eval_score", greater_is_better=True)
    study.release()
    assert experiment(study, of_file, {"training.batch_size": 4}).evaluation.metric == "eval_score"


def test_auto_takes_the_newest_study_of_the_same_search_with_trials_left(search: Callable[..., Search]) -> None:
    assert found(search()) is None
    first, second, third = made(search()), made(search()), made(search(seed=5))
    assert found(search()) == second.path
    second.update(status="finished")
    assert found(search()) == first.path
    assert found(search(seed=5)) == third.path
    assert found(search({"data": {"max_length": 16}})) is None


def test_more_trials_and_another_limit_are_the_same_search(search: Callable[..., Search]) -> None:
    study = made(search(trials=3), status="finished")
    assert found(search(trials=3)) is None
    assert found(search(trials=2)) is None
    assert found(search(trials=4, timeout_s=60, keep="all")) == study.path


def test_another_search_is_named_in_the_refusal(search: Callable[..., Search]) -> None:
    study = made(search())
    with pytest.raises(ConfigError, match=r"another configuration \(tune\.seed, data\.max_length 32 -> 16\)"):
        find_study(search({"data": {"max_length": 16}}, seed=4), str(study.path))
    with pytest.raises(ConfigError, match="is no folder of a study"):
        find_study(search(), str(study.path.parent))
    study.update(status="finished")
    with pytest.raises(ConfigError, match=r"is finished; for more trials raise tune\.trials"):
        find_study(search(), str(study.path))


def test_one_process_at_a_time_holds_a_study(search: Callable[..., Search]) -> None:
    study = new_study(search(), metric="eval_loss", evaluation_metric="eval_loss", greater_is_better=False)
    with pytest.raises(SetupError, match="in use by another process"):
        find_study(search(), "auto")
    study.release()


def test_a_harmed_study_is_passed_over_with_a_warning(
    search: Callable[..., Search], caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = made(search()), made(search())
    (newer.path / "study.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert found(search()) == older.path
    assert f"{newer.path} is passed over" in caplog.text


@pytest.fixture
def written(search: Callable[..., Search]) -> tuple[StudyFolder, Search, Trials]:
    """A study of four trials: two that finished, one that failed, one under way; each with weights."""
    made_of = search()
    study = made(made_of)
    trials = Trials(study.database, made_of.tune, made_of.dimensions, greater_is_better=False)
    for score in (2.0, 1.0, None):
        trial = trials.begin()
        assert trial is not None
        if score is None:
            trials.fail(trial.number, "loss is not finite\nat step 3")
        else:
            trials.end(trial.number, score)
    trials.begin()
    for number in range(4):
        for name in ("best", "checkpoints"):
            (study.run_of(number) / name).mkdir(parents=True)
        (study.run_of(number) / "report.html").touch()
    return study, made_of, trials


def test_results_are_written_as_json_csv_and_a_plain_configuration(
    written: tuple[StudyFolder, Search, Trials],
) -> None:
    study, search, trials = written
    info = write_results(study, search, trials)
    assert info == json.loads((study.path / "study.json").read_text())
    assert [each["state"] for each in info["trials"]] == ["finished", "finished", "failed", "running"]
    assert (info["best"]["number"], info["best"]["score"]) == (1, 1.0)
    with (study.path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == [each["state"] for each in info["trials"]]
    assert (
        float(rows[1]["training.learning_rate.backbone"]) == info["best"]["values"]["training.learning_rate.backbone"]
    )
    text = (study.path / "best.yml").read_text()
    assert text.startswith("# The best of a search by jenga tune, trial 1 of 4: eval_loss 1.0 on the validation rows")
    assert yaml.safe_load(text)["fusion"]["type"] == info["best"]["values"]["fusion.type"]


def test_tables_show_what_was_drawn_and_what_came_of_it(written: tuple[StudyFolder, Search, Trials]) -> None:
    study, search, trials = written
    table = results_table(write_results(study, search, trials))
    assert table[0] == ["trial", "state", "eval_loss", *search.dimensions, "notes"]
    assert [row[2] for row in table[1:]] == ["2.0000", "1.0000", "-", "-"]
    assert [row[-1] for row in table[1:]] == ["", "best", "loss is not finite", ""]
    assert importance_table({"importances": {"a": 0.75, "b": 0.25}})[1:] == [["a", "0.750"], ["b", "0.250"]]


def test_only_the_best_trial_and_the_one_under_way_keep_their_weights(
    written: tuple[StudyFolder, Search, Trials],
) -> None:
    study, _, trials = written
    drop_weights(study, trials)
    for name in ("best", "checkpoints"):
        assert [(study.run_of(number) / name).exists() for number in range(4)] == [False, True, False, True]
    assert all((study.run_of(number) / "report.html").exists() for number in range(4))
