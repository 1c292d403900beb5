"""The front matter of a card, read as the hub's own package reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index

from jenga.report.card import write_card

Change = Callable[[dict[str, Any]], object]


def matter_of(run: Path) -> ModelCardData:
    data = ModelCard.load(write_card(run)).data
    assert isinstance(data, ModelCardData)
    return data


def results_of(run: Path) -> list[EvalResult]:
    return matter_of(run).eval_results or []


def edit(path: Path, change: Change) -> None:
    """Change what a YAML or JSON file holds; JSON is YAML."""
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_every_metric_of_the_first_split_is_there_under_the_hubs_name(run: Path) -> None:
    heads = json.loads((run / "evaluation.json").read_text())["splits"]["test"]["heads"]
    found = {result.metric_name: result for result in results_of(run)}
    wanted = {
        f"{head['task']} / {head['head']}: {name}": value for head in heads for name, value in head["metrics"].items()
    }
    assert {name: result.metric_value for name, result in found.items()} == pytest.approx(wanted, abs=1e-6)
    mood = found["Mood / label: macro_f1"]
    assert (mood.task_type, mood.metric_type, mood.metric_args) == ("text-classification", "f1", {"average": "macro"})
    assert (mood.dataset_name, mood.dataset_type, mood.dataset_split) == ("mood.jsonl", "mood.jsonl", "test")
    assert found["NER / entities: f1"].task_type == "token-classification"
    # The hub has no name for texts that give a number, and of files in folders only the names are shown.
    assert found["Wait / value: r2"].task_type == "regression"
    assert found["Wait / value: r2"].metric_type == "r_squared"
    assert found["NER / entities: f1"].dataset_name == "calls.jsonl"


def test_the_model_index_is_what_the_hubs_package_makes_of_the_results(run: Path) -> None:
    written = yaml.safe_load(write_card(run).read_text().split("---\n")[1])
    assert written["model-index"] == eval_results_to_model_index("helpline", results_of(run))


def test_validation_stands_in_where_there_is_no_test_and_nothing_where_there_is_neither(run: Path) -> None:
    edit(run / "evaluation.json", lambda found: found["splits"].pop("test"))
    assert {result.dataset_split for result in results_of(run)} == {"validation"}
    (run / "evaluation.json").unlink()
    data = matter_of(run)
    assert data.eval_results is None
    assert "model_name" not in data.to_dict()


def test_what_is_no_number_is_left_out(run: Path) -> None:
    def change(found: dict[str, Any]) -> None:
        found["splits"]["test"]["heads"][1]["metrics"] = {"macro_f1": None, "accuracy": float("nan"), "odd": 0.5}

    content = json.loads((run / "evaluation.json").read_text())
    change(content)
    (run / "evaluation.json").write_text(json.dumps(content))
    named = {result.metric_name: result.metric_type for result in results_of(run)}
    assert {name: kind for name, kind in named.items() if str(name).startswith("Mood")} == {"Mood / label: odd": "odd"}


def test_a_pipeline_is_named_only_where_every_head_is_one(run: Path) -> None:
    assert matter_of(run).pipeline_tag is None

    def without_others(found: dict[str, Any]) -> None:
        del found["splits"]["test"]["heads"][2:]

    edit(run / "evaluation.json", without_others)
    assert matter_of(run).pipeline_tag == "text-classification"
    edit(run / "config.yml", lambda config: config["model"].update(backbone_type="sequential"))
    assert matter_of(run).pipeline_tag == "tabular-classification"
    edit(run / "config.yml", lambda config: config["model"].update(backbone_type="of_somebody"))
    assert matter_of(run).pipeline_tag is None


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("hf://imdb", "imdb"),
        ("hf://asha/calls/swahili", "asha/calls"),
        ("hf://datasets/asha/calls@main/rows.csv", "asha/calls"),
        ({"train": "hf://imdb", "valid": "mine.csv"}, "imdb"),
        # A data set's owner and name, or its name and configuration: nothing here says which.
        ("hf://glue/sst2", None),
        ("jenga/helpline", None),
        ("rows/mood.jsonl", None),
    ],
)
def test_only_data_sets_that_are_certainly_the_hubs_are_named(run: Path, path: Any, wanted: str | None) -> None:
    edit(run / "config.yml", lambda config: config["tasks"][1].update(data_path=path))
    assert matter_of(run).datasets == wanted
    types = {result.dataset_type for result in results_of(run) if str(result.metric_name).startswith("Mood")}
    assert len(types) == 1
    assert wanted in types or not any("/" in kind for kind in types)


def test_what_the_run_does_not_say_is_not_there(run: Path) -> None:
    data = matter_of(run).to_dict()
    assert not {"language", "license", "datasets", "metrics"} & data.keys()
