"""What the addresses take and give, as OpenAPI; the answers as the tasks of the models have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from jenga import __version__
from jenga.inference.serve import chat_schema
from jenga.inference.serve.bodies import JSON, LINES
from jenga.inference.serve.refusals import MEANINGS, error_schema
from jenga.inference.serve.served import Served
from jenga.labels.shapes import TEXT, TRUTH, Shape, list_of, record

_SWITCHES = {
    "probabilities": (False, "Give the probability of every class, not only of the best."),
    "drivers": (True, "Say which fields drove an alert; most of the time goes there."),
}
_PREDICTS = (400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504)


def openapi(models: Mapping[str, Served], *, secured: bool) -> dict[str, Any]:
    """Return the document; secured: whether requests bring a token."""
    first = next(iter(models))
    schemas: dict[str, Shape] = {"Error": error_schema()}
    for name, served in models.items():
        schemas[f"Answer_{_id(name)}"] = answer_shape(served)
    paths: dict[str, Any] = {"/predict": {"post": _predict(first, models[first], "predict")}}
    for name, served in models.items():
        paths[f"/models/{quote(name, safe='')}/predict"] = {"post": _predict(name, served, f"predict_{_id(name)}")}
    paths |= _others()
    if talking := [name for name, served in models.items() if served.talker is not None]:
        paths |= chat_schema.paths(talking)
        schemas |= chat_schema.schemas()
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Jenga", "version": __version__, "description": "Models that Jenga trained."},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if secured:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
        for path in ("/health", "/ready"):
            paths[path]["get"]["security"] = []
    return found


def answer_shape(served: Served) -> Shape:
    """Return the JSON schema of the answer to a row: what each task says, or why it says nothing."""
    tasks: dict[str, Shape] = {}
    spaces = served.predictor.bundle.spaces
    for name in served.predictor.model.tasks:
        own = [space for (owner, _), space in spaces.items() if owner == name]
        tasks[name] = served.predictor.model.tasks[name].shape(own)
    return record({"id": TEXT}, {"truncated": TRUTH, **tasks, "error": TEXT})


def responses(codes: Iterable[int], shape: str = "Error") -> dict[str, Any]:
    """Return the refusals of an address by their codes."""
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    return {str(code): {"description": MEANINGS[code], "content": content} for code in codes}


def _predict(name: str, served: Served, operation: str) -> dict[str, Any]:
    answer = {"$ref": f"#/components/schemas/Answer_{_id(name)}"}
    row: Shape = {"description": "An object with columns, or a text; what is neither is answered by its error."}
    example = {"rows": [served.example]}
    line = {
        "type": "string",
        "description": "An object of JSON a line; answered by a line each, also where it is wrong.",
    }
    return {
        "summary": f"answer rows by {name}",
        "operationId": operation,
        "parameters": [
            {"name": key, "in": "query", "description": words, "schema": {"type": "boolean", "default": default}}
            for key, (default, words) in _SWITCHES.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": record({"rows": list_of(row)}), "example": example},
                LINES: {"schema": line},
            },
        },
        "responses": {
            "200": {
                "description": "An answer for each row, in their order.",
                "content": {JSON: {"schema": record({"answers": list_of(answer)})}, LINES: {"schema": TEXT}},
            },
            **responses(_PREDICTS),
        },
    }


def _others() -> dict[str, Any]:
    status = record({"status": TEXT})
    described = record(
        {"name": TEXT, "model": TEXT, "tasks": list_of(TEXT), "takes_texts": TRUTH, "example": {"type": "object"}}
    )
    return {
        "/models": {"get": _get("list the models", record({"models": list_of(described)}), (401, 503))},
        "/health": {"get": _get("tell that the process answers", status, ())},
        "/ready": {
            "get": _get("tell whether requests are taken", status, ())
            | {"responses": {**_given(status), "503": {**_given(status)["200"], "description": MEANINGS[503]}}}
        },
        "/metrics": {
            "get": {
                "summary": "figures for Prometheus",
                "responses": {
                    "200": {"description": "Figures.", "content": {"text/plain": {"schema": TEXT}}},
                    **responses((401,)),
                },
            }
        },
    }


def _get(summary: str, shape: Shape, codes: Iterable[int]) -> dict[str, Any]:
    return {"summary": summary, "responses": {**_given(shape), **responses(codes)}}


def _given(shape: Shape) -> dict[str, Any]:
    return {"200": {"description": "So it is.", "content": {JSON: {"schema": shape}}}}


def _id(name: str) -> str:
    """Return a name as OpenAPI has identifiers, those of two names never alike."""
    return "".join(each if each.isascii() and (each.isalnum() or each in "_-") else f".{ord(each):x}." for each in name)
