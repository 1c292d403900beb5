"""The addresses, asked in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from jenga.inference.predictor import Predictor
from jenga.inference.serve.app import Service
from jenga.inference.serve.batcher import QueueLimits
from jenga.inference.serve.bodies import Limits

Ask = Callable[..., httpx.Response]
TEXTS = ["Amina called about her bill", "Agent: Good morning, this is Asha.", "", "thank you, good bye" * 40]


def test_answers_are_those_of_the_predictor(calls: Service, ask: Ask, predictor: Predictor) -> None:
    rows: list[Any] = [{"id": f"r{at}", "text": text} for at, text in enumerate(TEXTS)]
    found = ask(calls, "POST", "/predict", json={"rows": rows})
    assert found.status_code == 200
    assert found.json() == {"answers": predictor.predict(rows)}
    assert found.json()["answers"][2]["error"]
    assert found.json()["answers"][3]["truncated"]


def test_texts_and_options_are_taken_as_the_predictor_takes_them(
    calls: Service, ask: Ask, predictor: Predictor
) -> None:
    found = ask(calls, "POST", "/models/calls/predict?probabilities=true", json={"rows": TEXTS[:2]})
    assert found.json()["answers"] == predictor.predict(TEXTS[:2], probabilities=True)


def test_a_row_that_is_none_is_answered_by_its_error_and_spoils_no_other(calls: Service, ask: Ask) -> None:
    answers = ask(calls, "POST", "/predict", json={"rows": [7, {"text": "hello"}, None]}).json()["answers"]
    assert [answer.get("error") for answer in answers] == [
        "the row is a number, not an object with columns", None, "the row is null, not an object with columns",
    ]  # fmt: skip


def test_requests_at_once_share_batches_and_get_their_own_answers(
    serving: Callable[..., Service], together: Callable[..., Any], run: Path, predictor: Predictor
) -> None:
    service = serving(f"calls={run}", queue=QueueLimits(wait_s=0.3))
    # Two ways to write a row: together, all would be read as one of them is.
    words = ["Amina", "called", "from", "Nairobi"]
    bodies: list[list[Any]] = [
        [{"text": f"call {at} about a bill"}, 5] if at % 2 else [{"tokens": words[: at % 4 + 1]}] for at in range(8)
    ]
    bodies.append([{"transcript": "nothing that is read"}])

    async def all_at_once(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*[client.post("/predict", json={"rows": rows}) for rows in bodies])

    *found, unread = together(service, all_at_once)
    for response, rows in zip(found, bodies, strict=False):
        assert _rounded(response.json()["answers"]) == _rounded(predictor.predict(rows))
    [answer] = unread.json()["answers"]
    assert "no column 'tokens' or 'text'" in answer["error"]
    assert 'jenga_batch_rows_count{model="calls"} 1.0' in service.metrics.written().decode()


def _rounded(value: Any) -> Any:
    """Return an answer to four digits: beside others a row is padded otherwise, which moves float32's last bits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        return list(map(_rounded, value))
    return {key: _rounded(each) for key, each in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize(
    ("body", "headers", "status", "where"),
    [
        (b"{", {}, 400, "the body"),
        (b"[" * 1990, {}, 400, "the body"),
        (b"[]", {}, 422, "rows"),
        (b'{"rows": {}}', {}, 422, "rows"),
        (b'{"rows": [], "more": 1}', {}, 422, "more"),
        (b'{"rows": [1, 2, 3, 4, 5]}', {}, 422, "rows"),
        (b'{"rows": ["' + b"x" * 3000 + b'"]}', {}, 413, "the body"),
        (b'{"rows": []}', {"content-type": "text/plain"}, 415, "the header Content-Type"),
    ],
)
def test_what_cannot_be_read_is_refused_with_where_what_and_fix(
    small: Service, ask: Ask, body: bytes, headers: dict[str, str], status: int, where: str
) -> None:
    found = ask(small, "POST", "/predict", content=body, headers={"content-type": "application/json", **headers})
    error = found.json()["error"]
    assert (found.status_code, error["status"], error["where"]) == (status, status, where)
    assert error["what"]
    assert error["fix"]


@pytest.fixture(scope="module")
def small(serving: Callable[..., Service], run: Path) -> Service:
    return serving(f"calls={run}", limits=Limits(body_bytes=2000, rows=4))


@pytest.mark.parametrize("query", ["probabilities=perhaps", "probability=true"])
def test_options_that_are_not_known_are_refused(calls: Service, ask: Ask, query: str) -> None:
    found = ask(calls, "POST", f"/predict?{query}", json={"rows": []})
    assert found.status_code == 422
    assert found.json()["error"]["where"].startswith("?probabilit")


def test_unknown_models_and_addresses_name_those_that_are_there(calls: Service, ask: Ask) -> None:
    found = ask(calls, "POST", "/models/cals/predict", json={"rows": []})
    assert found.status_code == 404
    assert "did you mean 'calls'?" in found.json()["error"]["what"]
    assert ask(calls, "GET", "/nothing").json()["error"]["status"] == 404
    assert ask(calls, "GET", "/predict").status_code == 405


def test_several_models_are_asked_by_name_and_the_first_one_without(
    serving: Callable[..., Service],
    ask: Ask,
    run: Path,
    event_run: Path,
    detector: Predictor,
    flows: list[dict[str, Any]],
) -> None:
    service = serving(f"calls={run}", f"flows={event_run}")
    listed = ask(service, "GET", "/models").json()["models"]
    assert [each["name"] for each in listed] == ["calls", "flows"]
    assert listed[1]["tasks"] == ["find", "size", "marks"]
    assert ask(service, "POST", "/models/flows/predict", json={"rows": flows}).json()["answers"] == detector.predict(
        flows
    )
    example = ask(service, "POST", "/predict", json={"rows": [listed[0]["example"]]}).json()["answers"]
    assert list(example[0]) == ["id", "QA", "sentiment", "names", "length"]


def test_answers_are_as_openapi_says(calls: Service, ask: Ask) -> None:
    document = ask(calls, "GET", "/openapi.json").json()
    shape = {"$ref": "#/components/schemas/Answer_calls", "components": document["components"]}
    rows = [{"text": text} for text in TEXTS] + [{"text": ["Amina", "called"]}, 3]
    for query in ("", "?probabilities=true"):
        for answer in ask(calls, "POST", f"/predict{query}", json={"rows": rows}).json()["answers"]:
            jsonschema.validate(answer, shape)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"id": "1", "sentiment": {"feeling": {"label": "odd", "probability": 1}}}, shape)


def test_health_readiness_and_figures_are_told(calls: Service, ask: Ask) -> None:
    assert ask(calls, "GET", "/health").json() == {"status": "ok"}
    assert ask(calls, "GET", "/ready").json() == {"status": "ready"}
    ask(calls, "GET", "/no/such/place")
    found = ask(calls, "GET", "/metrics")
    assert found.headers["content-type"].startswith("text/plain; version=")
    assert 'jenga_requests_total{code="200",path="/health"}' in found.text
    assert 'path="other"' in found.text
    assert "/no/such/place" not in found.text


def test_a_mistake_of_ours_tells_the_client_nothing_of_the_inside(
    calls: Service, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("a secret")

    monkeypatch.setattr(calls.models.first, "given", broken)
    found = ask(calls, "POST", "/predict", json={"rows": ["hello"]})
    assert found.status_code == 500
    assert "secret" not in found.text
    assert "a secret" in caplog.text


def test_lone_surrogates_and_large_numbers_pass(calls: Service, ask: Ask) -> None:
    body = b'{"rows": [{"id": "\\ud800", "text": "hello"}, {"text": "a \\udfff b"}, {"text": 1e999}]}'
    found = ask(calls, "POST", "/predict", content=body, headers={"content-type": "application/json"})
    assert found.status_code == 200
    answers = json.loads(found.content)["answers"]
    assert [answer["id"] for answer in answers] == ["\ud800", "2", "3"]
    assert all("error" in answer for answer in answers)
