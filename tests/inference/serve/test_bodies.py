"""Bodies within limits, and answers that nobody waits for; most of it is shown by test_app.py and test_server.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from jenga.errors import ConfigError
from jenga.inference.serve.bodies import Limits, chunks, json_body, unless_gone
from jenga.inference.serve.refusals import RefusedError


def request(*messages: dict[str, Any], **headers: str) -> Request:
    """Return a request whose client sends `messages`, and nothing after them."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(3600)
        return left.pop(0)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}, receive)


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def refusal(work: Callable[[], Any]) -> RefusedError:
    with pytest.raises(RefusedError) as told:
        asyncio.run(work())
    return told.value


def test_a_body_in_parts_is_one() -> None:
    made = request(part(b'{"a"'), part(b""), part(b": 1}", more=False))
    assert asyncio.run(json_body(made, Limits())) == {"a": 1}


def test_a_body_that_says_it_is_too_large_is_dropped_as_it_comes_and_refused_when_it_is_sent() -> None:
    """A connection that is closed before all of it has come is reset, and the refusal is lost."""
    left = [part(b"x" * 6), part(b"x" * 6, more=False)]

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    made = request(content_length="12")
    made._receive = receive
    assert refusal(lambda: json_body(made, Limits(body_bytes=10))).status == 413
    assert not left


def test_a_body_that_is_not_sent_before_it_is_asked_for_is_refused_at_once() -> None:
    made = request(content_length="11", expect="100-continue")
    assert refusal(lambda: asyncio.wait_for(json_body(made, Limits(body_bytes=10)), 1)).status == 413


def test_a_body_that_lies_about_its_size_is_refused_once_it_is_too_large() -> None:
    made = request(part(b"x" * 6), part(b"x" * 6), part(b"", more=False), content_length="5")
    assert refusal(lambda: json_body(made, Limits(body_bytes=10))).status == 413


def test_the_time_of_a_body_is_that_of_all_its_parts_and_of_a_stream_that_between_two() -> None:
    async def drip() -> None:
        made = request()

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.06)
            return part(b" ")

        made._receive = receive
        read = 0
        async for _ in chunks(made, Limits(timeout_s=0.2), whole=False):
            read += 1
            if read == 5:
                break
        async for _ in chunks(Request(made.scope, receive), Limits(timeout_s=0.2), whole=True):
            read += 1

    told = refusal(drip)
    assert (told.status, told.where) == (408, "the body")


def test_a_client_that_is_gone_cancels_what_it_waited_for() -> None:
    async def wait() -> bool:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(ClientDisconnect):
            await unless_gone(request({"type": "http.disconnect"}), future, Limits())
        return future.cancelled()

    assert asyncio.run(wait())


def test_an_error_of_the_answer_is_raised() -> None:
    async def wait() -> None:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(KeyError("x"))
        await unless_gone(request(), future, Limits())

    with pytest.raises(KeyError):
        asyncio.run(wait())


@pytest.mark.parametrize("wrong", [{"body_bytes": 0}, {"rows": 0}, {"timeout_s": 0.0}])
def test_limits_that_let_nothing_pass_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="allowed: more than 0"):
        Limits(**wrong)
