"""Texts as a modality: how rows are read, what is made of settings, and a preset made of the training rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import jenga
from jenga.config.yaml12 import Document
from jenga.errors import ConfigError
from jenga.modalities.base import Prepared
from jenga.modalities.text import modality
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.modalities.text.dialogue import LanguageSpec
from jenga.modalities.text.encoder import TextEncoder
from jenga.modalities.text.messages import Turn
from jenga.modalities.text.modality import TextModality
from jenga.modalities.text.settings import ModelConfig
from jenga.rows.content import ContentSpec
from jenga.run.build import source_specs
from jenga.run.experiment import load_config, train

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


def test_windows_that_no_row_fills_or_that_parted_encoders_would_wait_for_are_refused() -> None:
    def told(**blocks: Any) -> list[str]:
        model = {"base_model": "m", "window_tokens": 256}
        document = Document("f.yml", {"model": model, "tasks": [{"name": "a"}, {"name": "b"}], **blocks})
        return [finding.problem.message for finding in TextModality().checks(document)]

    short, long = {"max_length": 200}, {"max_length": 2000}
    usual: dict[str, Any] = {}
    for blocks, key in (
        (usual, "data.max_length (256)"),
        ({"data": short}, "data.max_length (200)"),
        ({"data": long, "tasks": [short]}, "max_length of the tasks (200)"),
    ):
        (message,) = told(**blocks)
        assert message.startswith(f"no row is longer than a window: of each, {key} tokens are kept")
    assert told(data=long) == told(data=short, tasks=[{}, long]) == told(tasks=[None]) == []
    (message,) = told(data=long, training={"fsdp": True})
    assert "training.fsdp" in message


def test_texts_to_predict_are_learnt_in_no_windows() -> None:
    with pytest.raises(ConfigError, match=r"model\.window_tokens: a task that predicts tokens learns long texts in"):
        TextModality().model_block(ModelConfig(base_model="gpt2", window_tokens=9), generates=True)


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


def test_a_vocabulary_is_learnt_from_texts_of_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may be sorted by language, or take turns by it."""
    content = Texts(texts=[f"row {at}" for at in range(60)], pairs=[f"pair {at}" for at in range(60)])
    source: Any = SimpleNamespace(splits={"train": SimpleNamespace(content=content)})
    everything = modality._texts([source], "")
    assert everything == [*content.texts, *(content.pairs or [])]
    monkeypatch.setattr(modality, "_VOCABULARY_TEXTS", 60)
    found = modality._texts([source], "")
    assert len(set(found)) == 60
    assert found == [each for each in everything if each in found]
    for kind in ("row", "pair"):
        places = np.array([int(each.split()[1]) for each in found if each.startswith(kind)])
        for part in (places % 2 == 0, places % 2 == 1, places < 30, places >= 30):
            assert part.sum() >= 5
    assert modality._texts([source], "say: ") == ["say: " + each for each in found]


def test_a_preset_knows_the_words_of_its_prefix(
    settings: Settings, prepared: Callable[..., Prepared], tmp_path: Path
) -> None:
    rows = [{"text": "habari", "mood": "ab"[at % 2]} for at in range(40)]
    content = settings("mood", rows=rows, model={"base_model": "jenga/tiny-text", "prefix": "swali "})
    content["tasks"][0]["heads"] = [{"name": "mood"}]
    made = prepared(load_config(content), tmp_path / "work")
    assert isinstance(made.encoder, TextEncoder)
    assert len(made.encoder.tokenizer.tokenize("swali habari")) == 2
    assert made.warnings == []


def test_a_model_of_e5_without_a_prefix_is_told_of_once_before_training(
    settings: Settings, prepared: Callable[..., Prepared], checkpoint: Callable[[str], str], tmp_path: Path
) -> None:
    (folder := tmp_path / "e5-tiny").symlink_to(checkpoint("bert"))
    (told,) = prepared(load_config(settings("mood", model={"base_model": str(folder)})), tmp_path / "work").warnings
    assert told.startswith("model.prefix: ")


def test_a_checkpoint_is_taken_as_it_is(settings: Settings, prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    config = load_config(settings("mood"))
    made = prepared(config, tmp_path / "work")
    assert made.model_config is config.model
    assert not (tmp_path / "work").exists()


# -------------------------------------------------------------------------------------------------------------- windows


def calls(count: int) -> list[dict[str, Any]]:
    """Rows of 70 words, whose label and whose one name stand in one of the last 20."""
    found = []
    for at in range(count):
        words = [("the", "agent", "was", "line", "music")[(at + place) % 5] for place in range(70)]
        words[50 + at % 20], words[69 - at % 7] = ("Amina", "bad" if at % 2 else "good")
        tags = ["B-NAME" if word == "Amina" else "O" for word in words]
        found.append({"id": f"r{at}", "tokens": words, "ner_tags": tags, "mood": "bad" if "bad" in words else "good"})
    return found


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("fusion", ["none", "attention"])
def test_what_only_the_end_of_long_texts_tells_is_learnt_and_answered_in_windows(
    settings: Settings, checkpoint: Callable[[str], str], fusion: str
) -> None:
    content = settings(
        "mood", "names", rows=calls(80), data={"max_length": 48}, fusion={"type": fusion},
        model={"base_model": checkpoint("distilbert"), "pooling": "max"},
        training={"epochs": 12, "batch_size": 8, "learning_rate": 3e-3},
    )  # fmt: skip
    content["tasks"][0]["heads"] = [{"name": "mood"}]
    beginning = train({**content, "training": {**content["training"], "epochs": 1}}, device="cpu")
    assert beginning.metrics["test_names_names_recall"] == 0
    content["model"] |= {"window_tokens": 24}
    content["data"]["max_length"] = 100  # more than the model has positions for
    result = train(content, device="cpu")
    assert result.metrics["test_names_names_f1"] == 1
    assert result.metrics["test_mood_mood_accuracy"] == 1
    rows = [{"tokens": row["tokens"][: 70 - 50 * (at % 2)]} for at, row in enumerate(calls(4))]
    predictor = jenga.load(result.run, device="cpu")
    answers = predictor.predict(rows)
    assert not any(answer.get("truncated") for answer in answers)
    # A row is read alike whatever stands beside it.
    for row, answer in zip(rows, answers, strict=True):
        (alone,) = predictor.predict([row])
        assert alone["names"] == answer["names"]
        assert alone["mood"]["mood"]["probability"] == pytest.approx(answer["mood"]["mood"]["probability"], abs=1e-5)
    (longer,) = predictor.predict([{"tokens": ["line"] * 101}])
    assert longer["truncated"]
