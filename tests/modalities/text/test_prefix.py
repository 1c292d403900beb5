"""What stands before every text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import jenga
from jenga.errors import ConfigError
from jenga.modalities.text.columns import Texts
from jenga.modalities.text.encoder import TextEncoder
from jenga.modalities.text.modality import TextModality
from jenga.modalities.text.prefix import missing_prefix, prefix_tokens
from jenga.modalities.text.settings import ModelConfig
from jenga.modalities.text.tokens import encode
from jenga.modalities.text.windows import windows_of
from jenga.run.experiment import train

FAMILIES = ("wordpiece", "byte_level", "metaspace")
WORDS = ["Amina", "called", "from", "Nairobi"]
TEXT = " ".join(WORDS)
SPANS = [(0, 5), (6, 12), (13, 17), (18, 25)]


def by_hand(tokenizer: Any, prefix: str, *, pairs: bool = False, words: bool = False) -> tuple[Any, Any]:
    """Return the tokens of a text with a prefix, and those of the text that it is written into."""
    texts, others = [TEXT, "x"], ["was kind", "y"]
    moved = [[(start + len(prefix), stop + len(prefix)) for start, stop in SPANS], []]
    return (
        encode(texts, tokenizer, max_length=128, pairs=others if pairs else None,
               words=[SPANS, []] if words else None, prefix=prefix),
        encode([prefix + text for text in texts], tokenizer, max_length=128,
               pairs=[prefix + text for text in others] if pairs else None, words=moved if words else None),
    )  # fmt: skip


@pytest.mark.parametrize("prefix", ["query: ", "the", "Instruct: Tell the mood.\nQuery: "])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("of", [{}, {"pairs": True}, {"words": True}])
def test_texts_are_read_as_if_the_prefix_were_written_into_each(
    make_tokenizer: Callable[[str], Any], family: str, prefix: str, of: dict[str, bool]
) -> None:
    own, written = by_hand(make_tokenizer(family), prefix, **of)
    assert own.lengths[0] > encode([TEXT], make_tokenizer(family), max_length=128).lengths[0]
    for name in ("input_ids", "offsets", "truncated", "type_ids", "word_token", "word_offsets"):
        assert np.array_equal(getattr(own, name), getattr(written, name)), name


@pytest.mark.parametrize("family", FAMILIES)
def test_words_keep_their_tokens_and_the_prefix_has_no_word(make_tokenizer: Callable[[str], Any], family: str) -> None:
    tokenizer = make_tokenizer(family)
    plain = encode([TEXT], tokenizer, max_length=128, words=[SPANS])
    read = encode([TEXT], tokenizer, max_length=128, words=[SPANS], prefix="query: ")
    assert (read.words(0) >= 0).all()
    # Metaspace gives a text's first word the mark of its beginning, and one behind a space its first letter.
    assert read.input_ids[read.words(0)].tolist()[1:] == plain.input_ids[plain.words(0)].tolist()[1:]
    places = tokenizer("query: " + TEXT, return_offsets_mapping=True)["offset_mapping"]
    start, stop = places[read.words(0)[0]]
    assert start <= len("query: ") < stop


@pytest.mark.parametrize("family", FAMILIES)
def test_characters_of_tokens_are_those_of_the_text(make_tokenizer: Callable[[str], Any], family: str) -> None:
    tokenizer = make_tokenizer(family)
    shown = TextEncoder(tokenizer, prefix="query: ").shown(Texts([TEXT]), 0)
    plain = TextEncoder(tokenizer).shown(Texts([TEXT]), 0)
    assert shown.text == TEXT
    assert len(shown.places) == len(tokenizer("query: " + TEXT)["input_ids"])
    # Metaspace's mark of a beginning stands before the first word, or between the prefix and it.
    behind, wanted = ([place for place in each.places if place[0] >= SPANS[0][1]] for each in (shown, plain))
    assert behind == wanted
    assert {at for start, end in shown.places for at in range(start, end)} >= set(range(*SPANS[0]))
    assert all(place == (0, 0) for place in shown.places[: prefix_tokens(tokenizer, "query: ")])


def test_tokens_of_another_prefix_are_other_files_of_the_cache(
    make_tokenizer: Callable[[str], Any], tmp_path: Path
) -> None:
    tokenizer = make_tokenizer("wordpiece")
    found = [encode(["a b"], tokenizer, max_length=16, prefix=each, cache_dir=tmp_path) for each in ("", "x", "x y")]
    assert len({each.lengths[0] for each in found}) == 3
    assert len([each for each in tmp_path.iterdir() if each.is_dir()]) == 3


def test_a_length_that_the_prefix_fills_is_refused(make_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = make_tokenizer("wordpiece")
    count = prefix_tokens(tokenizer, "the agent ")
    with pytest.raises(ConfigError, match=rf"no room for text beside 2 special tokens and {count} of model\.prefix"):
        encode(["a"], tokenizer, max_length=count + 2, prefix="the agent ")
    assert encode(["a"], tokenizer, max_length=count + 3, prefix="the agent ").lengths.tolist() == [count + 3]


def test_each_window_begins_with_the_prefix(make_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = make_tokenizer("wordpiece")
    model = SimpleNamespace(window_tokens=10, window_stride_tokens=None, prefix="the agent ")
    windows = windows_of(model, tokenizer)
    assert windows is not None
    read = tokenizer("the agent " + TEXT)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(read[: windows.before]) == ["[CLS]", *tokenizer.tokenize("the agent ")]
    assert windows.room == 10 - 2 - len(tokenizer.tokenize("the agent "))
    model.window_tokens = 2 + len(tokenizer.tokenize("the agent "))
    with pytest.raises(ConfigError, match=r"no room for text beside 2 special tokens and \d+ of model\.prefix"):
        windows_of(model, tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_that_the_text_goes_on_in_is_none_of_the_prefix(
    make_tokenizer: Callable[[str], Any], family: str
) -> None:
    tokenizer = make_tokenizer(family)
    assert prefix_tokens(tokenizer, "") == 0
    for prefix in ("query: ", "the"):
        count = prefix_tokens(tokenizer, prefix)
        for text in ("Amina", "agent", "b", "9"):
            ids = tokenizer(prefix + text, add_special_tokens=False)["input_ids"]
            alone = tokenizer(prefix, add_special_tokens=False)["input_ids"]
            assert ids[:count] == alone[:count]


def test_texts_to_predict_have_no_prefix() -> None:
    model = ModelConfig(base_model="gpt2", prefix="query: ")
    with pytest.raises(ConfigError, match=r"model\.prefix: a task that predicts tokens learns its rows as they are"):
        TextModality().model_block(model, generates=True)
    assert TextModality().model_block(model, generates=False) is model
    assert TextModality().model_block(ModelConfig(base_model="gpt2", prefix=""), generates=True).generates


@pytest.mark.parametrize(
    ("name", "known"),
    [("intfloat/multilingual-e5-small", True), ("models/e5_base/", True), ("intfloat/E5-large-v2", True),
     ("sentence-transformers/all-MiniLM-L6-v2", False), ("e5/bert", False), ("me54", False)],
)  # fmt: skip
def test_models_of_e5_without_a_prefix_are_told_of(name: str, known: bool) -> None:
    told = missing_prefix(ModelConfig(base_model=name))
    assert (told is not None) == known
    assert told is None or 'set prefix: "query: "' in told
    assert missing_prefix(ModelConfig(base_model=name, prefix="")) is None
    assert missing_prefix(ModelConfig(base_model=name, prefix="query: ")) is None


def test_a_checkpoint_that_says_what_it_was_made_of_is_told_of(tmp_path: Path) -> None:
    for said, known in ({"_name_or_path": "intfloat/e5-base"}, True), ({}, False), ([], False):
        (tmp_path / "config.json").write_text(json.dumps(said))
        assert (missing_prefix(ModelConfig(base_model=str(tmp_path))) is not None) == known


@pytest.mark.usefixtures("without_report")
def test_a_run_with_a_prefix_is_that_of_rows_with_it_written_in_and_its_model_keeps_it(
    settings: Callable[..., dict[str, Any]], make_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    rows = make_rows(40)
    plain = [{key: row[key] for key in ("id", "text", "mood", "topic")} for row in rows]
    written = [{**row, "text": "the agent: " + row["text"]} for row in plain]
    own = train(settings("mood", rows=plain, model={"prefix": "the agent: "}), device="cpu")
    other = train(settings("mood", rows=written), device="cpu")

    def scores(metrics: Any) -> dict[str, float]:
        return {name: value for name, value in metrics.items() if name.startswith(("valid_", "test_", "eval_"))}

    assert scores(own.metrics)
    assert scores(own.metrics) == scores(other.metrics)
    answers = jenga.load(own.run, device="cpu").predict(plain[:5])
    assert answers == jenga.load(other.run, device="cpu").predict(written[:5])
    assert answers != jenga.load(other.run, device="cpu").predict(plain[:5])


@pytest.mark.usefixtures("without_report")
def test_entities_behind_a_prefix_have_the_characters_of_the_text(
    settings: Callable[..., dict[str, Any]], make_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    content = settings(
        "names", rows=make_rows(120), model={"prefix": "the agent: "},
        training={"epochs": 12, "batch_size": 8, "learning_rate": 3e-3},
    )  # fmt: skip
    result = train(content, device="cpu")
    assert result.metrics["test_names_names_f1"] > 0.9
    # As a text, and as a list of words.
    predictor = jenga.load(result.run, device="cpu")
    for row in ({"text": TEXT}, {"tokens": WORDS}):
        (answer,) = predictor.predict([row])
        found = answer["names"]["names"]["entities"]
        assert (0, 5, "Amina") in {(each["start"], each["end"], each["text"]) for each in found}
        assert all(TEXT[each["start"] : each["end"]] == each["text"] for each in found)
