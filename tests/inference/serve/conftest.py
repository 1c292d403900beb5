"""Models that are served in this process, and a way to ask them."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jenga.inference.serve.app import Service
from jenga.inference.serve.served import Loading
from jenga.inference.serve.server import Settings, service
from jenga.run import experiment

Ask = Callable[..., httpx.Response]
LANGUAGE = [{"prompt": f"is {n} good", "completion": "yes it is" if n % 3 else "no"} for n in range(30)]


@pytest.fixture(autouse=True)
def _nothing_frozen() -> Iterator[None]:
    """Let the collector see again what a change of models hides from it."""
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def serving() -> Iterator[Callable[..., Service]]:
    """Return a function that serves runs in this process; options are those of `Settings`."""
    made: list[Service] = []

    def serve(*runs: str | Path, **options: Any) -> Service:
        settings = Settings([str(run) for run in runs], Loading("cpu"), **options)
        made.append(service(settings))
        return made[-1]

    yield serve
    for each in made:
        each.models.close()


async def answered(service: Service, work: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    """Return what `work` does with a client of `service`."""
    transport = httpx.ASGITransport(app=service.gate)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return await work(client)


@pytest.fixture(scope="session")
def together() -> Callable[..., Any]:
    """Return a function that runs what it is given with a client, in an event loop of its own."""
    return lambda service, work: asyncio.run(answered(service, work))


@pytest.fixture(scope="session")
def ask(together: Callable[..., Any]) -> Ask:
    """Return a function that sends one request."""

    def request(service: Service, method: str, path: str, **options: Any) -> httpx.Response:
        found: httpx.Response = together(service, lambda client: client.request(method, path, **options))
        return found

    return request


@pytest.fixture(scope="session")
def calls(serving: Callable[..., Service], run: Path) -> Service:
    """The model with a head of every kind, served."""
    return serving(f"calls={run}")


@pytest.fixture(scope="session")
def language_run(tmp_path_factory: pytest.TempPathFactory, make_gpt2: Callable[..., Path]) -> Path:
    """The folder of a run of a small language model."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LANGUAGE))
    settings = {
        "model": {"base_model": str(make_gpt2(positions=128))},
        "tasks": [
            {"name": "lm", "type": "causal_lm", "data_path": str(folder / "rows.jsonl"),
             "generation": {"rows": 2, "max_new_tokens": 6}},
        ],
        "data": {"max_length": 48}, "training": {"max_steps": 2, "batch_size": 8}, "tracking": {"enabled": False},
        "output_dir": str(folder / "runs"),
    }  # fmt: skip
    return experiment.train(settings, device="cpu").run


@pytest.fixture(scope="session")
def talker(serving: Callable[..., Service], language_run: Path) -> Service:
    """The language model, served."""
    return serving(f"lm={language_run}")
