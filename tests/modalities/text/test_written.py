"""Dialogues written out: what is learnt of them, and what is asked in the same words."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from jenga.errors import ConfigError
from jenga.labels.column import RowError
from jenga.modalities.text.dialogue import Dialogue, LanguageSpec
from jenga.modalities.text.messages import ASSISTANT, Turn, read_messages
from jenga.modalities.text.written import Written, write, write_question

SPEC = LanguageSpec(("text",), ("prompt",), ("completion",), ("messages",))
ALL = LanguageSpec(("text",), ("prompt",), ("completion",), ("messages",), loss_on="all")
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
REWRITING = "{{ messages | length }}{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
REFUSING = "{{ raise_exception('only users speak here') }}"


def chat(*turns: str) -> Dialogue:
    return Dialogue(tuple(Turn(ASSISTANT if at % 2 else "user", text) for at, text in enumerate(turns)), chat=True)


def chat_of(*messages: dict[str, Any], tools: Any = None) -> Dialogue:
    return Dialogue(read_messages(list(messages), "messages"), chat=True, tools=json.dumps(tools) if tools else "")


def asked(prompt: str, answer: str) -> Dialogue:
    return Dialogue((Turn("user", prompt), Turn(ASSISTANT, answer)))


@pytest.fixture
def tokenizer(make_tokenizer: Any) -> Any:
    made = make_tokenizer("byte_level")
    made.chat_template = TEMPLATE
    return made


def only(dialogue: Dialogue, tokenizer: Any, spec: LanguageSpec = SPEC) -> Written:
    (written,) = write(dialogue, tokenizer, spec)
    return written


def learnt(dialogue: Dialogue, tokenizer: Any, spec: LanguageSpec = SPEC) -> list[str]:
    return [each.text[begin:end] for each in write(dialogue, tokenizer, spec) for begin, end in each.learnt]


def test_only_completions_are_learnt_unless_all_is(tokenizer: Any) -> None:
    row = asked("how?", "so")
    assert only(row, tokenizer).text == "how?\nso"
    assert learnt(row, tokenizer) == ["so"]
    everything = LanguageSpec((), ("q",), ("a",), (), loss_on="all", separator=" -> ")
    assert learnt(row, tokenizer, everything) == ["how? -> so"]
    assert learnt(Dialogue.of_text("one two"), tokenizer) == ["one two"]


def test_only_the_assistants_messages_and_their_ends_are_learnt(tokenizer: Any) -> None:
    row = chat_of({"role": "system", "content": "be kind"}, *(t.message for t in chat("a", "b", "c", "d").turns))
    assert learnt(row, tokenizer) == ["b<|end|>", "d<|end|>"]
    assert learnt(row, tokenizer, ALL) == [only(row, tokenizer, ALL).text]


def test_a_prompt_is_written_as_a_chat_where_that_is_asked_for(tokenizer: Any) -> None:
    spec = LanguageSpec((), ("q",), ("a",), (), template="chat")
    row = asked("how?", "so")
    assert only(row, tokenizer, spec).text == "<user>how?<|end|>\n<assistant>so<|end|>\n"
    assert learnt(row, tokenizer, spec) == ["so<|end|>"]
    assert write_question(row.opening(), tokenizer, spec).text == "<user>how?<|end|>\n<assistant>"
    assert not only(row, tokenizer, spec).special


@pytest.mark.parametrize("row", [asked("how?", "so"), chat("a", "b", "c", "d")])
def test_what_is_asked_is_the_beginning_of_what_was_learnt(tokenizer: Any, row: Dialogue) -> None:
    question = write_question(row.opening(), tokenizer, SPEC)
    written = only(row, tokenizer)
    assert written.text.startswith(question.text)
    assert written.learnt[-1][0] == written.begins[-1] == len(question.text)
    assert written.begins[:-1] == question.begins


def test_a_tokenizer_without_a_template_cannot_write_a_chat(make_tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="has no chat template"):
        write(chat("a", "b"), make_tokenizer("byte_level"), SPEC)


def test_a_template_that_refuses_messages_says_why(tokenizer: Any) -> None:
    tokenizer.chat_template = REFUSING
    with pytest.raises(RowError, match="refuses a row's messages: only users speak here"):
        write(chat("a", "b"), tokenizer, SPEC)


def test_a_message_of_weight_0_is_not_learnt(tokenizer: Any) -> None:
    row = chat_of(
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "weight": 1},
    )  # fmt: skip
    assert learnt(row, tokenizer) == ["d<|end|>"]
    assert learnt(row, tokenizer, ALL) == ["<user>a<|end|>\n<assistant>", "<user>c<|end|>\n<assistant>d<|end|>\n"]


# --------------------------------------------------------------------------------------------------------------- tools

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Kisumu"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TOOLS = (
    "{% if tools %}<tools>{{ tools | tojson }}\n{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for call in m.tool_calls %}<call>{{ call.function.name }} {{ call.function.arguments | tojson }}{% endfor %}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def calling(**more: Any) -> Dialogue:
    return chat_of(
        {"role": "user", "content": "rain?"}, {"role": "assistant", "content": None, "tool_calls": [CALL], **more},
        {"role": "tool", "content": "no", "name": "weather"}, {"role": "assistant", "content": "None."}, tools=[TOOL],
    )  # fmt: skip


def test_a_call_is_rendered_as_transformers_renders_it_and_learnt(tokenizer: Any) -> None:
    tokenizer.chat_template = TOOLS
    row = calling()
    messages = [turn.message for turn in row.turns]
    assert only(row, tokenizer).text == tokenizer.apply_chat_template(messages, tools=[TOOL], tokenize=False)
    assert learnt(row, tokenizer) == ['<call>weather {"city": "Kisumu"}<|end|>', "None.<|end|>"]


@pytest.mark.parametrize(
    ("template", "row", "words"),
    [
        (TEMPLATE, calling(), "nothing of tool_calls of message 1"),
        (TOOLS, calling(reasoning_content="think"), "nothing of reasoning_content of message 1"),
        (TOOLS, chat_of({"role": "user", "content": "a"},
                        {"role": "assistant", "content": None, "function_call": {"name": "f"}}),
         "nothing of function_call of message 1"),
        (TEMPLATE, Dialogue(chat("a", "b").turns, chat=True, tools=json.dumps([TOOL])), "nothing of the row's tools"),
    ],
)  # fmt: skip
def test_what_a_template_leaves_out_is_refused_by_name(
    tokenizer: Any, template: str, row: Dialogue, words: str
) -> None:
    tokenizer.chat_template = template
    with pytest.raises(RowError, match=words):
        write(row, tokenizer, SPEC)
    with pytest.raises(RowError, match=words):
        write_question(row, tokenizer, SPEC)


# ----------------------------------------------------------------------------------------------------------- reasoning

FORGETFUL = (  # as Qwen3's: a thought is shown in the last turn only
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' %}{% set thought = m.reasoning_content or '' %}{% set said = m.content %}"
    "{% if '</think>' in said %}{% set thought = said.split('</think>')[0] %}{% set said = said.split('</think>')[1] %}"
    "{% endif %}{% if loop.last and thought %}<think>{{ thought }}</think>{% endif %}{{ said }}"
    "{% else %}{{ m.content }}{% endif %}<|end|>\n{% endfor %}"
)
ASKING = "{% if add_generation_prompt %}<assistant>{% endif %}"
EMPTY = "{% if add_generation_prompt %}<assistant><think>\n\n</think>\n\n{% endif %}"
MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}says {%- generation -%}"
    "{{ m.content.split('</t>')[-1] }}<|end|>{%- endgeneration -%}{% else %}{{ m.content }}<|end|>{% endif %}\n"
    "{% endfor %}" + ASKING
)


def test_an_answer_whose_thought_is_dropped_later_is_learnt_behind_what_stood_before_it(tokenizer: Any) -> None:
    tokenizer.chat_template = FORGETFUL + ASKING
    row = chat("a", "hm</think>b", "c", "oh</think>d")
    first, second = write(row, tokenizer, SPEC)
    assert first.text == "<user>a<|end|>\n<assistant><think>hm</think>b<|end|>\n"
    assert second.text == "<user>a<|end|>\n<assistant>b<|end|>\n<user>c<|end|>\n<assistant><think>oh</think>d<|end|>\n"
    assert learnt(row, tokenizer) == ["<think>hm</think>b<|end|>", "<think>oh</think>d<|end|>"]
    muted = Dialogue((row.turns[0], row.turns[1]._replace(muted=True), *row.turns[2:]), chat=True)
    assert learnt(muted, tokenizer) == ["<think>oh</think>d<|end|>"]


def test_an_empty_thought_that_is_asked_with_stands_before_the_answer_that_is_learnt(tokenizer: Any) -> None:
    tokenizer.chat_template = FORGETFUL + EMPTY
    plain = chat("a", "<b>", "c", "d")
    assert learnt(plain, tokenizer) == ["<b><|end|>", "d<|end|>"]
    assert write(plain, tokenizer, SPEC)[-1].text.startswith(write_question(plain.opening(), tokenizer, SPEC).text)
    # A thought of its own takes its place.
    assert learnt(chat("a", "hm</think>b"), tokenizer) == ["<think>hm</think>b<|end|>"]


def test_marks_of_the_template_are_transformers_own_mask(tokenizer: Any) -> None:
    tokenizer.chat_template = MARKED
    row = chat("a", "the line</t>good line", "c", "kind")
    written = only(row, tokenizer)
    found = tokenizer.apply_chat_template(
        [turn.message for turn in row.turns], return_dict=True, return_assistant_tokens_mask=True
    )
    masked = [i for i, kept in zip(found["input_ids"], found["assistant_masks"], strict=True) if kept]
    spans = [written.text[begin:end] for begin, end in written.learnt]
    assert tokenizer.decode(masked) == "".join(spans)
    # Not the words that the template puts before each, though they are not asked with.
    assert spans == ["good line<|end|>", "kind<|end|>"]
    muted = Dialogue((row.turns[0], row.turns[1]._replace(muted=True), *row.turns[2:]), chat=True)
    assert learnt(muted, tokenizer) == ["kind<|end|>"]


def test_a_template_that_asks_in_other_words_than_it_writes_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = REWRITING
    with pytest.raises(RowError, match=re.escape("asks for message 1 in other words")):
        write(chat("a", "b", "c", "d"), tokenizer, SPEC)


# ----------------------------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize(
    ("template", "row", "spec", "open_end"),
    [
        (TEMPLATE, chat("a", "b"), SPEC, False),
        (TEMPLATE.replace("<|end|>", ""), chat("a", "b"), SPEC, True),
        (TEMPLATE.replace("<|end|>", "<over>"), chat("a", "b"), SPEC, True),
        (TEMPLATE.replace("<|end|>", ""), chat("a", "b", "c"), SPEC, False),
        (TEMPLATE.replace("<|end|>", ""), chat("a", "b"), ALL, True),
        (TEMPLATE.replace("<|end|>", ""), chat("a", "b", "c"), ALL, False),
    ],
)  # fmt: skip
def test_an_answer_that_a_template_does_not_end_gets_an_end_token(
    tokenizer: Any, template: str, row: Dialogue, spec: LanguageSpec, open_end: bool
) -> None:
    tokenizer.chat_template = template
    written = only(row, tokenizer, spec)
    assert written.open_end == open_end
    # What leads to the end token is learnt too.
    assert (written.learnt[-1][1] == len(written.text)) or not open_end
