"""Where windows begin in long texts, and which of them answers for each token."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jenga.errors import ConfigError
from jenga.modalities.text import windows as module
from jenga.modalities.text.windows import Windows, special_tokens, windows_of

FAMILIES = {"wordpiece": (1, 1), "byte_level": (0, 0), "metaspace": (0, 0)}
LAYOUTS = [(10, 7, 1, 1), (10, 8, 1, 1), (10, 1, 2, 0), (9, 3, 0, 0), (6, 2, 1, 2), (3, 1, 1, 1)]
"""Tokens of a window, stride, and special tokens at both ends."""


def mask_of(*lengths: int) -> torch.Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()


def read_as(windows: Windows, *lengths: int) -> tuple[list[list[int]], dict[int, list[int]]]:
    """Return the places of each window's tokens, and by place the windows that answer for it."""
    shown: list[list[int]] = []
    answers: dict[int, list[int]] = {}
    for part in windows.parts(mask_of(*lengths)):
        width = part.places.shape[1]
        for kept, where in zip(part.kept.tolist(), part.where.tolist(), strict=True):
            assert part.places.flatten()[kept] == where
            assert part.mask.flatten()[kept] == 1
            answers.setdefault(where, []).append(len(shown) + kept // width)
        shown += [row[: int(own.sum())] for row, own in zip(part.places.tolist(), part.mask, strict=True)]
    return shown, answers


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("length", [11, 12, 23, 40])
def test_each_token_is_answered_once_by_the_window_where_it_stands_furthest_from_a_cut(
    layout: tuple[int, int, int, int], length: int
) -> None:
    windows = Windows(*layout)
    shown, answers = read_as(windows, length)
    before, behind = windows.before, windows.behind
    ends = [*range(before), *range(length - behind, length)]
    assert sorted(answers) == list(range(length))
    assert all(len(each) == 1 for each in answers.values())
    for window in shown:
        assert len(window) == windows.tokens
        assert window[:before] + window[len(window) - behind :] == ends
        stretch = window[before : len(window) - behind]
        assert stretch == list(range(stretch[0], stretch[0] + windows.room))

    def distance(token: int, window: int) -> float:
        """How many tokens are left to the nearest cut; the text's own ends are none."""
        stretch = shown[window][before : len(shown[window]) - behind]
        left = float("inf") if stretch[0] == before else token - stretch[0]
        right = float("inf") if stretch[-1] == length - behind - 1 else stretch[-1] - token
        return min(left, right)

    for token in set(answers) - set(ends):
        having = [at for at, window in enumerate(shown) if token in window]
        assert distance(token, answers[token][0]) == max(distance(token, at) for at in having)


def test_rows_that_fit_are_one_window_and_a_part_has_some_of_like_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOWS_AT_ONCE", 2)
    windows = Windows(6, 4, 1, 1)
    parts = windows.parts(mask_of(6, 10, 2))
    assert [part.mask.sum(1).tolist() for part in parts] == [[6, 6], [6, 2]]
    assert torch.cat([part.shares for part in parts], dim=1).sum(1).tolist() == pytest.approx([1, 1, 1])


def test_the_last_window_ends_with_the_text() -> None:
    windows = Windows(10, 6, 1, 1)
    assert [windows.starts(length) for length in (3, 8, 9, 14, 15)] == [[0], [0], [0, 1], [0, 6], [0, 6, 7]]


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_have_the_special_tokens_of_their_tokenizer(make_tokenizer: Callable[[str], Any], family: str) -> None:
    tokenizer = make_tokenizer(family)
    assert special_tokens(tokenizer) == FAMILIES[family]
    assert windows_of(SimpleNamespace(window_tokens=10, window_stride_tokens=None), tokenizer) == Windows(
        10, 7 if family != "wordpiece" else 6, *FAMILIES[family]
    )


@pytest.mark.parametrize(
    ("tokens", "stride", "said"),
    [(2, None, r"window_tokens: 2 leaves no room for text beside 2 special tokens"),
     (10, 9, r"window_stride_tokens: 9 is more than the 8 tokens of a text that a window of 10 holds")],
)  # fmt: skip
def test_windows_without_room_and_gaps_between_them_are_refused(
    make_tokenizer: Callable[[str], Any], tokens: int, stride: int | None, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        windows_of(SimpleNamespace(window_tokens=tokens, window_stride_tokens=stride), make_tokenizer("wordpiece"))


@pytest.mark.parametrize("alone", [[5], []])
def test_a_tokenizer_that_does_not_tell_its_special_tokens_is_refused(alone: list[int]) -> None:
    def odd(text: str, *, add_special_tokens: bool, verbose: bool) -> dict[str, list[int]]:
        return {"input_ids": [1, 9, 2] if add_special_tokens else alone}

    with pytest.raises(ConfigError, match=r"function does not tell special tokens from a text's"):
        special_tokens(odd)


def test_a_model_without_windows_has_none() -> None:
    assert windows_of(SimpleNamespace(), None) is None
