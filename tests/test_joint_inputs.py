"""A task that reads two inputs of a row: from a configuration to predictions of rows that have either, or both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import jenga
from jenga.errors import ConfigError
from jenga.run.experiment import train

pytestmark = pytest.mark.usefixtures("without_report")

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Pictures of one colour with a text that names it; some rows have one of the two."""
    from PIL import Image

    found = []
    for at in range(48):
        name = list(COLOURS)[at % 2]
        Image.new("RGB", (8, 8), tuple(value + at for value in COLOURS[name])).save(tmp_path / f"{at}.png")
        row = {"id": f"r{at}", "text": f"it looks {name} to me {at}", "image": f"{at}.png", "label": name}
        if at % 6 == 4:
            del row["text"]
        elif at % 6 == 5:
            del row["image"]
        found.append(row)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


def settings(rows: Path, **task: Any) -> dict[str, Any]:
    return {
        "project_name": "joint",
        "output_dir": str(rows.parent / "runs"),
        "model": {
            "backbones": {
                "text": {"base_model": "jenga/tiny-text"},
                "vision": {"base_model": "jenga/tiny-vision", "image_size": 8},
            }
        },
        "tasks": [
            {"name": "colour", "type": "classification", "inputs": ["text", "vision"], "data_path": str(rows), **task}
        ],
        "training": {"max_steps": 60, "batch_size": 8},
        "tracking": {"enabled": False},
    }


def test_a_task_of_two_inputs_answers_rows_that_have_both_or_either(rows: Path) -> None:
    run = train(settings(rows)).run
    assert json.loads((run / "evaluation.json").read_text())["splits"]["test"]["metrics"]
    model = jenga.load(run)
    both = {"id": "both", "text": "it looks red to me", "image": str(rows.parent / "0.png")}
    given = [
        both,
        {"id": "text", "text": "it looks blue to me"},
        {"id": "picture", "image": str(rows.parent / "1.png")},
        {"id": "none", "text": None},
    ]
    answers = {each["id"]: each for each in model.predict(given)}
    assert answers["both"]["colour"]["label"]["label"] == "red"
    assert answers["text"]["colour"]["label"]["label"] == "blue"
    assert answers["picture"]["colour"]["label"]["label"] == "blue"
    assert "text" in answers["none"]["error"]
    assert "vision" in answers["none"]["error"]
    alone = model.predict([both])[0]["colour"]["label"]["probability"]
    assert alone == pytest.approx(answers["both"]["colour"]["label"]["probability"], abs=1e-5)
    assert model.evaluate(str(rows), split="train")["rows"] == 48


def test_a_saved_model_of_two_inputs_is_the_one_that_was_trained(rows: Path, tmp_path: Path) -> None:
    from jenga.bundle import Bundle

    run = train(settings(rows, type="classification")).run
    first = Bundle.load(run / "best")
    first.save(tmp_path / "again")
    again = Bundle.load(tmp_path / "again")
    assert again.specs == first.specs
    for name, value in first.model.state_dict().items():
        assert again.model.state_dict()[name].equal(value)
    assert {each.name for each in (run / "best" / "backbone").iterdir()} == {"text", "vision"}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"type": "ner"}, "labels words of"),
        ({"inputs": ["text", "text"]}, "given twice"),
        ({"inputs": ["text", "sound"]}, "unknown 'sound'"),
        ({"backbone": "text"}, "inputs names what the task reads already"),
    ],
)
def test_what_two_inputs_cannot_have_is_told(rows: Path, task: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        train(settings(rows, **task))
