"""How many tokens rows have, told beside whoever encodes them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from jenga.modalities.text.counted import token_counter
from jenga.rows.raw import RawRows


@pytest.fixture
def tokenizer(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert, trust_remote_code=False)


@pytest.fixture
def count(tokenizer: Any) -> Callable[..., int]:
    counted = token_counter(tokenizer, ("text", "words", "turns.said"), longest=8)

    def total(*rows: Any) -> int:
        [tokens] = counted([RawRows("rows").add_all(rows)])
        return tokens

    return total


def test_tokens_are_those_of_the_tokenizer_special_ones_included(count: Callable[..., int], tokenizer: Any) -> None:
    text = "hello this is good"
    assert count({"text": text}) == len(tokenizer(text)["input_ids"]) == 6
    assert count({"text": text}, {"text": "no"}) == 6 + 3


def test_texts_are_found_in_words_and_turns_and_no_more_than_is_read_counts(count: Callable[..., int]) -> None:
    assert count({"words": ["hello", "this"]}) == 4
    assert count({"turns": {"said": [{"speaker": "a", "text": "good song"}]}}) == 5
    assert count({"text": "good " * 100_000}) == 8
    assert count({"other": "good good good"}, {"text": None}) == 2 + 2
    assert count() == 0


def test_half_a_character_is_counted_and_not_refused(count: Callable[..., int]) -> None:
    assert count({"text": "good \ud800 song"}) > 3


def test_it_counts_while_the_tokenizer_cuts_in_another_thread(count: Callable[..., int], tokenizer: Any) -> None:
    failed: list[Exception] = []

    def cut() -> None:
        try:
            for at in range(200):
                tokenizer(["hello this is good"] * 20, truncation=True, max_length=3 + at % 3)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=cut)
    thread.start()
    counts = {count({"text": "hello this is good"}) for _ in range(200)}
    thread.join()
    assert counts == {6}
    assert not failed


def test_a_slow_tokenizer_counts_by_itself() -> None:
    class Slow:
        is_fast = False

        def tokenize(self, text: str) -> list[str]:
            return text.split()

    parts = [RawRows("rows").add_all([{"text": each} for each in texts]) for texts in (["a b c"], [], ["d", "e f"])]
    assert token_counter(Slow(), ("text",), longest=9)(parts) == [3, 0, 3]
