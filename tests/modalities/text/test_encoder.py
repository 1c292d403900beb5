"""Texts as tokens, for training and for new rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import SetupError
from jenga.modalities.text.columns import TextColumns
from jenga.modalities.text.dialogue import LanguageSpec
from jenga.modalities.text.encoder import TextEncoder
from jenga.rows.parse import SourceSpec, parse_rows
from jenga.rows.raw import RawRows
from jenga.run.build import build
from jenga.run.experiment import load_config


@pytest.fixture
def inputs(settings: Callable[..., Any], tmp_path: Path) -> tuple[TextEncoder, Any]:
    """The encoder of a small experiment, and how its source is read."""
    bundle = build(load_config(settings("mood", data={"max_length": 6})), tmp_path / "work").bundle
    made = bundle.inputs["shared"]
    assert isinstance(made, TextEncoder)
    return made, bundle.specs[0]


def test_new_rows_are_cut_with_a_warning(inputs: Any, caplog: pytest.LogCaptureFixture) -> None:
    made, spec = inputs
    raw = RawRows("new", rows=[{"text": "the agent"}, {"text": "the agent was kind and quick but"}], numbers=[1, 2])
    rows, _ = parse_rows(raw, spec, spaces=None, with_labels=False)
    split = made.encoder([raw]).encode(rows, spec, {})
    assert split.lengths.tolist()[1] == 6
    assert "1 of 2 rows are longer than 6 tokens; only that much of them is read" in caplog.text


def test_a_file_is_read_whole(inputs: Any, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text('{"text": "a", "other": 1}\n{"text": "b"}\n')
    raw = inputs[0].read(str(tmp_path / "new.jsonl"), [inputs[1]], split="test")
    assert raw.rows == [{"text": "a", "other": 1}, {"text": "b"}]


def spec_of(name: str, max_length: int, language: LanguageSpec | None = None) -> SourceSpec:
    content = TextColumns(("text",), None, max_length) if language is None else replace(language, max_length=max_length)
    return SourceSpec(name, ("x",), (), (), "id", (), content)


def dialogue(**columns: tuple[str, ...]) -> LanguageSpec:
    named: dict[str, Any] = {"text": (), "prompt": (), "completion": (), "messages": (), **columns}
    return LanguageSpec(**named)


@pytest.mark.parametrize(
    ("specs", "data", "limits"),
    [
        (
            [spec_of("a+b", 64), spec_of("c", 64)],
            {"tokens of a text": "64"},
            ["Of a longer text, only the first 64 tokens are read."],
        ),
        (
            [spec_of("a", 64), spec_of("b", 32)],
            {"tokens of a text (a)": "64", "tokens of a text (b)": "32"},
            [
                "Of a longer text, only the first 64 tokens are read (a).",
                "Of a longer text, only the first 32 tokens are read (b).",
            ],
        ),
        (
            [spec_of("lm", 64, dialogue(prompt=("question",)))],
            {"tokens of a text": "64"},
            ["Of a longer dialogue, only the first 64 tokens were learnt."],
        ),
        (
            [spec_of("lm", 64, dialogue(text=("text",))), spec_of("mood", 64)],
            {"tokens of a text": "64"},
            [
                "Texts were learnt in pieces of 64 tokens, none of which saw the one before (lm).",
                "Of a longer text, only the first 64 tokens are read (mood).",
            ],
        ),
    ],
)
def test_a_card_is_told_what_becomes_of_longer_texts(
    specs: list[SourceSpec], data: dict[str, str], limits: list[str]
) -> None:
    assert TextEncoder(tokenizer=None).facts(specs) == (data, limits)


def test_a_saved_tokenizer_that_lost_its_padding_is_refused(inputs: Any, tmp_path: Path) -> None:
    made, _ = inputs
    made.tokenizer.pad_token = None
    made.save(tmp_path)
    with pytest.raises(SetupError, match=r"the model's tokenizer has no padding token.*restore the folder"):
        TextEncoder.load(
            tmp_path,
            load_config(
                {
                    "project_name": "x",
                    "model": {"base_model": "m"},
                    "tasks": [{"name": "t", "type": "classification", "data_path": "d"}],
                }
            ),
        )
