"""Texts as a modality: how rows are read, what is made of settings, and a preset made of the training rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jenga.config.yaml12 import Document
from jenga.errors import ConfigError
from jenga.modalities.base import Prepared
from jenga.modalities.text.columns import TextColumns
from jenga.modalities.text.dialogue import LanguageSpec
from jenga.modalities.text.encoder import TextEncoder
from jenga.modalities.text.messages import Turn
from jenga.modalities.text.modality import TextModality
from jenga.modalities.text.settings import ModelConfig
from jenga.rows.content import ContentSpec
from jenga.run.build import source_specs
from jenga.run.experiment import load_config

Settings = Callable[..., dict[str, Any]]


def contents(settings: dict[str, Any]) -> list[ContentSpec]:
    return [spec.content for spec in source_specs(load_config(settings))]


def language(settings: Settings, **task: Any) -> dict[str, Any]:
    content = settings()
    path = content["tasks"][0]["data_path"]
    return content | {"tasks": [{"name": "lm", "type": "causal_lm", "data_path": path, **task}]}


# -------------------------------------------------------------------------------------------------------------- content


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({}, (("text", "tokens"), None)),
        ({"text": "body"}, (("body",), None)),
        ({"tokens": "pieces"}, (("pieces",), None)),
        ({"text_pair": "other"}, (("text", "tokens"), "other")),
    ],
)
def test_texts_stand_where_they_are_said_to_else_in_the_usual_columns(
    settings: Settings, columns: dict[str, str], found: tuple[tuple[str, ...], str | None]
) -> None:
    content = settings("mood")
    content["tasks"][0]["columns"] = columns
    assert contents(content) == [TextColumns(*found, 32)]


def test_words_come_first_where_tags_are_given_by_word(settings: Settings) -> None:
    assert contents(settings("names")) == [TextColumns(("tokens", "text"), None, 32)]
    content = settings("names")
    content["tasks"][0]["columns"] = {"entities": "spans"}
    assert contents(content) == [TextColumns(("text", "tokens"), None, 32)]


def test_a_task_may_cut_at_a_length_of_its_own(settings: Settings) -> None:
    content = settings("mood")
    content["tasks"][0]["max_length"] = 9
    assert contents(content) == [TextColumns(("text", "tokens"), None, 9)]
    assert [
        each.max_length for each in contents(language(settings, max_length=9)) if isinstance(each, LanguageSpec)
    ] == [9]


def test_a_language_task_looks_for_every_form_unless_one_is_named(settings: Settings) -> None:
    (found,) = contents(language(settings))
    assert isinstance(found, LanguageSpec)
    assert (found.text, found.messages, found.max_length) == (("text",), ("messages", "conversations"), 32)
    assert (found.prompt, found.completion) == (
        ("prompt", "question", "instruction"),
        ("completion", "answer", "output"),
    )
    assert found.context == "input"
    (named,) = contents(language(settings, columns={"completion": "reply"}, separator=" ", packing=True))
    assert isinstance(named, LanguageSpec)
    assert (named.text, named.messages, named.completion) == ((), (), ("reply",))
    assert named.prompt == ("prompt", "question", "instruction"), "a completion needs a prompt"
    assert named.context is None
    assert (named.separator, named.packing) == (" ", True)


def test_a_language_task_shares_its_rows_with_none(settings: Settings) -> None:
    content = language(settings)
    content["tasks"].append({**content["tasks"][0], "name": "other"})
    assert [spec.name for spec in source_specs(load_config(content))] == ["lm", "other"]


def test_an_example_fills_the_columns_of_every_content() -> None:
    specs = [
        TextColumns(("text", "tokens"), "other"),
        LanguageSpec((), ("question",), ("answer",), ()),
        LanguageSpec((), (), (), ("messages",)),
    ]
    row = TextModality().example(specs, {})
    assert row.keys() == {"text", "other", "question", "messages"}
    assert all(spec.found(SimpleNamespace(rows=[row])) is not None for spec in specs)  # type: ignore[arg-type]
    reader = specs[2].reader(SimpleNamespace(rows=[row]), learning=False, per_word=False)  # type: ignore[arg-type]
    assert reader.read(row).value.turns == (Turn("user", "An example of a text."),)


# ------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"teacher_student_config": {"teacher_model": "big", "student": {"layers": 2}}}, "big"),
        ({"base_model": "own", "teacher_student_config": {"teacher_model": "big", "student": {"layers": 2}}}, "own"),
        ({"teacher_student_config": {"teacher_model": "big"}}, None),
        ({"teacher_student_config": {"teacher_model": 3, "student": {"layers": 2}}}, None),
        ({"teacher_student_config": "big"}, None),
        ({}, None),
    ],
)
def test_a_model_that_is_cut_from_its_teacher_bears_the_teachers_name(model: dict[str, Any], named: str | None) -> None:
    TextModality().complete(model)
    assert model.get("base_model") == named


def test_only_a_model_of_texts_gets_an_output_layer() -> None:
    modality, block = TextModality(), ModelConfig(base_model="gpt2")
    assert modality.model_block(block, generates=False) is block
    assert modality.model_block(block, generates=True).generates
    with pytest.raises(ConfigError, match="'own' predicts no tokens"):
        modality.model_block(SimpleNamespace(backbone_type="own"), generates=True)


def test_adapters_on_a_preset_are_told_to_freeze_what_was_never_trained() -> None:
    def told(name: str, **blocks: Any) -> list[str]:
        document = Document("f.yml", {"model": {"base_model": name}, **blocks})
        return [finding.problem.message for finding in TextModality().checks(document)]

    (message,) = told("jenga/tiny-text", peft={"type": "lora"})
    assert "jenga/tiny-text starts from nothing" in message
    assert told("jenga/tiny-text") == told("gpt2", peft={"type": "lora"}) == []


# --------------------------------------------------------------------------------------------------------------- preset


def test_a_preset_is_made_of_the_training_rows_with_their_second_texts(
    settings: Settings, prepared: Callable[..., Prepared], tmp_path: Path
) -> None:
    rows = [{"text": "habari", "other": "njema", "mood": "ab"[at % 2]} for at in range(40)]
    content = settings("mood", rows=rows, model={"base_model": "jenga/tiny-text"})
    content["tasks"][0] |= {"columns": {"text_pair": "other"}, "heads": [{"name": "mood"}]}
    config = load_config(content)
    made = prepared(config, tmp_path / "work")
    assert isinstance(made.encoder, TextEncoder)
    assert (made.model_config.base_model, made.model_config.starts_from_nothing) == (
        str(tmp_path / "work" / "preset"), True,
    )  # fmt: skip
    tokens = made.encoder.tokenizer.tokenize("habari njema")
    assert len(tokens) == 2, tokens
    assert made.encoder.tokenizer.tokenize("zzzz") != ["zzzz"]


def test_a_checkpoint_is_taken_as_it_is(settings: Settings, prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    config = load_config(settings("mood"))
    made = prepared(config, tmp_path / "work")
    assert made.model_config is config.model
    assert not (tmp_path / "work").exists()
