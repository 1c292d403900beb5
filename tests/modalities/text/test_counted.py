"""About how many tokens rows have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from jenga.modalities.text.counted import SAMPLE_ROWS, TokenCounter
from jenga.rows.raw import RawRows


@pytest.fixture
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert, trust_remote_code=False)


@pytest.fixture
def count(tokenizer: Any) -> Callable[..., int]:
    counted = TokenCounter(tokenizer, ("text", "words", "turns.said"), longest=8)

    def total(*rows: Any) -> int:
        [tokens] = counted([RawRows("rows").add_all(rows)])
        return tokens

    return total


def test_tokens_are_those_of_the_tokenizer_special_ones_included(count: Callable[..., int], tokenizer: Any) -> None:
    text = "hello this is good"
    assert count({"text": text}) == len(tokenizer(text)["input_ids"]) == 6
    assert count({"text": text}, {"text": "no"}) == 6 + 3


def test_a_prefix_counts_with_each_row(tokenizer: Any) -> None:
    counted = TokenCounter(tokenizer, ("text",), longest=8, prefix="hello ")
    [tokens] = counted([RawRows("rows").add_all([{"text": "this is"}, {"text": "no"}])])
    assert tokens == 5 + 4


def test_texts_are_found_in_words_and_turns_and_no_more_than_is_read_counts(count: Callable[..., int]) -> None:
    assert count({"words": ["hello", "this"]}) == 4
    assert count({"turns": {"said": [{"speaker": "a", "text": "good song"}]}}) == 5
    assert count({"text": "good " * 100_000}) == 8
    assert count({"other": "good good good"}, {"text": None}) == 2 + 2
    assert count() == 0


def test_half_a_character_is_counted_and_not_refused(count: Callable[..., int]) -> None:
    assert count({"text": "good \ud800 song"}) > 3


def test_after_a_sample_tokens_are_told_from_characters(count: Callable[..., int]) -> None:
    text = "hello this is good"
    assert count(*[{"text": text}] * SAMPLE_ROWS) == 6 * SAMPLE_ROWS
    assert count({"text": text}) == 6
    assert count({"text": text[: len(text) // 2]}) == 3
    assert count({"text": text * 9}, {"text": ""}) == 8 + 1


def test_a_slow_tokenizer_counts_by_itself() -> None:
    class Slow:
        is_fast = False

        def tokenize(self, text: str) -> list[str]:
            return text.split()

    parts = [RawRows("rows").add_all([{"text": each} for each in texts]) for texts in (["a b c"], [], ["d", "e f"])]
    assert TokenCounter(Slow(), ("text",), longest=9)(parts) == [3, 0, 3]
