"""Conversations as texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jenga.modalities.text.turns import turns_of, written

TURNS = [{"speaker": "agent", "text": "Hello"}, {"speaker": "caller", "text": "Hi, it's Asha"}]
WRITTEN = "agent: Hello\ncaller: Hi, it's Asha"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (TURNS, WRITTEN),
        (json.dumps(TURNS), WRITTEN),
        ([{"role": "agent", "content": "Hello"}, {"role": "caller", "content": "Hi, it's Asha"}], WRITTEN),
        ([{"from": "agent", "value": "Hello"}, {"from": "caller", "value": "Hi, it's Asha"}], WRITTEN),
        ([{"text": "Hello"}, {"text": " "}, {"speaker": "", "text": "Hi"}], "Hello\nHi"),
        ([{"text": ""}], ""),
    ],
)
def test_turns_are_lines_with_their_speakers(value: Any, text: str) -> None:
    turns = turns_of(value)
    assert turns is not None
    assert written(turns) == text


@pytest.mark.parametrize(
    "value",
    ["[{broken", "[1, 2]", "plain", [], ["a"], [{"speaker": "agent"}], [{"text": 3}], [{"text": "a"}, "b"], None],
)
def test_other_cells_are_no_turns(value: Any) -> None:
    assert turns_of(value) is None
