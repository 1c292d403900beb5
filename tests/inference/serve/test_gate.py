"""What every request passes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from jenga.inference.serve.app import Service

Ask = Callable[..., httpx.Response]
TOKEN = "a token with ünicode"


@pytest.fixture(scope="module")
def guarded(serving: Callable[..., Service], run: Path) -> Service:
    return serving(f"calls={run}", token=TOKEN)


def bearer(token: str, kind: str = "Bearer") -> dict[str, bytes]:
    return {"authorization": f"{kind} {token}".encode()}


@pytest.mark.parametrize("path", ["/models", "/metrics", "/openapi.json", "/nothing", "/v1/models"])
def test_all_but_health_and_the_page_needs_the_token(guarded: Service, ask: Ask, path: str) -> None:
    for headers in ({}, bearer("another"), bearer(TOKEN, "Basic"), bearer(""), bearer(TOKEN[:-1])):
        refused = ask(guarded, "GET", path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in refused.text
    assert ask(guarded, "GET", path, headers=bearer(TOKEN, "bearer")).status_code in (200, 404)


def test_health_readiness_and_the_page_are_open(guarded: Service, ask: Ask) -> None:
    assert [ask(guarded, "GET", path).status_code for path in ("/health", "/ready", "/")] == [200] * 3


def test_a_refused_body_is_not_read(guarded: Service, ask: Ask) -> None:
    found = ask(guarded, "POST", "/predict", content=b"{", headers={"content-type": "application/json"})
    assert found.status_code == 401


def test_the_token_is_in_no_log_and_in_no_representation(
    guarded: Service, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(guarded, "POST", "/predict", json={"rows": ["hi"]}, headers=bearer(TOKEN))
        ask(guarded, "POST", "/predict", json={"rows": ["hi"]}, headers=bearer("another"))
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(guarded)


def test_the_document_says_that_a_token_is_needed(guarded: Service, calls: Service, ask: Ask) -> None:
    document = ask(guarded, "GET", "/openapi.json", headers=bearer(TOKEN)).json()
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/health"]["get"]["security"] == []
    assert "security" not in ask(calls, "GET", "/openapi.json").json()


def test_a_gate_that_is_closed_refuses_and_tells_when_nothing_is_left(
    serving: Callable[..., Service], ask: Ask, run: Path
) -> None:
    service = serving(f"calls={run}")
    service.gate.close()
    asyncio.run(service.gate.drained())
    refused = ask(service, "POST", "/v1/completions", json={})
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "server_error")
    assert ask(service, "GET", "/ready").status_code == 503
    assert ask(service, "GET", "/metrics").status_code == 200
