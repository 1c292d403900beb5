"""Texts as tokens: alignment to words, truncation, pairs, and the cache."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.errors import ConfigError, SetupError
from jenga.modalities.text import tokens as module
from jenga.modalities.text.tokens import EncodedText, encode

FAMILIES = ("wordpiece", "byte_level", "metaspace")
SENTENCES = [
    ["Amina", "called", "from", "Nairobi"],
    ["unseenword", "café", "x", "about", "zzzz"],
    ["naïve", "日本", "🙂", "ok", "!"],
    ["don't", "stop", ",", "please"],
    ["one"],
]


def spans_of(words: list[str]) -> tuple[str, list[tuple[int, int]]]:
    text, spans = "", []
    for word in words:
        text += " " if text else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans


def equal(one: EncodedText, other: EncodedText) -> bool:
    return all(
        type(a) is type(b)
        and (a == b if not isinstance(a, np.ndarray) else a.dtype == b.dtype and np.array_equal(a, b))
        for a, b in ((getattr(one, each.name), getattr(other, each.name)) for each in fields(EncodedText))
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("words", SENTENCES, ids=lambda words: words[0])
def test_each_word_points_to_its_first_token(
    make_tokenizer: Callable[[str], Any], family: str, words: list[str]
) -> None:
    tokenizer, (text, spans) = make_tokenizer(family), spans_of(words)
    encoded = encode([text], tokenizer, max_length=64, words=[spans])
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    tokens = encoded.words(0).tolist()
    assert len(tokens) == len(words)
    assert tokens == sorted(set(tokens)), "words keep their order and share no token"
    for (start, stop), token in zip(spans, tokens, strict=True):
        covered = [at for at in range(*offsets[token]) if not text[at].isspace()]
        assert covered, f"token {token} holds a letter"
        assert start <= covered[0] < stop
        earlier = [at for left, right in offsets[:token] for at in range(left, right)]
        assert not any(start <= at < stop for at in earlier), f"token {token} is the word's first"


@pytest.mark.parametrize("family", FAMILIES)
def test_words_that_are_cut_off_have_no_token(make_tokenizer: Callable[[str], Any], family: str) -> None:
    text, spans = spans_of(["agent", "was", "kind"] * 10)
    encoded = encode([text, "agent was"], make_tokenizer(family), max_length=12, words=[spans, spans[:2]])
    first, second = encoded.words(0), encoded.words(1)
    kept = int((first >= 0).sum())
    assert 0 < kept < 30
    assert (first[:kept] >= 0).all()
    assert (first[kept:] == -1).all()
    assert (second >= 0).all()
    assert encoded.truncated.tolist() == [True, False]
    assert encoded.lengths[0] == 12


def test_a_word_inside_the_token_of_another_has_none(make_tokenizer: Callable[[str], Any]) -> None:
    """Words by character spans need not stand apart: 'the agent' as 'th' + 'e agent' leaves 'e' without a token."""
    tokenizer = make_tokenizer("wordpiece")
    assert tokenizer.tokenize("the agent") == ["the", "agent"]
    encoded = encode(["the agent"], tokenizer, max_length=16, words=[[(0, 2), (2, 3), (4, 9)]])
    assert encoded.words(0).tolist() == [1, -1, 2]


def test_words_of_a_pair_lie_in_the_first_text_only(make_tokenizer: Callable[[str], Any]) -> None:
    text, spans = spans_of(["the", "agent"])
    encoded = encode([text], make_tokenizer("wordpiece"), max_length=16, pairs=["the agent was kind"], words=[spans])
    assert encoded.words(0).tolist() == [1, 2]


def test_pairs_have_type_ids_and_singles_have_none(make_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = make_tokenizer("wordpiece")
    single, pair = (
        encode(["the agent"], tokenizer, max_length=16),
        encode(["the"], tokenizer, max_length=16, pairs=["agent was"]),
    )
    assert single.type_ids is None
    assert pair.type_ids is not None
    assert pair.type_ids.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_pair_keeps_to_max_length(make_tokenizer: Callable[[str], Any], family: str) -> None:
    encoded = encode(
        ["the agent was kind " * 9, "a"], make_tokenizer(family), max_length=10, pairs=["of music " * 9, "b"]
    )
    assert encoded.lengths[0] == 10
    assert encoded.truncated.tolist() == [True, False]


def test_a_length_that_holds_no_text_is_refused(make_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = make_tokenizer("wordpiece")
    with pytest.raises(ConfigError, match="max_length: 2 leaves no room for text beside 2 special tokens"):
        encode(["the"], tokenizer, max_length=2)
    with pytest.raises(ConfigError, match="beside 3 special tokens"):
        encode(["the"], tokenizer, max_length=3, pairs=["agent"])
    assert encode(["the agent"], tokenizer, max_length=3).lengths.tolist() == [3]


def test_rows_keep_their_order_over_chunks(
    make_tokenizer: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the agent " * (1 + at % 7) for at in range(25)]
    whole = encode(texts, make_tokenizer("wordpiece"), max_length=8)
    monkeypatch.setattr(module, "_CHUNK_ROWS", 4)
    assert equal(encode(texts, make_tokenizer("wordpiece"), max_length=8), whole)
    assert whole.lengths.tolist() == [min(2 + 2 * (1 + at % 7), 8) for at in range(25)]


def test_no_rows_are_no_tokens(make_tokenizer: Callable[[str], Any]) -> None:
    assert len(encode([], make_tokenizer("wordpiece"), max_length=8, words=[])) == 0


class Slow:
    """A tokenizer of Python code, which gives no offsets."""

    is_fast = False


def test_tags_need_a_tokenizer_with_offsets() -> None:
    slow: Any = Slow()
    with pytest.raises(SetupError, match=r"model.tokenizer: Slow gives no character offsets"):
        encode(["a"], slow, max_length=8, words=[[(0, 1)]])


# ---------------------------------------------------------------------------------------------------------------- cache


def files(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()} if folder.exists() else set()


def test_a_hit_equals_a_miss_and_does_not_tokenise(
    make_tokenizer: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, spans = spans_of(["Amina", "called"])
    options: dict[str, Any] = {
        "max_length": 16,
        "pairs": ["was kind"],
        "words": [spans],
        "cache_dir": tmp_path / "cache",
    }
    missed = encode([text], make_tokenizer("wordpiece"), **options)
    monkeypatch.setattr(module, "_parts", lambda *args, **options: pytest.fail("tokenised again"))
    assert equal(encode([text], make_tokenizer("wordpiece"), **options), missed)
    assert len(files(tmp_path / "cache")) == 1, "and nothing is left beside it"


def test_whatever_changes_the_tokens_changes_the_key(make_tokenizer: Callable[[str], Any], tmp_path: Path) -> None:
    wordpiece = make_tokenizer("wordpiece")
    calls: list[tuple[Any, Any, dict[str, Any]]] = [
        (["a b"], wordpiece, {"max_length": 16}),
        (["a b"], wordpiece, {"max_length": 15}),
        (["a c"], wordpiece, {"max_length": 16}),
        (["a", "b"], wordpiece, {"max_length": 16}),
        (["a b"], wordpiece, {"max_length": 16, "pairs": [""]}),
        (["a b"], wordpiece, {"max_length": 16, "pairs": ["c"]}),
        (["a b"], wordpiece, {"max_length": 16, "words": [[(0, 1)]]}),
        (["a b"], wordpiece, {"max_length": 16, "words": [[(0, 2)]]}),
        (["a b"], make_tokenizer("byte_level"), {"max_length": 16}),
    ]
    added = make_tokenizer("wordpiece")
    added.add_tokens(["a b"])
    calls.append((["a b"], added, {"max_length": 16}))
    for number, (texts, tokenizer, options) in enumerate(calls, start=1):
        plain = encode(texts, tokenizer, **options)
        assert equal(encode(texts, tokenizer, **options, cache_dir=tmp_path), plain)
        assert len(files(tmp_path)) == number


def test_the_key_does_not_depend_on_what_the_tokenizer_did_before(
    make_tokenizer: Callable[[str], Any], tmp_path: Path
) -> None:
    """A call leaves its cutting set in the tokenizer; a second run, whose first rows are cached, makes no call."""
    first = make_tokenizer("wordpiece")
    for texts in (["the agent"], ["was kind"]):
        encode(texts, first, max_length=8, cache_dir=tmp_path)
    before = files(tmp_path)
    assert len(before) == 2
    second = make_tokenizer("wordpiece")
    second("something else", truncation=True, max_length=3, padding="max_length")
    for texts in (["was kind"], ["the agent"]):
        encode(texts, second, max_length=8, cache_dir=tmp_path)
    assert files(tmp_path) == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [cut, Path.unlink])
def test_a_harmed_cache_file_is_made_again_with_a_warning(
    make_tokenizer: Callable[[str], Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[Path], None],
) -> None:
    tokenizer = make_tokenizer("wordpiece")
    whole = encode(["the agent"], tokenizer, max_length=8, cache_dir=tmp_path)
    (folder,) = tmp_path.iterdir()
    harm(folder / "input_ids")
    with caplog.at_level(logging.WARNING):
        assert equal(encode(["the agent"], tokenizer, max_length=8, cache_dir=tmp_path), whole)
    assert "cannot be read" in caplog.text
    caplog.clear()
    assert equal(encode(["the agent"], tokenizer, max_length=8, cache_dir=tmp_path), whole)
    assert not caplog.records


def test_a_cache_that_cannot_be_written_warns_and_goes_on(
    make_tokenizer: Callable[[str], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    encoded = encode(["the agent"], make_tokenizer("wordpiece"), max_length=8, cache_dir=tmp_path / "file" / "cache")
    assert encoded.lengths.tolist() == [4]
    assert "tokens are not cached" in caplog.text


def test_unusual_characters_can_be_cached(make_tokenizer: Callable[[str], Any], tmp_path: Path) -> None:
    assert len(encode(["caf\u00e9 \u0000 x"], make_tokenizer("byte_level"), max_length=16, cache_dir=tmp_path)) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_tokenised_as_the_tokenizers_own_call_does(
    make_tokenizer: Callable[[str], Any], family: str, tmp_path: Path
) -> None:
    texts = [*("the agent was kind " * n for n in range(6)), "", "café 🙂 zzzz", "[PAD] called [UNK]", "\n a\tb"]
    for pairs in (None, texts[::-1]):
        for max_length in (6, 9, 64):
            made = encode(texts, make_tokenizer(family), max_length=max_length, pairs=pairs, cache_dir=tmp_path)
            own = make_tokenizer(family)(
                texts, pairs, truncation=True, max_length=max_length, return_token_type_ids=True
            )
            rows = [made.input_ids[a:b].tolist() for a, b in pairwise(made.offsets)]
            assert rows == own["input_ids"]
            whole = make_tokenizer(family)(texts, pairs)["input_ids"]
            assert made.truncated.tolist() == [len(row) > max_length for row in whole]
            if pairs is not None:
                assert made.type_ids is not None
                assert made.type_ids.tolist() == [each for row in own["token_type_ids"] for each in row]


@pytest.mark.parametrize("kept", [False, True])
def test_no_rows_have_all_that_rows_have(make_tokenizer: Callable[[str], Any], tmp_path: Path, kept: bool) -> None:
    found = encode(
        [], make_tokenizer("wordpiece"), max_length=8, pairs=[], words=[], cache_dir=tmp_path if kept else None
    )
    assert found.tokens is found
    assert found.type_ids is not None
    assert len(found) == len(found.truncated) == 0


def test_a_cache_that_fills_the_disk_on_the_way_leaves_all_tokens(
    make_tokenizer: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(module, "_CHUNK_ROWS", 2)
    append, seen = module.ArrayWriter.append, []

    def full(self: Any, name: str, piece: np.ndarray) -> None:
        seen.append(name)
        if len(seen) > 9:
            raise SetupError("no space left")
        append(self, name, piece)

    monkeypatch.setattr(module.ArrayWriter, "append", full)
    texts = ["the agent"] * 9
    found = encode(texts, make_tokenizer("wordpiece"), max_length=8, cache_dir=tmp_path)
    assert len(found) == 9
    assert "tokens are not cached" in caplog.text
    assert not list(tmp_path.iterdir())
