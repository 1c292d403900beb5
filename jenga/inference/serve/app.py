"""The application: addresses, and what answers them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from jenga.errors import ConfigError, JengaError
from jenga.inference.serve.bodies import LINES, Limits, json_body, media_type, unless_gone
from jenga.inference.serve.chat import Chat, openai_refusal
from jenga.inference.serve.gate import GONE, Gate
from jenga.inference.serve.lines import LineStream
from jenga.inference.serve.metrics import CONTENT_TYPE, Metrics
from jenga.inference.serve.models import Models
from jenga.inference.serve.page import page
from jenga.inference.serve.refusals import RefusedError, refusal_of
from jenga.inference.serve.schema import openapi
from jenga.inference.serve.served import Asked, Served
from jenga.kernels.json_lines import json_lines

logger = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]
LINE_TYPES = (LINES, "application/jsonl", "application/jsonlines")
_SWITCHES = {"true": True, "1": True, "false": False, "0": False}


@dataclass
class Service:
    """What the addresses share."""

    models: Models
    metrics: Metrics
    limits: Limits = field(default_factory=Limits)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.app = self._application()
        self.gate = Gate(
            self.app, token=self.token, metrics=self.metrics, refused=_refused, label=partial(_label, self.paths)
        )

    # --------------------------------------------------------------------------------------------------- addresses

    async def predict(self, request: Request) -> Response:
        """Answer rows by the model that is named, or the first one."""
        served = self._named(request)
        asked = _asked(request)
        if media_type(request) in LINE_TYPES:
            return LineStream(request, served, asked, self.limits)
        with served.in_use():
            rows = _rows(await json_body(request, self.limits), self.limits)
            session = served.session()
            future = served.predict(session, served.given(session, rows), asked)
            answers = await unless_gone(request, future, self.limits)
        content = json_lines(answers).replace(b"\n", b",").removesuffix(b",")
        return Response(b'{"answers":[' + content + b"]}", media_type="application/json")

    async def list_models(self, request: Request) -> Response:
        """Tell which models there are."""
        return JSONResponse({"models": [_described(each) for each in self.models.all.values()]})

    async def page(self, request: Request) -> Response:
        """Return a page on which a person can try the models."""
        return page()

    async def health(self, request: Request) -> Response:
        """Tell that the process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Tell whether requests are taken."""
        if self.gate.stops:
            return JSONResponse({"status": "stopping"}, 503)
        return JSONResponse({"status": "ready"})

    async def figures(self, request: Request) -> Response:
        """Return the figures for Prometheus."""
        return Response(self.metrics.written(), media_type=CONTENT_TYPE)

    # ----------------------------------------------------------------------------------------------------- around them

    def _application(self) -> FastAPI:
        app = FastAPI(title="Jenga", docs_url=None, redoc_url=None)
        # The answers are of the models that are served now.
        app.openapi = lambda: openapi(self.models.all, secured=self.token is not None)  # type: ignore[method-assign]
        chat = Chat(self.models, self.limits, lambda name, tokens: self.metrics.of_model(name).generated(tokens))
        routes: list[tuple[str, str, Endpoint]] = [
            ("GET", "/", self.page),
            ("POST", "/predict", self.predict),
            ("GET", "/models", self.list_models),
            ("POST", "/models/{name}/predict", self.predict),
            ("GET", "/health", self.health),
            ("GET", "/ready", self.ready),
            ("GET", "/metrics", self.figures),
            ("GET", "/v1/models", chat.list_models),
            ("POST", "/v1/chat/completions", chat.chat),
            ("POST", "/v1/completions", chat.completions),
        ]
        for method, path, endpoint in routes:
            app.add_route(path, _guarded(endpoint), methods=[method])
        self.paths = frozenset({"/openapi.json", *(path for _, path, _ in routes)})
        app.add_exception_handler(HTTPException, _unknown)
        return app

    def _named(self, request: Request) -> Served:
        name = request.path_params.get("name")
        if name is None:
            return self.models.first
        try:
            return self.models.named(name)
        except ConfigError as error:
            raise RefusedError(404, "the address", str(error), "GET /models lists what is served") from None


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Return `endpoint` with every error as the client is told of it."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=GONE)
        except Exception as error:  # of whatever kind: the client gets JSON
            refusal = refusal_of(error)
            if refusal.status == 500 and not isinstance(error, JengaError):
                logger.exception("%s %s could not be answered", request.method, request.url.path)
            return _refused(refusal, request.url.path)

    return guarded


def _refused(error: RefusedError, path: str) -> Response:
    """Return a refusal in the form that the clients of `path` read."""
    return openai_refusal(error) if path.startswith("/v1/") else error.response()


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    fix = "GET /openapi.json lists what there is"
    refusal = RefusedError(error.status_code, where, str(error.detail), fix, headers=error.headers)
    return _refused(refusal, request.url.path)


def _rows(body: Any, limits: Limits) -> list[Any]:
    """Return the rows in the body of a request. Raises RefusedError."""
    fix = 'send {"rows": [...]}, each row a text or an object with columns'
    if not isinstance(body, dict) or not isinstance(body.get("rows"), list):
        raise RefusedError(422, "rows", "the body has no list of rows", fix)
    if more := sorted(body.keys() - {"rows"}):
        raise RefusedError(
            422, more[0], "unknown key", "allowed: rows; options stand in the address (?probabilities=true)"
        )
    rows: list[Any] = body["rows"]
    if len(rows) > limits.rows:
        what = f"{len(rows):,} rows; allowed: {limits.rows:,} at once"
        raise RefusedError(422, "rows", what, f"send fewer, or stream JSON Lines ({LINES})")
    return rows


def _asked(request: Request) -> Asked:
    """Return what the address asks for. Raises RefusedError."""
    known = {"probabilities": False, "drivers": True}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise RefusedError(422, f"?{name}", "unknown option", f"allowed: {', '.join(known)}")
        if value.lower() not in _SWITCHES:
            raise RefusedError(422, f"?{name}", f"got '{value}'", "allowed: true, false")
        known[name] = _SWITCHES[value.lower()]
    return Asked(**known)


def _described(served: Served) -> dict[str, Any]:
    return {
        "name": served.name, "model": served.fingerprint, "tasks": list(served.predictor.model.tasks),
        "example": served.example, "takes_texts": served.predictor.takes_texts,
    }  # fmt: skip


def _label(known: Collection[str], path: str) -> str:
    """Return what a path is counted as: one of the `known` addresses, whatever clients ask for."""
    if path in known:
        return path
    return "/models/{name}/predict" if path.startswith("/models/") and path.endswith("/predict") else "other"
