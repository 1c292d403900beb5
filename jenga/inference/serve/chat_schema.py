"""What the addresses of OpenAI's form take and give, as OpenAPI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jenga.inference.serve.bodies import JSON
from jenga.inference.serve.chat_request import MOST_STOPS
from jenga.inference.serve.refusals import MEANINGS
from jenga.labels.shapes import NUMBER, TEXT, TRUTH, Shape, list_of, one_of, record

_WHOLE: Shape = {"type": "integer"}
_CODES = (400, 401, 404, 408, 413, 415, 429, 500, 503, 504)


def schemas() -> dict[str, Shape]:
    """Return the schemas that `paths` name."""
    nullable = {"type": ["string", "null"]}
    inner = record({"message": TEXT, "type": TEXT, "param": nullable, "code": nullable})
    counts = record(dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _WHOLE))
    return {"ChatError": record({"error": inner}), "Usage": counts}


def paths(models: Sequence[str]) -> dict[str, Any]:
    """Return the addresses; models: the names of those that generate."""
    message = record({"role": TEXT, "content": TEXT})
    # What else a message says, its chat template may read.
    asked = {"type": "array", "items": {**message, "additionalProperties": True}, "minItems": 1}
    model = record({"id": TEXT, "object": TEXT, "created": _WHOLE, "owned_by": TEXT})
    listed = record({"object": TEXT, "data": list_of(model)})
    return {
        "/v1/models": {"get": {"summary": "list the language models", "responses": _answers(listed, (401, 503))}},
        "/v1/chat/completions": {
            "post": _post("answer a conversation", models, {"messages": asked}, {"message": message})
        },
        "/v1/completions": {"post": _post("go on with a prompt", models, {"prompt": TEXT}, {"text": TEXT})},
    }


def _post(summary: str, models: Sequence[str], asked: dict[str, Shape], said: dict[str, Shape]) -> dict[str, Any]:
    word = {"type": "string", "minLength": 1}
    drawn: dict[str, Shape] = {
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 1 << 20},
        "temperature": NUMBER | {"minimum": 0, "maximum": 2},
        "top_p": NUMBER | {"minimum": 0, "maximum": 1},
        "seed": _WHOLE | {"minimum": -(1 << 63), "maximum": (1 << 63) - 1},
        "stop": {"anyOf": [word, {"type": "array", "items": word, "maxItems": MOST_STOPS}]},
        "stream": TRUTH,
        "user": TEXT,
    }
    choice = record(
        {"index": _WHOLE, **said, "logprobs": {"type": "null"}, "finish_reason": one_of(("stop", "length"))}
    )
    whole = record(
        {"id": TEXT, "object": TEXT, "created": _WHOLE, "model": TEXT, "choices": list_of(choice),
         "usage": {"$ref": "#/components/schemas/Usage"}}
    )  # fmt: skip
    optional = {name: {"anyOf": [shape, {"type": "null"}]} for name, shape in drawn.items()}
    body = record({"model": one_of(tuple(models)), **asked}, optional)
    found = _answers(whole, _CODES)
    found["200"]["content"]["text/event-stream"] = {"itemSchema": {"type": "object", "properties": {"data": TEXT}}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": found,
    }


def _answers(shape: Shape, codes: Sequence[int]) -> dict[str, Any]:
    refused = {JSON: {"schema": {"$ref": "#/components/schemas/ChatError"}}}
    return {
        "200": {"description": "The answer.", "content": {JSON: {"schema": shape}}},
        **{str(code): {"description": MEANINGS[code], "content": refused} for code in codes},
    }
