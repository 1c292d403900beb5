"""An answer heard while it is generated."""

from __future__ import annotations

from typing import Any

import torch

from jenga.modalities.text.heard import Heard, Said

END = 99


class Letters:
    """A tokenizer of which a token is a byte; 99 is special."""

    def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
        return bytes(each for each in tokens if each != END).decode("utf-8", "replace")


def hear(
    text: str | bytes, *stops: str, width: int = 2, until: int = 1000, end: bool = False
) -> tuple[list[str], Said]:
    """Return what was told of an answer, piece by piece, and what was said.

    until: pieces after which nobody listens.
    """
    told: list[str] = []

    def listen(piece: str) -> bool:
        told.append(piece)
        return len(told) < until

    heard = Heard(Letters(), width, stops, listen, ends=[END])
    tokens = [1] * width
    for token in [*(text.encode() if isinstance(text, str) else text), *([END] if end else [])]:
        tokens.append(token)
        if bool(heard(torch.tensor([tokens]), None)):
            break
    said = heard.said()
    return [piece for piece in told if piece], said


def test_pieces_add_up_to_what_is_said() -> None:
    told, said = hear("hello you")
    assert "".join(told) == said.text == "hello you"
    assert len(told) == 9
    assert (said.prompt_tokens, said.completion_tokens, said.ended) == (2, 9, "length")


def test_an_answer_that_ends_by_itself_says_so() -> None:
    assert hear("yes", end=True)[1] == Said("yes", 2, 4, "stop")


def test_what_may_begin_a_stop_is_held_back_until_it_does_or_does_not() -> None:
    told, said = hear("one\nten\n\nmore", "\n\n")
    assert (said.text, said.ended) == ("one\nten", "stop")
    assert "".join(told) == "one\nten"
    assert "\nt" in told
    assert said.completion_tokens == 9


def test_the_first_of_several_stops_counts_and_a_blank_one_is_none() -> None:
    assert hear("a, b; c", ";", ",", "")[1].text == "a"


def test_half_a_character_is_not_told() -> None:
    told, said = hear("né 🙂!")
    assert "".join(told) == said.text == "né 🙂!"
    assert not [piece for piece in told if "\ufffd" in piece]


def test_a_half_character_at_the_end_is_told_as_it_is() -> None:
    told, said = hear("a🙂".encode()[:-1])
    assert "".join(told) == said.text
    assert said.text.startswith("a")


def test_it_ends_where_nobody_listens() -> None:
    said: Any = hear("hello you", until=3)[1]
    assert (said.text, said.ended) == ("hel", "length")
