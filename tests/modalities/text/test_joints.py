"""Questions have the same tokens where they are asked and where their answers are learnt."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.modalities.text.dialogue import Dialogue, LanguageSpec
from jenga.modalities.text.joints import tokenise
from jenga.modalities.text.messages import ASSISTANT, Turn
from jenga.modalities.text.written import write, write_question

# Its answers begin behind a blank, which most tokenizers put into the answer's first token.
BLANKS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }} . {% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def spec_of(separator: str = "\n") -> LanguageSpec:
    return LanguageSpec((), ("prompt",), ("completion",), ("messages",), separator=separator)


def asked(prompt: str, answer: str) -> Dialogue:
    return Dialogue((Turn("user", prompt), Turn(ASSISTANT, answer)))


@pytest.mark.parametrize("family", ["byte_level", "metaspace", "wordpiece"])
@pytest.mark.parametrize("separator", ["\n", ": ", " ", "", " -> ", "e"])
def test_a_question_is_learnt_with_the_tokens_that_it_is_asked_with(
    make_tokenizer: Any, family: str, separator: str
) -> None:
    tokenizer, spec = make_tokenizer(family), spec_of(separator)
    for row in (asked("the agent was kind", "good line"), asked("the", "agents"), asked("two minute", "s of music")):
        (learnt,) = tokenise(write(row, tokenizer, spec), tokenizer)
        (question,) = tokenise([write_question(row.opening(), tokenizer, spec)], tokenizer)
        at = len(row.turns[0].content or "") + len(separator)
        assert learnt.ids[: len(question.ids)] == question.ids
        assert learnt.before == {at: len(question.ids)}
        assert len(learnt.ids) > len(question.ids)


def test_turns_of_a_chat_are_learnt_with_the_tokens_that_each_is_asked_with(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer("byte_level")
    tokenizer.chat_template = BLANKS
    turns = tuple(Turn(ASSISTANT if at % 2 else "user", text) for at, text in enumerate(["the agent", "agent"] * 3))
    (learnt,) = tokenise(write(Dialogue(turns, chat=True), tokenizer, spec_of()), tokenizer)
    whole = tokenizer(write(Dialogue(turns, chat=True), tokenizer, spec_of())[0].text, add_special_tokens=False)
    # The text taken whole has other tokens, or the test would show nothing.
    assert learnt.ids != whole["input_ids"]
    # This tokenizer puts a blank before every text, the parts of one too.
    assert tokenizer.decode(learnt.ids).replace("  ", " ") == tokenizer.decode(whole["input_ids"])
    assert len(learnt.before) == 3
    for stop in (1, 3, 5):
        (question,) = tokenise([write_question(Dialogue(turns[:stop], chat=True), tokenizer, spec_of())], tokenizer)
        assert learnt.ids[: len(question.ids)] == question.ids
        assert len(question.ids) in learnt.before.values()


def test_a_question_that_ends_between_tokens_leaves_the_text_whole(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer("metaspace")
    (learnt,) = tokenise(write(asked("the agent was kind", "good line"), tokenizer, spec_of("\n")), tokenizer)
    assert learnt.ids == tokenizer("the agent was kind\ngood line")["input_ids"]


def test_the_places_of_tokens_are_those_of_the_text(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer("byte_level")
    (written,) = write(asked("the agent", "good line"), tokenizer, spec_of(": "))
    (learnt,) = tokenise([written], tokenizer)
    (count,) = learnt.before.values()
    begin, _ = learnt.places[count]
    _, end = learnt.places[-1]
    assert written.text[begin:end] == "good line"
