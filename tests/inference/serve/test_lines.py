"""JSON Lines in and out, in this process."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from near import near

from jenga.inference.predictor import Predictor
from jenga.inference.serve.app import Service
from jenga.inference.serve.batcher import QueueLimits
from jenga.inference.serve.bodies import Limits
from jenga.samples.network import generate_flows

LINES = {"content-type": "application/x-ndjson"}
BODY = b'{"text": "hi"}\nnot json\n\n{"id": "q", "text": "you"}\r\n[1]\n{"text": 5}\n{"text": "no break at the end"}'


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200
    return [json.loads(line) for line in response.text.splitlines()]


def followed(predictor: Predictor, content: bytes) -> list[dict[str, Any]]:
    """Return what `jenga predict RUN -` answers."""
    return [answer for batch in predictor.follow(io.BytesIO(content)) for answer in batch]


def test_lines_are_answered_as_the_command_answers_standard_input(
    calls: Service, ask: Callable[..., httpx.Response], predictor: Predictor
) -> None:
    found = ask(calls, "POST", "/predict", content=BODY, headers=LINES)
    assert found.headers["content-type"] == "application/x-ndjson"
    assert answers(found) == near(followed(predictor, BODY))  # in batches as the lines came
    assert [each["id"] for each in answers(found)] == ["1", "2", "q", "5", "6", "7"]


def test_lines_that_are_cut_anywhere_are_the_same_lines(
    calls: Service, together: Callable[..., Any], predictor: Predictor
) -> None:
    async def bytewise() -> AsyncIterator[bytes]:
        for at in range(len(BODY)):
            yield BODY[at : at + 1]

    found = together(calls, lambda client: client.post("/predict", content=bytewise(), headers=LINES))
    assert [each.get("id") for each in answers(found)] == ["1", "2", "q", "5", "6", "7"]


def test_batches_without_any_column_are_errors_of_their_lines(
    calls: Service, ask: Callable[..., httpx.Response]
) -> None:
    found = answers(ask(calls, "POST", "/predict", content=b'{"id": "a"}\n{"id": "b"}\n', headers=LINES))
    assert [each["id"] for each in found] == ["a", "b"]
    assert all("no column" in each["error"] for each in found)


def test_an_empty_body_has_no_answers(calls: Service, ask: Callable[..., httpx.Response]) -> None:
    assert answers(ask(calls, "POST", "/predict", content=b"", headers=LINES)) == []


def test_a_stream_of_events_remembers_the_event_before(
    serving: Callable[..., Service], ask: Callable[..., httpx.Response], event_run: Path
) -> None:
    service = serving(f"flows={event_run}")
    flows = generate_flows(30, seed=3)
    content = "".join(json.dumps(flow) + "\n" for flow in flows).encode()
    predictor = service.models.first.predictor
    assert predictor.inputs.ordered
    assert answers(ask(service, "POST", "/predict", content=content, headers=LINES)) == followed(predictor, content)
    assert ask(service, "POST", "/predict", json={"rows": flows}).json()["answers"] == predictor.session().predict(
        flows
    )


def test_a_stream_waits_where_the_queue_is_full_and_loses_nothing(
    serving: Callable[..., Service], ask: Callable[..., httpx.Response], run: Path
) -> None:
    service = serving(f"calls={run}", queue=QueueLimits(rows=300, wait_s=0.0))
    content = b"".join(b'{"id": "%d", "text": "hi"}\n' % at for at in range(2000))
    found = answers(ask(service, "POST", "/predict", content=content, headers=LINES))
    assert [each["id"] for each in found] == [str(at) for at in range(2000)]
    assert not [each for each in found if "error" in each]


def test_a_stream_on_which_nothing_comes_ends_with_the_reason(
    serving: Callable[..., Service], together: Callable[..., Any], run: Path
) -> None:
    service = serving(f"calls={run}", limits=Limits(timeout_s=0.3))

    async def stalls() -> AsyncIterator[bytes]:
        yield b'{"text": "hi"}\n'
        await asyncio.sleep(5)

    found = answers(together(service, lambda client: client.post("/predict", content=stalls(), headers=LINES)))
    assert len(found) == 2
    assert found[0]["sentiment"]
    assert "did not come within 0.3 s" in found[1]["error"]


def test_a_line_without_end_is_an_error_of_its_own(
    calls: Service, ask: Callable[..., httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jenga.inference.live.MAX_ROW_BYTES", 1000)
    content = b'{"text": "' + b"x" * 5000 + b'"}\n{"text": "hi"}\n'
    found = answers(ask(calls, "POST", "/predict", content=content, headers=LINES))
    assert [each.get("error") for each in found] == ["the line is too long", None]
