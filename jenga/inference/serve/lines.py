"""JSON Lines in and out: answers are sent while rows still come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jenga.inference.live import LineCutter
from jenga.inference.merged import Answers
from jenga.inference.serve.batcher import QueueFullError
from jenga.inference.serve.bodies import LINES, Limits, chunks
from jenga.inference.serve.refusals import RefusedError, refusal_of
from jenga.inference.serve.served import Asked, Served
from jenga.kernels.json_lines import json_lines
from jenga.rows.raw import RawRows

_LINES_AT_ONCE = 256
_AHEAD = 4
"""Batches of lines that are read ahead of their answers."""
_PAUSE_S = 0.02
_Begun = tuple[RawRows, "asyncio.Future[Answers]"]


class LineStream(Response):
    """Answers the lines of a request's body one by one, in their order, as they come.

    A client that sends on without reading its answers is waited for, and so is the queue.
    """

    media_type = LINES

    def __init__(self, request: Request, served: Served, asked: Asked, limits: Limits) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._request, self._served, self._asked, self._limits = request, served, asked, limits
        self._session = served.session()
        self._begun: asyncio.Queue[_Begun | None] = asyncio.Queue(_AHEAD)
        self._wrong: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answers; end early where the client goes, or reads nothing for too long."""
        with self._served.in_use():
            await self._answer(send)

    async def _answer(self, send: Send) -> None:
        reads = asyncio.ensure_future(self._read())
        writes = asyncio.ensure_future(self._write(send))
        try:
            await asyncio.wait({reads, writes}, return_when=asyncio.FIRST_COMPLETED)
            if not writes.done():
                # The client is gone.
                writes.cancel()
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                await writes
        finally:
            reads.cancel()
            writes.cancel()
            while not self._begun.empty():
                if (begun := self._begun.get_nowait()) is not None:
                    begun[1].cancel()

    async def _read(self) -> None:
        """Put rows in the queue as they come, and return once the client is gone."""
        cutter, first = LineCutter(), 1
        try:
            async for chunk in self._chunks():
                cutter.add(chunk)
                while cutter.lines:
                    some, cutter.lines = cutter.lines[:_LINES_AT_ONCE], cutter.lines[_LINES_AT_ONCE:]
                    await self._begin(some, first)
                    first += len(some)
        except ClientDisconnect:
            return
        except RefusedError as error:
            self._wrong = f"{error.where}: {error.what}; {error.fix}"
        else:
            cutter.end()
            if cutter.lines:
                await self._begin(cutter.lines, first)
        await self._begun.put(None)
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    def _chunks(self) -> AsyncIterator[bytes]:
        return chunks(self._request, self._limits, whole=False)

    async def _begin(self, lines: list[tuple[bytes, bool]], first: int) -> None:
        raw = self._served.lines(self._session, lines, first)
        if not raw.numbers and not raw.bad:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + self._limits.timeout_s
        while True:
            try:
                future = self._served.predict(self._session, raw, self._asked)
                break
            except QueueFullError as error:
                if loop.time() > due:
                    future = loop.create_future()
                    future.set_exception(error)
                    break
                await asyncio.sleep(_PAUSE_S)
        await self._begun.put((raw, future))

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while (begun := await self._begun.get()) is not None:
            await self._send(send, json_lines(await self._answers(*begun)), more=True)
        wrong = [] if self._wrong is None else [{"error": self._wrong}]
        await self._send(send, json_lines(wrong), more=False)

    async def _answers(self, raw: RawRows, future: asyncio.Future[Answers]) -> Answers:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await future
        except TimeoutError:
            return self._session.unanswered(raw, f"the answer did not come within {self._limits.timeout_s:g} s")
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:  # the others may have answers
            return self._session.unanswered(raw, refusal_of(error).what)

    async def _send(self, send: Send, content: bytes, *, more: bool) -> None:
        message: MutableMapping[str, Any] = {"type": "http.response.body", "body": content, "more_body": more}
        async with asyncio.timeout(self._limits.timeout_s):
            await send(message)
