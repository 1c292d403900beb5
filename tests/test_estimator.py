"""A model of one label as scikit-learn has classifiers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import jenga
from jenga import JengaClassifier
from jenga.errors import ConfigError, DataError

MOODS = {"glad": 3, "cross": 1, "calm": 2}
TEXTS = [f"{list(MOODS)[at % 3]} words {at}" for at in range(60)]
CODES = [list(MOODS.values())[at % 3] for at in range(60)]
QUICK = {"training": {"epochs": 8, "batch_size": 8}, "evaluation": {"baselines": [], "worst_errors": 0}}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> JengaClassifier:
    made = JengaClassifier(settings=QUICK, output_dir=tmp_path_factory.mktemp("runs"), device="cpu")
    assert made.fit(TEXTS, CODES) is made
    return made


def test_it_learns_and_answers_with_the_labels_it_was_given(fitted: JengaClassifier) -> None:
    assert fitted.classes_.tolist() == [1, 2, 3]
    assert fitted.predict(["glad to hear", "cross with you"]).tolist() == [3, 1]
    assert fitted.score(TEXTS, CODES) == 1.0
    assert is_classifier(fitted)


def test_probabilities_are_by_class_and_sum_to_one(fitted: JengaClassifier) -> None:
    shares = fitted.predict_proba(TEXTS[:7])
    assert shares.shape == (7, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)
    assert fitted.classes_[shares.argmax(axis=1)].tolist() == fitted.predict(TEXTS[:7]).tolist()
    assert fitted.predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("table", [pandas.DataFrame, polars.DataFrame])
def test_tables_are_rows(fitted: JengaClassifier, table: Any) -> None:
    assert fitted.predict(table({"text": TEXTS[:3], "n": [1, 2, 3]})).tolist() == CODES[:3]


def test_the_run_is_one_that_everything_else_reads(fitted: JengaClassifier) -> None:
    (answer,) = jenga.load(fitted.run_, device="cpu").predict(["glad"])
    assert answer["label"]["label"]["label"] == "3"
    found = jenga.load(fitted.run_, device="cpu").evaluate(split="valid")
    assert found["rows"] == 6, "its rows are there still"


def test_a_pickle_names_the_run_and_holds_no_model(fitted: JengaClassifier) -> None:
    content = pickle.dumps(fitted)
    assert len(content) < 4096
    assert pickle.loads(content).predict(TEXTS[:5]).tolist() == CODES[:5]


def test_a_row_that_cannot_be_used_is_named(fitted: JengaClassifier) -> None:
    with pytest.raises(DataError, match="X: row 1: "):
        fitted.predict(["glad", ""])


def test_columns_say_where_the_text_stands_and_a_column_called_label_is_no_label(tmp_path: Path) -> None:
    made = JengaClassifier(
        columns={"text": "body"}, output_dir=tmp_path, device="cpu", settings={**QUICK, "training": {"max_steps": 2}}
    )
    table = pandas.DataFrame({"body": TEXTS, "label": ["x"] * 60, "at": np.arange(60)})
    assert set(made.fit(table, ["a", "b"] * 30).predict(table[:4])) <= {"a", "b"}
    assert set(made.fit(TEXTS, ["a", "b"] * 30).predict(TEXTS[:4])) <= {"a", "b"}


def test_it_learns_of_events(tmp_path: Path) -> None:
    rows = [{"service": ["http", "dns"][at % 2], "bytes": at} for at in range(80)]
    settings = {**QUICK, "model": {"backbone_type": "sequential"}, "training": {"epochs": 8}}
    made = JengaClassifier("security_mlp_v1", settings=settings, output_dir=tmp_path, device="cpu")
    assert made.fit(rows, [at % 2 == 0 for at in range(80)]).score(rows, [at % 2 == 0 for at in range(80)]) > 0.9
    assert made.predict(rows[:2]).tolist() == [True, False]


@pytest.mark.slow
def test_it_stands_in_pipelines_and_is_cross_validated(tmp_path: Path) -> None:
    made = make_pipeline(
        FunctionTransformer(lambda texts: [text.lower() for text in texts]),
        JengaClassifier(settings=QUICK, output_dir=tmp_path, device="cpu"),
    )
    assert cross_val_score(made, [text.upper() for text in TEXTS], CODES, cv=2).mean() > 0.9


def test_what_it_was_made_with_is_what_a_clone_is_made_with() -> None:
    made = clone(JengaClassifier("minilm", settings=QUICK, columns={"text": "body"}, output_dir="there"))
    assert made.get_params() == {
        "base_model": "minilm", "settings": QUICK, "columns": {"text": "body"}, "output_dir": "there", "device": "auto",
    }  # fmt: skip
    with pytest.raises(NotFittedError):
        made.predict(["a"])


@pytest.mark.parametrize(
    ("X", "y", "error", "words"),
    [
        (TEXTS, CODES[1:], ValueError, "X has 60 rows and y 59 labels"),
        (TEXTS, np.linspace(0, 1, 60), ValueError, "Unknown label type: continuous"),
        ("a text", ["a"], TypeError, "X: got str; give a list of texts"),
        ([3] * 60, CODES, TypeError, "X: row 0 is int"),
        ([{"text": "a", "b": b"c"}] * 60, CODES, TypeError, "X: a bytes stands in no file"),
    ],
)  # fmt: skip
def test_what_it_cannot_learn_is_refused(X: Any, y: Any, error: Any, words: str, tmp_path: Path) -> None:  # noqa: N803
    with pytest.raises(error, match=words):
        JengaClassifier(output_dir=tmp_path).fit(X, y)


def test_tasks_of_ones_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"settings: tasks is the classifier's own"):
        JengaClassifier(settings={"tasks": []}, output_dir=tmp_path).fit(TEXTS, CODES)
