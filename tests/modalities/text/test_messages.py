"""Messages of a chat as rows hold them."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.labels.column import RowError
from jenga.modalities.text.messages import Turn, has_answer, read_messages, read_tools

CALL = {"function": {"name": "f", "arguments": {"b": 1, "a": 2}}}


def test_messages_of_sharegpt_are_those_of_openai() -> None:
    theirs = [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    ours = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert read_messages(theirs, "c") == read_messages(ours, "m")


def test_a_message_keeps_all_its_keys_in_their_order() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL], "name": "ada", "weight": 1, "empty": None}
    (turn,) = read_messages([message], "m")
    assert turn.message == {"role": "assistant", "content": None, "tool_calls": [CALL], "name": "ada"}
    assert list(turn.message["tool_calls"][0]["function"]["arguments"]) == ["b", "a"]
    assert turn.says_something
    assert "tool_calls" in turn.readable


@pytest.mark.parametrize(("weight", "muted"), [(None, False), (1, False), (0, True), (0.0, True), (False, True)])
def test_weight_0_mutes_a_message(weight: Any, muted: bool) -> None:
    (turn,) = read_messages([{"role": "assistant", "content": "b", "weight": weight}], "m")
    assert turn == Turn("assistant", "b", muted=muted)
    assert has_answer([turn]) != muted


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "user"}, "message 0 is"),
        ({"role": "user", "content": ["parts"]}, "message 0 is"),
        ({"role": "user", "content": None, "tool_calls": [CALL]}, "without content an assistant's tool_calls"),
        ({"role": "assistant", "content": None}, "without content an assistant's tool_calls"),
        ({"role": "assistant", "content": "b", "weight": 0.5}, "has weight 0.5; allowed: 1, or 0"),
        ({"from": "narrator", "value": "b"}, 'from "narrator"; allowed: human'),
        ({"role": "assistant", "content": "b", "name": "\ud800"}, "lone surrogate"),
        ("hello", "message 0 is"),
    ],
)
def test_a_message_that_cannot_be_used_is_named(message: Any, words: str) -> None:
    with pytest.raises(RowError, match=words):
        read_messages([message], "m")


@pytest.mark.parametrize("nothing", [None, [], "", "[]"])
def test_no_tools_are_none(nothing: Any) -> None:
    assert read_tools(nothing, "tools") == ""


def test_tools_are_a_list_of_schemas_or_that_as_json() -> None:
    assert read_tools([{"name": "f"}], "tools") == read_tools('[{"name": "f"}]', "tools") == '[{"name": "f"}]'
    with pytest.raises(RowError, match="column 'tools' is"):
        read_tools({"name": "f"}, "tools")
