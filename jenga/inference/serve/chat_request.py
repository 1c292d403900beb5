"""What a call of OpenAI's form asks for; what is not understood is refused by name."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jenga.inference.serve.refusals import RefusedError
from jenga.inference.serve.served import Talker
from jenga.labels.column import RowError
from jenga.modalities.text.dialogue import Dialogue
from jenga.modalities.text.generation import Decoding
from jenga.modalities.text.messages import Turn, read_messages

_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "echo": (False,), "logprobs": (False,), "suffix": ("",), "tools": ([],),
    "tool_choice": ("none", "auto"), "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},),
    "top_logprobs": (0,), "response_format": ({"type": "text"},), "store": (False,),
    "parallel_tool_calls": (True, False),
}  # fmt: skip
"""Parameters that clients send and nobody here understands, with the values that ask for nothing."""
_UNREAD: Mapping[str, type] = {"user": str, "metadata": dict, "safety_identifier": str}
"""Parameters that change no answer, with their types."""
_DRAWN = ("max_tokens", "temperature", "top_p", "seed", "stop", "stream", "stream_options", "model")
MOST_STOPS = 4
_LEAST_SHARE = 1e-6
"""Share of the likeliest tokens that none but the first one makes up."""
_COLDEST = 1e-3
"""Temperature below which logits that are divided by it have no finite exponential, and none but the first is drawn."""
_RANDOM = random.SystemRandom()


@dataclass(frozen=True)
class Call:
    """What is to be said. `tokens`: what it costs at most; `with_usage`: whether a stream ends with its counts."""

    dialogue: Dialogue
    decoding: Decoding
    stops: Sequence[str]
    stream: bool
    with_usage: bool
    tokens: int


def chat_call(body: Mapping[str, Any], talker: Talker) -> Call:
    """Return what a body of /v1/chat/completions asks for. Raises RefusedError."""
    _known(body, (*_DRAWN, "messages", "max_completion_tokens"))
    try:
        turns = read_messages([_plain(each) for each in _list(body, "messages")], "messages")
    except RowError as error:
        raise _wrong("messages", str(error), "send role and content of each") from None
    if turns[-1].role == "assistant":
        raise _wrong("messages", "the last message is the assistant's", "let it end with the user's")
    # Where a model has learnt prompts and no chats, one message is a prompt.
    chat = bool(talker.language.messages) or talker.language.template == "chat" or len(turns) > 1
    return _call(body, Dialogue(turns, chat=chat), talker, body.get("max_completion_tokens", body.get("max_tokens")))


def completion_call(body: Mapping[str, Any], talker: Talker) -> Call:
    """Return what a body of /v1/completions asks for. Raises RefusedError."""
    _known(body, (*_DRAWN, "prompt"))
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    if not isinstance(prompt, str):
        raise _wrong("prompt", "it is no text", "send one text")
    if talker.language.text:
        dialogue = Dialogue.of_text(prompt)
    else:
        dialogue = Dialogue((Turn("user", prompt),), chat=bool(talker.language.messages))
    return _call(body, dialogue, talker, body.get("max_tokens"))


def _call(body: Mapping[str, Any], dialogue: Dialogue, talker: Talker, longest: Any) -> Call:
    longest = _number("max_tokens", longest, talker.max_new_tokens, least=1, most=1 << 20, whole=True)
    options = body.get("stream_options") or {}
    if not isinstance(options, Mapping) or options.keys() - {"include_usage"}:
        raise _wrong("stream_options", "unknown keys", "allowed: include_usage")
    temperature = _number("temperature", body.get("temperature"), 1.0, least=0, most=2)
    decoding = Decoding(
        max_new_tokens=longest,
        temperature=0.0 if temperature < _COLDEST else float(temperature),
        top_p=float(_number("top_p", body.get("top_p"), 1.0, least=0, most=1)) or _LEAST_SHARE,
        seed=_number(
            "seed", body.get("seed"), _RANDOM.randrange(1 << 31), least=-(1 << 63), most=(1 << 63) - 1, whole=True
        ),
    )
    tokens = longest + sum(len(turn.content or "") for turn in dialogue.turns) // 4
    return Call(
        dialogue, decoding, _stops(body.get("stop")), _switch(body, "stream"), _switch(options, "include_usage"), tokens
    )


def _known(body: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for name, value in body.items():
        if name in allowed or value is None or (name in _UNREAD and isinstance(value, _UNREAD[name])):
            continue
        if name in _UNREAD:
            raise _wrong(name, "it is of another type", f"allowed: {_UNREAD[name].__name__}")
        if name not in _NEUTRAL:
            raise _wrong(name, "unknown parameter", f"allowed: {', '.join(sorted({*allowed, *_UNREAD}))}")
        if not any(value == each and type(value) in (type(each), float) for each in _NEUTRAL[name]):
            raise _wrong(name, "this server does not support it", f"leave it out, or at {_NEUTRAL[name][0]!r}")


def _plain(message: Any) -> Any:
    """Return a message whose content is a list of texts as one whose content is their text."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list):
        return message
    texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    words = [text for text in texts if isinstance(text, str)]
    if len(words) != len(content):
        raise _wrong("messages", "a part of a content is no text", "this server reads texts only")
    return {**message, "content": "".join(words)}


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise _wrong(name, "there are none", "send a list of messages, role and content of each")
    return value


def _stops(value: Any) -> tuple[str, ...]:
    found = [] if value is None else [value] if isinstance(value, str) else value
    if (
        not isinstance(found, list)
        or len(found) > MOST_STOPS
        or not all(isinstance(each, str) and each for each in found)
    ):
        raise _wrong("stop", "it is neither a text nor a few of them", f"allowed: up to {MOST_STOPS} texts")
    return tuple(found)


def _switch(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, f"got {str(value)[:40]!r}", "allowed: true, false")
    return bool(value)


def _number(name: str, value: Any, default: Any, *, least: float, most: float, whole: bool = False) -> Any:
    if value is None:
        return default
    if isinstance(value, float) and whole and value.is_integer():
        value = int(value)
    right = isinstance(value, int) if whole else isinstance(value, int | float)
    if isinstance(value, bool) or not right or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise _wrong(name, f"got {str(value)[:40]!r}", f"allowed: {kind} from {least:g} to {most:g}")
    return value


def _wrong(name: str, what: str, fix: str) -> RefusedError:
    return RefusedError(400, name, what, fix, parameter=name)
