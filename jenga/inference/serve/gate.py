"""What every request passes: whether the server still takes some, whether the token is right, and what is counted."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jenga.inference.serve.metrics import Metrics
from jenga.inference.serve.refusals import RefusedError

OPEN = frozenset({"/", "/health", "/ready"})
"""Addresses that need no token."""
TOLD = OPEN | {"/metrics"}
"""Addresses that are answered while the server stops."""
GONE = 499
"""Code under which a request is counted whose client did not wait for the answer."""


class Gate:
    """Around the application. refused: makes what a client gets of a refusal, by the request's path.

    label: what a path is counted as.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        metrics: Metrics,
        refused: Callable[[RefusedError, str], Response],
        label: Callable[[str], str],
    ) -> None:
        self._app, self._metrics, self._refused, self._label = app, metrics, refused, label
        self._token = None if token is None else token.encode()
        self._stops = False
        self._none_left = asyncio.Event()
        self._under_way = 0

    @property
    def stops(self) -> bool:
        """Whether no more requests are taken."""
        return self._stops

    def close(self) -> None:
        """Take no more requests."""
        self._stops = True

    async def drained(self) -> None:
        """Wait until the requests under way are answered."""
        while self._under_way:
            self._none_left.clear()
            await self._none_left.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        begin, code = time.perf_counter(), GONE

        async def counted(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        told = path in TOLD
        self._metrics.begun()
        self._under_way += not told
        try:
            refusal = self._refusal(path, Headers(scope=scope))
            await (self._app if refusal is None else self._refused(refusal, path))(scope, receive, counted)
        finally:
            self._under_way -= not told
            if not self._under_way:
                self._none_left.set()
            self._metrics.ended(self._label(path), code, time.perf_counter() - begin)

    def _refusal(self, path: str, headers: Headers) -> RefusedError | None:
        if self.stops and path not in TOLD:
            more = {"Retry-After": "5", "Connection": "close"}
            return RefusedError(503, "the server", "it stops", "send the request to another one", headers=more)
        if self._token is None or path in OPEN:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        if right and kind.lower() == "bearer":
            return None
        what = "another token than the server's" if given else "no token"
        more = {"WWW-Authenticate": "Bearer"}
        return RefusedError(
            401, "the header Authorization", what, "send Authorization: Bearer TOKEN, with the server's", headers=more
        )
