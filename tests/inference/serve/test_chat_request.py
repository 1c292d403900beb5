"""Calls of OpenAI's form, read; what is refused is shown in test_chat.py."""

from __future__ import annotations

from typing import Any, cast

import pytest

from jenga.inference.serve.chat_request import Call, chat_call, completion_call
from jenga.inference.serve.refusals import RefusedError
from jenga.inference.serve.served import Talker
from jenga.modalities.text.dialogue import LanguageSpec
from jenga.modalities.text.messages import Turn

PROMPTS = LanguageSpec((), ("prompt",), ("completion",), ())
TEXTS = LanguageSpec(("text",), (), (), ())
CHATS = LanguageSpec((), (), (), ("messages",))


def talker(language: LanguageSpec = PROMPTS) -> Talker:
    return Talker(cast(Any, None), language, 77)


def completion(language: LanguageSpec = PROMPTS, **more: Any) -> Call:
    return completion_call({"model": "m", "prompt": "go on", **more}, talker(language))


def test_what_nobody_says_is_as_openai_and_the_task_have_it() -> None:
    call = completion()
    assert (call.decoding.max_new_tokens, call.decoding.temperature, call.decoding.top_p) == (77, 1.0, 1.0)
    assert (call.stops, call.stream, call.with_usage) == ((), False, False)
    assert completion().decoding.seed != completion().decoding.seed


def test_what_is_said_is_taken() -> None:
    call = completion(
        max_tokens=5, temperature=0, top_p=0.5, seed=-3, stop="x", stream=True, stream_options={"include_usage": True}
    )
    assert (call.decoding.max_new_tokens, call.decoding.temperature, call.decoding.top_p) == (5, 0.0, 0.5)
    assert (call.decoding.seed, call.stops, call.stream, call.with_usage) == (-3, ("x",), True, True)
    assert isinstance(call.decoding.temperature, float)


def test_a_prompt_is_what_the_model_has_learnt() -> None:
    assert completion(TEXTS).dialogue.is_text
    assert completion(PROMPTS).dialogue.turns == (Turn("user", "go on"),)
    assert not completion(PROMPTS).dialogue.chat
    assert completion(CHATS).dialogue.chat
    assert completion(PROMPTS, prompt=["one"]).dialogue.turns == (Turn("user", "one"),)


@pytest.mark.parametrize(("language", "turns", "chat"), [(PROMPTS, 1, False), (CHATS, 1, True), (PROMPTS, 3, True)])
def test_one_message_is_a_prompt_where_no_chats_were_learnt(language: LanguageSpec, turns: int, chat: bool) -> None:
    messages = [{"role": ("user", "assistant")[at % 2], "content": f"{at}"} for at in range(turns)]
    call = chat_call({"model": "m", "messages": messages, "max_completion_tokens": 9}, talker(language))
    assert call.dialogue.chat is chat
    assert [turn.content for turn in call.dialogue.turns] == [str(at) for at in range(turns)]
    assert call.decoding.max_new_tokens == 9


@pytest.mark.parametrize("content", [[{"type": "image_url", "image_url": {}}], [{"type": "text"}], ["a"]])
def test_contents_that_are_no_text_are_refused(content: Any) -> None:
    with pytest.raises(RefusedError, match="no text"):
        chat_call({"messages": [{"role": "user", "content": content}]}, talker())


def test_a_seed_that_torch_does_not_take_is_refused() -> None:
    with pytest.raises(RefusedError, match="seed"):
        completion(seed=1 << 64)
    assert completion(seed=4.0).decoding.seed == 4
    assert completion(seed=(1 << 63) - 1).decoding.seed == (1 << 63) - 1
