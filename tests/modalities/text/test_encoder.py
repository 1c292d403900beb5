"""Texts as tokens, for training and for new rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from jenga.errors import ConfigError, DataError, SetupError
from jenga.modalities import BackboneManager, BaseBackbone
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.modalities.text.dialogue import Dialogue, Dialogues, LanguageSpec
from jenga.modalities.text.encoder import TextEncoder
from jenga.modalities.text.messages import Turn
from jenga.modalities.text.settings import ModelConfig
from jenga.modalities.text.windows import Windows
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import Rows, SourceSpec, parse_rows
from jenga.rows.raw import BadRow, RawRows
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


def test_windows_decide_what_is_answered_at_once_and_what_a_card_says() -> None:
    made = TextEncoder(None, Windows(100, 60, 1, 1), longest=800)
    assert made.rows_at_once == TextEncoder(None).rows_at_once // 8
    assert made.tokens_at_once == TextEncoder(None).rows_at_once * 100
    assert made.facts([spec_of("a", 800)]) == (
        {"tokens of a text": "800", "tokens of a window": "100, one each 60"},
        ["Of a longer text, only the first 800 tokens are read."],
    )


@pytest.mark.parametrize(
    ("window", "task", "said"),
    [
        (65, {}, r"model\.window_tokens: 65, but the model has positions for 64; lower it"),
        (16, {"columns": {"text_pair": "other"}}, r"mood has two texts a row, which are not read in windows; give its"),
        (16, {"columns": {"text_pair": "other"}, "max_length": 16}, None),
    ],
)
def test_windows_beyond_the_positions_and_of_two_texts_are_refused(
    settings: Callable[..., Any], tmp_path: Path, window: int, task: dict[str, Any], said: str | None
) -> None:
    content = settings("mood", "names", model={"window_tokens": window}, data={"max_length": 80})
    content["tasks"][0] |= task
    if said is None:
        assert build(load_config(content), tmp_path / "work").sources
        return
    with pytest.raises(ConfigError, match=said):
        build(load_config(content), tmp_path / "work")


@pytest.mark.usefixtures("registries_as_before")
def test_a_backbone_that_knows_no_windows_is_refused_beside_them(settings: Callable[..., Any], tmp_path: Path) -> None:
    @BackboneManager.register("whole", config=ModelConfig)
    class Whole(BaseBackbone):
        modality = "text"
        hidden_size = 4

    content = settings("mood", model={"backbone_type": "whole", "window_tokens": 8})
    with pytest.raises(ConfigError, match=r"model\.window_tokens: Whole reads its rows whole; remove the key"):
        build(load_config(content), tmp_path / "work")


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


def test_a_saved_tokenizer_is_the_same_whatever_it_did_last(inputs: Any, tmp_path: Path) -> None:
    made, _ = inputs
    saved = []
    for use in ({}, {"truncation": True, "max_length": 5}, {"padding": "max_length", "max_length": 9}):
        made.tokenizer(["a text"], **use)
        made.save(tmp_path)
        saved.append((tmp_path / "tokenizer.json").read_bytes())
    assert len(set(saved)) == 1


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


# -------------------------------------------------------------------------------- rows that a chat template refuses

REFUSING = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def chats(make_tokenizer: Any, refused: int, total: int) -> tuple[TextEncoder, LoadedSource]:
    tokenizer = make_tokenizer("byte_level")
    tokenizer.pad_token, tokenizer.chat_template = tokenizer.eos_token, REFUSING
    turns = (Turn("user", "the agent"), Turn("assistant", "good"))
    dialogues = [Dialogue(turns, chat=True) for _ in range(total)]
    dialogues[1 : 1 + refused] = [Dialogue((Turn("system", "be kind"), *turns), chat=True)] * refused
    numbers = list(range(1, total + 1))
    rows = Rows([f"r{n}" for n in numbers], ["chats.jsonl"] * total, numbers, Dialogues(dialogues))
    spec = spec_of("lm", 64, dialogue(messages=("messages",)))
    return TextEncoder(tokenizer), LoadedSource(spec, {"train": rows}, {}, [], [], {}, {})


def test_a_row_that_the_chat_template_refuses_is_set_aside(make_tokenizer: Any, settings: Callable[..., Any]) -> None:
    made, loaded = chats(make_tokenizer, 1, 200)
    ((source,), warnings) = made.sources([loaded], load_config(settings("mood")), cast("Any", None))
    (bad,) = loaded.bad
    assert (bad.file, bad.number) == ("chats.jsonl", 2)
    assert "no system here" in bad.reason
    assert "be kind" in bad.raw
    split = source.splits["train"]
    assert (len(split), len(split.rows)) == (199, 199)
    assert split.batch([1]).sample_ids == ["r3"]
    assert warnings == []


def test_too_many_rows_that_the_chat_template_refuses_stop_the_run(
    make_tokenizer: Any, settings: Callable[..., Any]
) -> None:
    made, loaded = chats(make_tokenizer, 3, 200)
    with pytest.raises(DataError, match=r"(?s)chats.jsonl: 3 of 200 rows cannot be used.*no system here"):
        made.sources([loaded], load_config(settings("mood")), cast("Any", None))


def test_rows_that_the_chat_template_refuses_are_counted_by_file_and_not_by_split(
    make_tokenizer: Any, settings: Callable[..., Any]
) -> None:
    made, loaded = chats(make_tokenizer, 1, 200)
    rows = loaded.splits["train"]
    loaded.splits = {"train": rows.take(range(10, 200)), "valid": rows.take(range(10))}
    ((source,), _) = made.sources([loaded], load_config(settings("mood")), cast("Any", None))
    assert [len(source.splits[name].rows) for name in ("train", "valid")] == [190, 9]
    made, loaded = chats(make_tokenizer, 2, 200)
    loaded.bad = [BadRow("chats.jsonl", 201, "no JSON", "{")]
    with pytest.raises(DataError, match=r"3 of 201 rows cannot be used"):
        made.sources([loaded], load_config(settings("mood")), cast("Any", None))


def test_given_rows_that_the_chat_template_refuses_are_told(
    make_tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made, loaded = chats(make_tokenizer, 1, 3)
    encoded = made.encoder([]).encode(loaded.splits["train"], loaded.spec, {})
    assert len(encoded) == 2
    assert "1 of 3 rows cannot be written out" in caplog.text
    made, loaded = chats(make_tokenizer, 2, 3)
    with pytest.raises(DataError, match=r"no row can be written out: .*no system here"):
        made.encoder([]).encode(loaded.splits["train"].take([1, 2]), loaded.spec, {})


def test_each_token_of_a_text_is_shown_with_its_characters_and_a_pair_of_texts_with_none(inputs: Any) -> None:
    encoder, _ = inputs
    text = "the caller waits"
    shown = encoder.shown(Texts([text]), 0)
    ids = encoder.tokenizer(text)["input_ids"]
    assert len(shown.places) == len(ids)
    assert {text[start:end] for start, end in shown.places} >= {"the"}
    assert encoder.shown(Texts([text], pairs=["other"]), 0).places == ()
