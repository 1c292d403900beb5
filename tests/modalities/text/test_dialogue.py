"""Rows of language modelling, from columns to one text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.labels.column import RowError
from jenga.modalities.text.dialogue import Dialogue, DialogueReader, LanguageSpec
from jenga.modalities.text.messages import Turn
from jenga.rows.raw import RawRows

SPEC = LanguageSpec(
    text=("text",),
    prompt=("prompt", "question", "instruction"),
    completion=("completion", "answer", "output"),
    messages=("messages",),
    context="input",
)


def raw_of(*rows: dict[str, Any]) -> RawRows:
    raw = RawRows("rows.jsonl")
    for number, row in enumerate(rows, start=1):
        raw.add(number, row)
    return raw


def read(row: dict[str, Any], *, answered: bool = True, spec: LanguageSpec = SPEC) -> Dialogue:
    return DialogueReader(raw_of(row), spec, answered=answered).dialogue(row)


def chat(*turns: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(turns)]


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"text": "one two"}, (("text", "one two"),)),
        ({"question": "how?", "answer": "so"}, (("user", "how?"), ("assistant", "so"))),
        ({"prompt": "how?", "completion": 4, "text": "unread"}, (("user", "how?"), ("assistant", "4"))),
        ({"messages": chat("a", "b", "c", "d")},
         (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))),
        ({"messages": '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'},
         (("user", "a"), ("assistant", "b"))),
    ],
)  # fmt: skip
def test_a_row_is_read_in_the_form_of_its_columns(row: dict[str, Any], turns: Any) -> None:
    assert tuple((turn.role, turn.content) for turn in read(row).turns) == turns


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "how?", "answer": " "}, "column 'answer' is empty"),
        ({"question": "", "answer": "so"}, "column 'question' is empty"),
        ({"question": "how?", "answer": ["so"]}, "column 'answer': message 0 is"),
        ({"question": "how?", "answer": {"a": 1}}, "column 'answer' is"),
        ({"text": {"a": 1}}, "column 'text' is"),
        ({"text": "half \ud800"}, "lone surrogate"),
        ({"messages": []}, "allowed: a list of messages"),
        ({"messages": "hello"}, "allowed: a list of messages"),
        ({"messages": [{"role": "user"}]}, "message 0 is"),
        ({"messages": chat("a")}, "no message is the assistant's"),
        ({"messages": [{"role": "user", "content": ["parts"]}]}, "message 0 is"),
    ],
)
def test_a_row_that_teaches_nothing_is_refused_with_its_reason(row: dict[str, Any], words: str) -> None:
    rows = [{**row, "text": "x"}] if "text" in row else [row]
    reader = DialogueReader(
        raw_of({"question": "a", "answer": "b"} if "answer" in row else rows[0]), SPEC, answered=True
    )
    with pytest.raises(RowError, match=words):
        reader.read(row)


def test_columns_that_are_not_there_are_named_with_those_that_are() -> None:
    with pytest.raises(DataError, match=r"no column 'text' or 'prompt'.*Columns found: body"):
        read({"body": "x"})
    with pytest.raises(DataError, match=r"completions of 'question'.*'completion' or 'answer' or 'output'"):
        read({"question": "x", "id": 1})


def test_a_prompt_alone_can_be_answered_but_not_learnt() -> None:
    assert read({"question": "x", "answer": None}, answered=False).turns == (Turn("user", "x"),)
    assert read({"prompt": "x"}, answered=False).answer is None


def test_the_opening_leaves_the_last_answer_out() -> None:
    assert read({"messages": chat("a", "b", "c", "d")}).opening().turns[-1] == Turn("user", "c")
    assert read({"messages": chat("a", "b", "c", "d")}).answer == "d"
    long = read({"text": " ".join(map(str, range(40)))})
    assert long.opening().turns[0][1] == " ".join(map(str, range(16)))
    assert long.answer is None


def test_the_form_that_was_found_is_the_only_one_that_stays() -> None:
    found = DialogueReader(raw_of({"question": "a", "answer": "b", "text": "c"}), SPEC, answered=True).found
    assert (found.prompt, found.completion, found.text, found.messages) == (("question",), ("answer",), (), ())
    found = DialogueReader(raw_of({"messages": chat("a", "b")}), SPEC, answered=True).found
    assert (found.prompt, found.completion, found.text, found.messages) == ((), (), (), ("messages",))


# ------------------------------------------------------------------------------------------------------ forms of others


def test_an_instruction_of_alpaca_is_asked_with_its_input() -> None:
    row = {"instruction": "Add.", "input": "1 2", "output": "3", "text": "Below is an instruction"}
    assert read(row).turns == (Turn("user", "Add.\n\n1 2"), Turn("assistant", "3"))
    assert read({**row, "input": ""}).turns[0] == Turn("user", "Add.")
    # Only where the prompts are instructions; and so too once the columns are settled.
    assert read({"question": "how?", "input": "unread", "answer": "so"}).turns[0] == Turn("user", "how?")
    found = DialogueReader(raw_of(row), SPEC, answered=True).found
    assert found.context == "input"
    assert read({"instruction": "Add.", "input": "1 2"}, answered=False, spec=found).turns[0].content == "Add.\n\n1 2"
    assert DialogueReader(raw_of({"question": "a", "answer": "b"}), SPEC, answered=True).found.context is None


def test_a_prompt_and_a_completion_of_messages_are_one_chat() -> None:
    row = {"prompt": [*chat("a", "b"), {"role": "user", "content": "c"}], "completion": [*chat("x", "d")[1:]]}
    found = read(row)
    assert found.chat
    assert [turn.content for turn in found.turns] == ["a", "b", "c", "d"]
    # What was said before belongs to the question.
    assert [turn.says_something for turn in found.turns] == [False, False, False, True]
    assert [turn.says_something for turn in read(row, spec=replace(SPEC, loss_on="all")).turns] == [False, True] * 2
    for mixed in ({"prompt": chat("a"), "completion": "b"}, {"prompt": "a", "completion": chat("x", "b")[1:]}):
        assert [(turn.content, turn.says_something) for turn in read(mixed).turns] == [("a", False), ("b", True)]
    asked = read({"prompt": chat("a", "b", "c")}, answered=False)
    assert asked.answer is None
    assert asked.opening() == asked
    with pytest.raises(RowError, match="column 'completion': no message is the assistant's"):
        read({"prompt": chat("a"), "completion": chat("b")})


def test_a_chat_has_the_tools_of_its_row() -> None:
    row = {"messages": chat("a", "b"), "tools": [{"name": "f"}]}
    assert read(row).tools == '[{"name": "f"}]'
    assert read(row).opening().tools == read(row).tools
    with pytest.raises(RowError, match="column 'tools' is"):
        read({**row, "tools": "none"})


def test_a_chat_of_which_every_answer_has_weight_0_is_refused() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
    with pytest.raises(RowError, match="no message is the assistant's to learn"):
        read({"messages": messages})


def test_a_call_is_an_answer_without_words_to_compare() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    found = read({"messages": [*chat("a"), call]})
    assert found.answered
    assert found.answer is None
    assert found.opening().turns == (Turn("user", "a"),)
