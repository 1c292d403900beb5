"""Rows of language modelling, from columns to one text."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.errors import ConfigError, DataError
from jenga.labels.column import RowError
from jenga.modalities.text.dialogue import Dialogue, DialogueReader, LanguageSpec, write
from jenga.rows.raw import RawRows

SPEC = LanguageSpec(
    text=("text",), prompt=("prompt", "question"), completion=("completion", "answer"), messages=("messages",)
)
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
REWRITING = "{{ messages | length }}{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
REFUSING = "{{ raise_exception('only users speak here') }}"


def raw_of(*rows: dict[str, Any]) -> RawRows:
    raw = RawRows("rows.jsonl")
    for number, row in enumerate(rows, start=1):
        raw.add(number, row)
    return raw


def read(row: dict[str, Any], *, answered: bool = True, spec: LanguageSpec = SPEC) -> Dialogue:
    return DialogueReader(raw_of(row), spec, answered=answered).dialogue(row)


def chat(*turns: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(turns)]


@pytest.fixture
def tokenizer(make_tokenizer: Any) -> Any:
    made = make_tokenizer("byte_level")
    made.chat_template = TEMPLATE
    return made


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
    assert read(row).turns == turns


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "how?", "answer": " "}, "column 'answer' is empty"),
        ({"question": "", "answer": "so"}, "column 'question' is empty"),
        ({"question": "how?", "answer": ["so"]}, "column 'answer' is"),
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
    with pytest.raises(DataError, match=r"completions of 'question'.*'completion' or 'answer'"):
        read({"question": "x", "id": 1})


def test_a_prompt_alone_can_be_answered_but_not_learnt() -> None:
    assert read({"question": "x", "answer": None}, answered=False).turns == (("user", "x"),)
    assert read({"prompt": "x"}, answered=False).answer is None


def test_the_opening_leaves_the_last_answer_out() -> None:
    assert read({"messages": chat("a", "b", "c", "d")}).opening().turns[-1] == ("user", "c")
    assert read({"messages": chat("a", "b", "c", "d")}).answer == "d"
    long = read({"text": " ".join(map(str, range(40)))})
    assert long.opening().turns[0][1] == " ".join(map(str, range(16)))
    assert long.answer is None


def learnt(dialogue: Dialogue, tokenizer: Any, spec: LanguageSpec = SPEC, **options: Any) -> list[str]:
    written = write(dialogue, tokenizer, spec, **options)
    return [written.text[begin:end] for begin, end in written.learnt]


def test_only_completions_are_learnt_unless_all_is(tokenizer: Any) -> None:
    row = read({"question": "how?", "answer": "so"})
    assert write(row, tokenizer, SPEC).text == "how?\nso"
    assert learnt(row, tokenizer) == ["so"]
    everything = LanguageSpec((), ("q",), ("a",), (), loss_on="all", separator=" -> ")
    assert learnt(row, tokenizer, everything) == ["how? -> so"]
    assert learnt(read({"text": "one two"}), tokenizer) == ["one two"]


def test_only_the_assistants_messages_and_their_ends_are_learnt(tokenizer: Any) -> None:
    row = read({"messages": [{"role": "system", "content": "be kind"}, *chat("a", "b", "c", "d")]})
    assert learnt(row, tokenizer) == ["b<|end|>", "d<|end|>"]
    whole = LanguageSpec((), (), (), ("messages",), loss_on="all")
    assert learnt(row, tokenizer, whole) == [write(row, tokenizer, whole).text]


def test_a_prompt_is_written_as_a_chat_where_that_is_asked_for(tokenizer: Any) -> None:
    spec = LanguageSpec((), ("q",), ("a",), (), template="chat")
    row = read({"question": "how?", "answer": "so"})
    assert write(row, tokenizer, spec).text == "<user>how?<|end|>\n<assistant>so<|end|>\n"
    assert learnt(row, tokenizer, spec) == ["so<|end|>"]
    assert write(row.opening(), tokenizer, spec, ask=True).text == "<user>how?<|end|>\n<assistant>"
    assert not write(row, tokenizer, spec).special


def test_what_is_asked_is_the_beginning_of_what_was_learnt(tokenizer: Any) -> None:
    for row in ({"question": "how?", "answer": "so"}, {"messages": chat("a", "b", "c", "d")}):
        dialogue = read(row)
        asked = write(dialogue.opening(), tokenizer, SPEC, ask=True).text
        written = write(dialogue, tokenizer, SPEC)
        assert written.text.startswith(asked)
        assert written.learnt[-1][0] == len(asked)


def test_a_tokenizer_without_a_template_cannot_write_a_chat(make_tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="has no chat template"):
        write(read({"messages": chat("a", "b")}), make_tokenizer("byte_level"), SPEC)


def test_a_template_that_rewrites_what_was_said_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = REWRITING
    with pytest.raises(DataError, match="in another way once more messages follow"):
        write(read({"messages": chat("a", "b", "c", "d")}), tokenizer, SPEC)


def test_a_template_that_refuses_messages_says_why(tokenizer: Any) -> None:
    tokenizer.chat_template = REFUSING
    with pytest.raises(DataError, match="refuses a row's messages: only users speak here"):
        write(read({"messages": chat("a", "b")}), tokenizer, SPEC)


def test_the_form_that_was_found_is_the_only_one_that_stays() -> None:
    found = DialogueReader(raw_of({"question": "a", "answer": "b", "text": "c"}), SPEC, answered=True).found
    assert (found.prompt, found.completion, found.text, found.messages) == (("question",), ("answer",), (), ())
    found = DialogueReader(raw_of({"messages": chat("a", "b")}), SPEC, answered=True).found
    assert (found.prompt, found.completion, found.text, found.messages) == ((), (), (), ("messages",))
