"""A language model asked in the forms of OpenAI's API."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import jsonschema
import pytest

from jenga.inference.serve.app import Service

Ask = Callable[..., httpx.Response]
GREEDY: dict[str, Any] = {"model": "lm", "temperature": 0}
CHAT = {**GREEDY, "messages": [{"role": "user", "content": "is 3 good"}]}
TEXT = {**GREEDY, "prompt": "is 3 good"}
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    parts = response.text.removesuffix("\n\n").split("\n\n")
    assert all(part.startswith("data: ") for part in parts)
    return [json.loads(part.removeprefix("data: ")) for part in parts if part != "data: [DONE]"]


@pytest.fixture(scope="module")
def said(talker: Service) -> str:
    """What the model answers, as `jenga predict` gives it."""
    [answer] = talker.models.first.predictor.predict([{"prompt": "is 3 good"}])
    text: str = answer["lm"]["text"]["text"]
    return text


@pytest.mark.parametrize(("path", "body"), [("chat/completions", CHAT), ("completions", TEXT)])
def test_an_answer_is_what_predict_gives_with_its_counts(
    talker: Service, ask: Ask, said: str, path: str, body: dict[str, Any]
) -> None:
    found = ask(talker, "POST", f"/v1/{path}", json=body).json()
    [choice] = found["choices"]
    assert (choice["message"]["content"] if "message" in choice else choice["text"]) == said
    assert choice["finish_reason"] == "length"
    usage = found["usage"]
    assert usage["completion_tokens"] == 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6
    assert found["model"] == "lm"
    assert found["object"] == ("chat.completion" if "message" in choice else "text_completion")


@pytest.mark.parametrize(("path", "body"), [("chat/completions", CHAT), ("completions", TEXT)])
def test_a_stream_adds_up_to_the_answer(talker: Service, ask: Ask, said: str, path: str, body: dict[str, Any]) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    response = ask(talker, "POST", f"/v1/{path}", json={**body, **options})
    assert response.text.endswith("data: [DONE]\n\n")
    found = events(response)
    *pieces, usage = found
    if path == "completions":
        text = "".join(piece["choices"][0]["text"] for piece in pieces)
    else:
        assert pieces[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        text = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces)
        assert pieces[0]["object"] == "chat.completion.chunk"
    assert text == said
    assert [piece["choices"][0]["finish_reason"] for piece in pieces[-2:]] == [None, "length"]
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 6)
    assert len({piece["id"] for piece in found}) == 1


def test_a_stop_ends_the_answer_before_it(talker: Service, ask: Ask, said: str) -> None:
    stop = said[2:4]
    for streamed in (False, True):
        response = ask(talker, "POST", "/v1/completions", json={**TEXT, "stop": [stop, "never"], "stream": streamed})
        if streamed:
            pieces = events(response)
            text, ended = "".join(each["choices"][0]["text"] for each in pieces), pieces[-1]["choices"][0]
        else:
            [ended] = response.json()["choices"]
            text = ended["text"]
        assert text == said[: said.index(stop)]
        assert ended["finish_reason"] == "stop"


def test_drawn_answers_are_alike_by_their_seed(talker: Service, ask: Ask) -> None:
    def drawn(**more: Any) -> str:
        body = {"model": "lm", "prompt": "is", "max_tokens": 12, "temperature": 2, **more}
        text: str = ask(talker, "POST", "/v1/completions", json=body).json()["choices"][0]["text"]
        return text

    assert drawn(seed=1) == drawn(seed=1)
    assert len({drawn(seed=seed) for seed in range(5)}) > 1
    assert len({drawn() for _ in range(5)}) > 1
    assert drawn(seed=1, top_p=0.0) == drawn(seed=2, top_p=0.0)


def test_a_conversation_goes_through_the_chat_template(
    talker: Service, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [
        {"role": "user", "content": "is 3 good"}, {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "is 4 "}, {"type": "text", "text": "good"}]},
    ]  # fmt: skip
    refused = ask(talker, "POST", "/v1/chat/completions", json={**GREEDY, "messages": turns})
    assert refused.status_code == 400
    assert "chat template" in refused.json()["error"]["message"]
    served = talker.models.first
    assert served.talker is not None
    monkeypatch.setattr(served.talker.generator.tokenizer, "chat_template", TEMPLATE)
    found = ask(talker, "POST", "/v1/chat/completions", json={**GREEDY, "messages": turns})
    assert found.status_code == 200
    written = "<user>is 3 good\n<assistant>yes\n<user>is 4 good\n<assistant>"
    assert found.json()["usage"]["prompt_tokens"] == len(served.talker.generator.tokenizer(written)["input_ids"])


@pytest.mark.parametrize(
    ("path", "body", "status", "parameter"),
    [
        ("completions", {**TEXT, "logit_bias": {"5": 1}}, 400, "logit_bias"),
        ("completions", {**TEXT, "n": 2}, 400, "n"),
        ("completions", {**TEXT, "magic": 1}, 400, "magic"),
        ("completions", {**TEXT, "max_tokens": 0}, 400, "max_tokens"),
        ("completions", {**TEXT, "temperature": "hot"}, 400, "temperature"),
        ("completions", {**TEXT, "top_p": 2}, 400, "top_p"),
        ("completions", {**TEXT, "seed": True}, 400, "seed"),
        ("completions", {**TEXT, "stop": ["a"] * 5}, 400, "stop"),
        ("completions", {**TEXT, "user": {}}, 400, "user"),
        ("completions", {**TEXT, "stream": "yes"}, 400, "stream"),
        ("completions", {**TEXT, "prompt": [1, 2]}, 400, "prompt"),
        ("completions", {**TEXT, "model": "other"}, 404, "model"),
        ("completions", {"prompt": "a"}, 400, "model"),
        ("chat/completions", {**CHAT, "messages": []}, 400, "messages"),
        ("chat/completions", {**CHAT, "messages": [{"role": "assistant", "content": "a"}]}, 400, "messages"),
        ("chat/completions", {**CHAT, "messages": [{"content": "a"}]}, 400, "messages"),
        ("chat/completions", {**CHAT, "tools": [{"type": "function"}]}, 400, "tools"),
        ("completions", {**TEXT, "prompt": "good " * 400}, 400, None),
    ],
)
def test_what_is_not_supported_is_refused_in_openais_form(
    talker: Service, ask: Ask, path: str, body: dict[str, Any], status: int, parameter: str | None
) -> None:
    found = ask(talker, "POST", f"/v1/{path}", json=body)
    error = found.json()["error"]
    assert (found.status_code, error["param"]) == (status, parameter)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    assert error["message"]


def test_parameters_that_ask_for_nothing_are_taken(talker: Service, ask: Ask, said: str) -> None:
    neutral: dict[str, Any] = {
        "n": 1,
        "frequency_penalty": 0.0,
        "presence_penalty": 0,
        "logprobs": None,
        "user": "me",
        "tools": [],
    }
    found = ask(talker, "POST", "/v1/completions", json={**TEXT, **neutral})
    assert found.json()["choices"][0]["text"] == said


def test_models_that_generate_nothing_are_not_listed_and_not_asked(calls: Service, talker: Service, ask: Ask) -> None:
    assert ask(calls, "GET", "/v1/models").json() == {"object": "list", "data": []}
    refused = ask(calls, "POST", "/v1/completions", json={"model": "calls", "prompt": "a"})
    assert refused.status_code == 404
    assert "generates nothing" in refused.json()["error"]["message"]
    [listed] = ask(talker, "GET", "/v1/models").json()["data"]
    assert (listed["id"], listed["object"]) == ("lm", "model")


def test_rows_are_answered_beside_it(talker: Service, ask: Ask, said: str) -> None:
    found = ask(talker, "POST", "/predict", json={"rows": [{"prompt": "is 3 good"}, {"prompt": ""}]}).json()
    assert found["answers"][0]["lm"]["text"]["text"] == said
    assert "error" in found["answers"][1]


def test_answers_are_as_openapi_says(talker: Service, ask: Ask) -> None:
    document = ask(talker, "GET", "/openapi.json").json()
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", TEXT)):
        post = document["paths"][path]["post"]
        shape = post["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(
            ask(talker, "POST", path, json=body).json(), {**shape, "components": document["components"]}
        )
        refused = ask(talker, "POST", path, json={**body, "n": 2}).json()
        wrong = post["responses"]["400"]["content"]["application/json"]["schema"]
        jsonschema.validate(refused, {**wrong, "components": document["components"]})
        jsonschema.validate(body, post["requestBody"]["content"]["application/json"]["schema"])


def test_a_client_that_is_gone_ends_what_is_generated_for_it(
    talker: Service, together: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = talker.models.first
    assert served.talker is not None
    begun, ended = threading.Event(), threading.Event()
    say = served.talker.generator.say

    def slowly(*arguments: Any, hear: Callable[[str], bool], **more: Any) -> Any:
        def heard(text: str) -> bool:
            begun.set()
            return hear(text)

        said = say(*arguments, hear=heard, **more)
        ended.set()
        return said

    monkeypatch.setattr(served.talker.generator, "say", slowly)

    async def leave(client: httpx.AsyncClient) -> None:
        import asyncio

        body = {**TEXT, "max_tokens": 100, "temperature": 1, "seed": 3, "stream": True}
        asking = asyncio.ensure_future(client.post("/v1/completions", json=body))
        await asyncio.to_thread(begun.wait, 10)
        asking.cancel()

    together(talker, leave)
    assert ended.wait(10)
