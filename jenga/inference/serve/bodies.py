"""Bodies of requests, read within limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from jenga.errors import ConfigError
from jenga.inference.serve.refusals import RefusedError

JSON, LINES = "application/json", "application/x-ndjson"
LINGER_S = 5.0
"""How long what comes of a body that is too large is read and dropped: who has not sent all of it when the connection
closes gets to see a reset in place of the refusal."""


@dataclass(frozen=True)
class Limits:
    """What one request may take: bytes of its body, rows, and seconds for the body and for the answer, each."""

    body_bytes: int = 16 << 20
    rows: int = 4096
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.body_bytes < 1 or self.rows < 1 or not self.timeout_s > 0:
            raise ConfigError(
                f"limits of a request: got {self.body_bytes} bytes, {self.rows} rows and {self.timeout_s:g} s; "
                "allowed: more than 0"
            )


def media_type(request: Request) -> str:
    """Return the type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def chunks(request: Request, limits: Limits, *, whole: bool) -> AsyncIterator[bytes]:
    """Yield the body as it comes; whole: within the limits of bytes and of time, which a stream has not.

    Raises RefusedError, and starlette's ClientDisconnect. Between two chunks of a stream no more time passes either.
    """
    told = request.headers.get("content-length", "")
    stream = aiter(request.stream())
    if whole and told.isdecimal() and int(told) > limits.body_bytes:
        if "expect" not in request.headers:  # else it is sent only when it is asked for
            await _dropped(stream)
        raise _too_large(limits)
    loop = asyncio.get_running_loop()
    due, read = loop.time() + limits.timeout_s, 0
    while True:
        try:
            async with asyncio.timeout_at(due if whole else loop.time() + limits.timeout_s):
                chunk = await anext(stream, None)
        except TimeoutError:
            what = f"it did not come within {limits.timeout_s:g} s"
            raise RefusedError(408, "the body", what, "send it faster, or less of it") from None
        if chunk is None:
            return
        read += len(chunk)
        if whole and read > limits.body_bytes:
            await _dropped(stream)
            raise _too_large(limits)
        if chunk:
            yield chunk


async def json_body(request: Request, limits: Limits) -> Any:
    """Return what the JSON of the body says. Raises RefusedError."""
    if (kind := media_type(request)) not in (JSON, ""):
        fix = f"send the header Content-Type: {JSON}, or of JSON Lines {LINES}"
        raise RefusedError(415, "the header Content-Type", f"got '{kind}'", fix)
    content = b"".join([chunk async for chunk in chunks(request, limits, whole=True)])
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "the body", f"it is not JSON ({error})", 'send {"rows": [...]} as JSON') from None


async def _dropped(stream: AsyncIterator[bytes]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            async for _ in stream:
                pass


def _too_large(limits: Limits) -> RefusedError:
    what = f"it has more than {limits.body_bytes:,} bytes"
    return RefusedError(413, "the body", what, f"send less at once, or stream JSON Lines ({LINES})")


async def unless_gone(request: Request, future: asyncio.Future[Any], limits: Limits) -> Any:
    """Return what `future` gives; cancel it where the client goes, or its time is over. The body has been read.

    Raises RefusedError, and starlette's ClientDisconnect where nobody is left to be answered.
    """
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({future, gone}, timeout=limits.timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        if gone.done():
            raise ClientDisconnect
        what = f"it did not come within {limits.timeout_s:g} s"
        raise RefusedError(504, "the answer", what, "send fewer rows at once, or try again later")
    finally:
        future.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
