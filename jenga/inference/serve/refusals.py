"""Why a request gets no answer, as JSON: where, what, and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from jenga.errors import JengaError
from jenga.inference.serve.batcher import QueueFullError

MEANINGS: Mapping[int, str] = {
    400: "The request cannot be read.",
    401: "The token is missing or another one.",
    404: "Nothing of this name is served.",
    405: "The address takes another method.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "The rows, or the options in the address, are of another form, or too many.",
    429: "Too much waits already; the header Retry-After says when to try again.",
    500: "A mistake in the server, which its log tells of.",
    503: "The server stops.",
    504: "The answer did not come in time.",
}


class RefusedError(Exception):
    """A request that is refused with an HTTP `status`. `where`: in the request; `fix`: what to do about it.

    `headers`: more of the response. `parameter`: the one of a call of OpenAI's form that is wrong.
    """

    def __init__(
        self, status: int, where: str, what: str, fix: str, *, headers: Mapping[str, str] | None = None,
        parameter: str | None = None,
    ) -> None:  # fmt: skip
        self.status, self.where, self.what, self.fix = status, where, what, fix
        self.headers, self.parameter = dict(headers or {}), parameter
        super().__init__(f"{where}: {what}; {fix}")

    def response(self) -> Response:
        """Return what the client gets."""
        content = {"error": {"status": self.status, "where": self.where, "what": self.what, "fix": self.fix}}
        return JSONResponse(content, self.status, self.headers)


def refusal_of(error: BaseException) -> RefusedError:
    """Return an error of the model, or of its queue, as the client is told of it; what is no user's says nothing."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, QueueFullError):
        fix = f"try again in {error.retry_s} s"
        return RefusedError(429, "the queue", str(error), fix, headers={"Retry-After": str(error.retry_s)})
    if isinstance(error, JengaError):
        return RefusedError(500, "the model", str(error), "tell whoever runs the server")
    return RefusedError(500, "the server", "an unexpected error", "tell whoever runs the server; its log has the cause")


def error_schema() -> dict[str, Any]:
    """Return the JSON schema of a refusal."""
    text = {"type": "string"}
    inner = {
        "type": "object",
        "properties": {"status": {"type": "integer"}, "where": text, "what": text, "fix": text},
        "required": ["status", "where", "what", "fix"],
        "additionalProperties": False,
    }
    return {"type": "object", "properties": {"error": inner}, "required": ["error"], "additionalProperties": False}
