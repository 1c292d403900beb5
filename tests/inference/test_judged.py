"""Which rows a model is judged on. (What comes of judging: test_predictor.py.)"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Dataset, DatasetDict

import jenga
from jenga.errors import DataError
from jenga.inference.judged import configured_sources, labelled_sources
from jenga.inference.predictor import Predictor
from jenga.modalities.text.pieces import EncodedLanguage

pytestmark = pytest.mark.usefixtures("without_report")

LANGUAGE = [{"id": f"r{n}", "prompt": f"is {n} good", "completion": "yes it is"} for n in range(30)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, make_gpt2: Callable[..., Path]) -> Predictor:
    """A model that answers and classifies, of rows in two files."""
    folder = tmp_path_factory.mktemp("both")
    moods = [{"text": f"call {n}", "label": ("good", "bad")[n % 2]} for n in range(30)]
    for name, rows in (("language", LANGUAGE), ("moods", moods)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content: dict[str, Any] = {
        "model": {"base_model": str(make_gpt2())},
        "tasks": [
            {"name": "lm", "type": "causal_lm", "data_path": str(folder / "language.jsonl"), "generation": {"rows": 0}},
            {"name": "mood", "type": "classification", "data_path": str(folder / "moods.jsonl")},
        ],
        "data": {"max_length": 32}, "training": {"max_steps": 1}, "evaluation": {"baselines": []},
        "tracking": {"enabled": False}, "output_dir": str(folder / "runs"),
    }  # fmt: skip
    return jenga.load(jenga.train(content, device="cpu").run, device="cpu")


def test_the_rows_of_the_run_come_with_all_its_tasks(both: Predictor) -> None:
    found = {source.tasks: len(source.splits["test"].rows) for source in configured_sources(both.bundle, "test")}
    assert found == {("lm",): 3, ("mood",): 3}


def test_rows_of_a_class_that_training_lacked_count_as_wrong_and_are_told(both: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    labels = ["good", "bad", "meh"]
    path.write_text("".join(json.dumps({"text": f"call {n}", "label": name}) + "\n" for n, name in enumerate(labels)))
    (head,) = both.evaluate(str(path))["heads"]
    assert (head["rows"], head["task"]) == (3, "mood")
    assert round(3 * head["metrics"]["accuracy"], 9) in (0, 1, 2), "of three rows"
    assert "1 of 3 rows are of classes that no training row has, and count as wrong" in head["details"]["warnings"]
    path.write_text(json.dumps({"text": "call", "label": "meh"}) + "\n")
    with pytest.raises(DataError, match=r"no row has a label that the training rows have.*'mood.*' \(bad, good\)"):
        both.evaluate(str(path))


HUB_ROWS = {"train": 40, "validation": 12, "test": 9}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of the hub that reads as texts and as events, whose splits share its name."""
    splits = {
        name: Dataset.from_list(
            [{"id": f"{name}{n}", "text": f"{name} call {n}", "size": n, "label": "ab"[n % 2]} for n in range(count)]
        )
        for name, count in HUB_ROWS.items()
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda name, configuration=None: DatasetDict(splits))


OF_TWO_FORMS = pytest.mark.parametrize(
    "model",
    [{"base_model": "jenga/tiny-text"}, {"backbone_type": "sequential", "base_model": "security_mlp_v1"}],
    ids=["texts", "events"],
)


@pytest.mark.usefixtures("hub")
@OF_TWO_FORMS
def test_each_split_of_a_hub_data_set_is_judged_by_its_own_rows(tmp_path: Path, model: dict[str, Any]) -> None:
    data_path = dict.fromkeys(("train", "valid", "test"), "hf://owner/calls")
    content: dict[str, Any] = {
        "model": model,
        "tasks": [{"name": "mood", "type": "classification", "data_path": data_path}],
        "training": {"max_steps": 1}, "evaluation": {"baselines": []},
        "tracking": {"enabled": False}, "output_dir": str(tmp_path / "runs"),
    }  # fmt: skip
    result = jenga.train(content, device="cpu")
    predictor = jenga.load(result.run, device="cpu")
    for split, name in {"train": "train", "valid": "validation", "test": "test"}.items():
        (source,) = configured_sources(predictor.bundle, split)
        assert sorted(source.splits[split].rows.ids) == sorted(f"{name}{n}" for n in range(HUB_ROWS[name]))
    found = predictor.evaluate(split="test")["metrics"]
    assert found == {name.removeprefix("test_"): value for name, value in result.metrics.items() if "test_" in name}


@OF_TWO_FORMS
def test_slices_by_a_column_are_told_of_a_saved_model_too_and_where_the_column_is_absent_that_is(
    tmp_path: Path, model: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"text": f"call {n}", "size": n, "lang": ("sw", "en")[n // 2 % 2], "label": "ab"[n % 2]} for n in range(120)
    ]
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    content: dict[str, Any] = {
        "model": model, "tasks": [{"name": "mood", "type": "classification", "data_path": str(path)}],
        "training": {"max_steps": 1}, "evaluation": {"baselines": [], "slices": ["lang"]},
        "tracking": {"enabled": False}, "output_dir": str(tmp_path / "runs"),
    }  # fmt: skip
    result = jenga.train(content, device="cpu")
    predictor = jenga.load(result.run, device="cpu")

    def lines(found: dict[str, Any]) -> Any:
        return found["heads"][0]["details"].get("slices")

    assert lines(result.evaluation["splits"]["test"])
    assert lines(predictor.evaluate(split="test")) == lines(result.evaluation["splits"]["test"])
    (line,) = lines(predictor.evaluate(str(path)))
    assert {each["value"]: each["rows"] for each in line["rows"]} == {"sw": 60, "en": 60}
    assert not [record for record in caplog.records if "judged apart" in record.getMessage()]
    path.write_text("".join(json.dumps({**row, "lang": None}) + "\n" for row in rows))
    assert lines(predictor.evaluate(str(path))) is None
    assert "calls.jsonl: no value in the column 'lang', so nothing is judged apart by it" in caplog.text


def test_rows_that_judge_are_those_of_the_run_where_two_tasks_read_one_file(
    tmp_path: Path, settings: Callable[..., dict[str, Any]]
) -> None:
    content = settings("mood", "price", training={"max_steps": 1})
    content["tasks"][1]["columns"] = {"text": "other"}
    content["model"] = {"base_model": "jenga/tiny-text"}
    result = jenga.train(content, device="cpu")
    found = jenga.load(result.run, device="cpu").evaluate(split="test")
    assert found["rows"] == result.evaluation["splits"]["test"]["rows"]
    assert found["metrics"] == result.evaluation["splits"]["test"]["metrics"]


@pytest.mark.parametrize(("row", "task"), [(LANGUAGE[0], "lm"), ({"text": "call", "label": "good"}, "mood")])
def test_a_file_judges_the_tasks_that_it_has_rows_for(
    both: Predictor, tmp_path: Path, row: dict[str, Any], task: str
) -> None:
    (tmp_path / "new.jsonl").write_text((json.dumps(row) + "\n") * 4)
    (source,) = labelled_sources(both.bundle, str(tmp_path / "new.jsonl"), split="test")
    assert source.tasks == (task,)
    assert len(source.splits["test"].rows) == 4
    assert isinstance(source.splits["test"].encoded, EncodedLanguage) == (task == "lm")


def test_rows_without_a_label_judge_nothing(both: Predictor, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text(json.dumps({"text": "call"}) + "\n")
    with pytest.raises(DataError, match=r"no row has a label; the model's heads and their columns: .*mood"):
        labelled_sources(both.bundle, str(tmp_path / "new.jsonl"), split="test")


def test_rows_that_teach_nothing_are_told_and_judge_nothing(both: Predictor, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text(json.dumps({"prompt": "good " * 40, "completion": "yes"}) + "\n")
    found = both.evaluate(str(tmp_path / "new.jsonl"))
    assert (found["heads"], found["metrics"]) == ([], {})


def test_a_file_is_read_as_the_training_rows_were(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    def write(name: str, *cells: str) -> str:
        (tmp_path / name).write_text("text,label\n" + "".join(f"call {at},{cell}\n" for at, cell in enumerate(cells)))
        return str(tmp_path / name)

    path = write("train.csv", *["billing|delay", "delay", "", "billing", "N/A"] * 8)
    task = {"name": "topics", "type": "multi_label_classification", "data_path": path}
    content = {**settings("mood"), "tasks": [task], "training": {"max_steps": 1}, "output_dir": str(tmp_path / "runs")}
    bundle = jenga.load(jenga.train(content, device="cpu").run, device="cpu").bundle
    # Alone, none of these cells would show the separator, and a blank one would not be known.
    new = write("new.csv", "delay | billing", "", "n/a", "delay")
    (source,) = labelled_sources(bundle, new, split="test")
    labels = source.splits["test"].rows.labels["topics", "labels"]
    assert bundle.spaces["topics", "labels"].labels == ("billing", "delay")
    assert labels[[0, 1, 3]].tolist() == [[1, 1], [0, 0], [0, 1]]
    assert np.isnan(labels[2]).all()
    (own,) = configured_sources(bundle, "test")
    assert len(own.splits["test"].rows) == 4
