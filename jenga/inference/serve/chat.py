"""Language models by the addresses and in the forms of OpenAI's API."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from jenga.errors import ConfigError
from jenga.inference.serve.bodies import Limits, json_body, unless_gone
from jenga.inference.serve.chat_request import Call, chat_call, completion_call
from jenga.inference.serve.models import Models
from jenga.inference.serve.refusals import RefusedError, refusal_of
from jenga.inference.serve.served import Served, Talker
from jenga.modalities.text.generation import Unanswered
from jenga.modalities.text.heard import Said

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def openai_refusal(error: RefusedError) -> Response:
    """Return a refusal in the form that clients of OpenAI's API read."""
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    words = f"{error.where}: {error.what}; {error.fix}"
    content = {"message": words, "type": kind, "param": error.parameter, "code": None}
    return JSONResponse({"error": content}, error.status, error.headers)


class Chat:
    """The addresses under /v1."""

    def __init__(self, models: Models, limits: Limits, generated: Callable[[str, int], None]) -> None:
        """generated: counts the tokens that a model, by its name, has generated."""
        self._models, self._limits, self._generated = models, limits, generated

    async def list_models(self, request: Request) -> Response:
        """Tell which language models there are."""
        found = [
            {"id": served.name, "object": "model", "created": served.loaded, "owned_by": "jenga"}
            for served in self._models.all.values()
            if served.talker is not None
        ]
        return JSONResponse({"object": "list", "data": found})

    async def chat(self, request: Request) -> Response:
        """Answer the last turn of a conversation."""
        body = await json_body(request, self._limits)
        served, talker = self._served(body)
        return await self._answered(request, served, talker, chat_call(body, talker), _CHAT)

    async def completions(self, request: Request) -> Response:
        """Go on with a prompt."""
        body = await json_body(request, self._limits)
        served, talker = self._served(body)
        return await self._answered(request, served, talker, completion_call(body, talker), _TEXT)

    def _served(self, body: Any) -> tuple[Served, Talker]:
        if not isinstance(body, dict):
            raise RefusedError(400, "the body", "it is no object", "send an object of JSON")
        name = body.get("model")
        if not isinstance(name, str):
            raise RefusedError(400, "model", "no model is named", "GET /v1/models lists them", parameter="model")
        try:
            served = self._models.named(name)
        except ConfigError as error:
            raise RefusedError(404, "model", str(error), "GET /v1/models lists them", parameter="model") from None
        if served.talker is None:
            fix = "use POST /predict, or another model"
            raise RefusedError(404, "model", f"'{name}' generates nothing", fix, parameter="model")
        return served, served.talker

    async def _answered(self, request: Request, served: Served, talker: Talker, call: Call, form: _Form) -> Response:
        told, gone = _Told(form, served.name), threading.Event()
        if call.stream:
            pieces = _Pieces(gone)
            future = served.call(_work(talker, call, pieces.hear), tokens=call.tokens)
            future.add_done_callback(lambda _: pieces.end())
            return _Stream(self._streamed(served.name, call, told, pieces, future), gone, future)
        try:
            work = _work(talker, call, lambda text: not gone.is_set())
            said = await unless_gone(request, served.call(work, tokens=call.tokens), self._limits)
        finally:
            gone.set()
        self._generated(served.name, _checked(said).completion_tokens)
        return JSONResponse(told.whole(said))

    async def _streamed(
        self, name: str, call: Call, told: _Told, pieces: _Pieces, future: asyncio.Future[Any]
    ) -> AsyncIterator[bytes]:
        """Yield the answer as events."""
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                yield _event(told.begun())
                while (piece := await pieces.next()) is not None:
                    yield _event(told.piece(piece))
                said = _checked(await future)
            self._generated(name, said.completion_tokens)
            yield _event(told.ended(said))
            if call.with_usage:
                yield _event(told.usage(said))
            yield b"data: [DONE]\n\n"
        except TimeoutError:
            what = f"it did not end within {self._limits.timeout_s:g} s"
            yield _refused(RefusedError(504, "the answer", what, "ask for fewer tokens (max_tokens)"))
        except Exception as error:  # the head has been sent; what went wrong is an event
            yield _refused(refusal_of(error))


class _Pieces:
    """What is said, on its way from the thread that says it. `gone`: set once nobody listens any more."""

    def __init__(self, gone: threading.Event) -> None:
        self._gone, self._loop = gone, asyncio.get_running_loop()
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()

    def hear(self, text: str) -> bool:
        """Take a piece, in whatever thread, and return whether somebody listens."""
        if self._gone.is_set():
            return False
        if text:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, text)
        return True

    def end(self) -> None:
        """Say that there will be no more."""
        self._queue.put_nowait(None)

    async def next(self) -> str | None:
        """Return the next piece; None where there is none any more."""
        return await self._queue.get()


class _Stream(StreamingResponse):
    """Events, which end what is generated for them where the client goes."""

    def __init__(self, events: AsyncIterator[bytes], gone: threading.Event, future: asyncio.Future[Any]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._gone, self._future = gone, future

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._gone.set()
            self._future.cancel()


class _Form:
    """How one of the addresses writes what is said."""

    def __init__(self, name: str, prefix: str, whole: Callable[[str], dict[str, Any]], piece: Any) -> None:
        self.name, self.prefix, self.whole, self.piece = name, prefix, whole, piece


_CHAT = _Form(
    "chat.completion", "chatcmpl-", lambda text: {"message": {"role": "assistant", "content": text}},
    lambda text: {"delta": {} if text is None else {"content": text}},
)  # fmt: skip
_TEXT = _Form("text_completion", "cmpl-", lambda text: {"text": text}, lambda text: {"text": text or ""})


class _Told:
    """Writes one answer. Its pieces have the id and the moment of the whole."""

    def __init__(self, form: _Form, model: str) -> None:
        self._form, self._model = form, model
        self._id, self._created = f"{form.prefix}{uuid.uuid4().hex}", int(time.time())

    def whole(self, said: Said) -> dict[str, Any]:
        """Return all that was said."""
        choice = {"index": 0, **self._form.whole(said.text), "logprobs": None, "finish_reason": said.ended}
        return self._object(self._form.name, [choice]) | {"usage": _usage(said)}

    def begun(self) -> dict[str, Any]:
        """Return the first event: who speaks."""
        piece = self._form.piece("")
        if "delta" in piece:
            piece["delta"] = {"role": "assistant", "content": ""}
        return self._piece(piece, None)

    def piece(self, text: str) -> dict[str, Any]:
        """Return what was said since."""
        return self._piece(self._form.piece(text), None)

    def ended(self, said: Said) -> dict[str, Any]:
        """Return why it ended."""
        return self._piece(self._form.piece(None), said.ended)

    def usage(self, said: Said) -> dict[str, Any]:
        """Return how much was said."""
        return self._object(self._stream_name, []) | {"usage": _usage(said)}

    @property
    def _stream_name(self) -> str:
        return f"{self._form.name}.chunk" if self._form is _CHAT else self._form.name

    def _piece(self, piece: dict[str, Any], ended: str | None) -> dict[str, Any]:
        return self._object(self._stream_name, [{"index": 0, **piece, "logprobs": None, "finish_reason": ended}])

    def _object(self, name: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._id, "object": name, "created": self._created, "model": self._model, "choices": choices}


def _work(talker: Talker, call: Call, hear: Callable[[str], bool]) -> Callable[[], Said | Unanswered]:
    def work() -> Said | Unanswered:
        try:
            return talker.generator.say(call.dialogue, call.decoding, stops=call.stops, hear=hear)
        except ConfigError as error:  # such as that there is no chat template, which this conversation needs
            return Unanswered(str(error))

    return work


def _checked(said: Said | Unanswered) -> Said:
    if isinstance(said, Unanswered):
        raise RefusedError(400, "the prompt", said.reason, "shorten it, or ask another model")
    return said


def _usage(said: Said) -> dict[str, int]:
    return {
        "prompt_tokens": said.prompt_tokens, "completion_tokens": said.completion_tokens,
        "total_tokens": said.prompt_tokens + said.completion_tokens,
    }  # fmt: skip


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=True).encode() + b"\n\n"


def _refused(error: RefusedError) -> bytes:
    return b"data: " + bytes(openai_refusal(error).body) + b"\n\n"
