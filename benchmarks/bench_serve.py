"""`jenga serve` in a process of its own, asked over sockets: 64 clients at once against one, and against `predict`.

The encoder is ``--base-model``, else the preset ``jenga/tiny-text``, over rows as long as SNIPS's. A client asks again
once it is answered. Server and clients share the machine, so figures tell something only where each has a core of its
own. Where every client waits for its answer, a latency is 64 over the throughput: of a model whose rows take long, as
MiniLM's on a core do, neither bar can be met, since a batch of them costs little less than its rows one by one.
"""

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from bench_train_step import made_up_rows
from paired import SMOKE, PairedRatio, compare, held

import jenga

CLIENTS = 64
REQUESTS, ROUNDS = (1, 2) if SMOKE else (8, 15)
"""Requests of each client in a round."""
Report = Callable[[str, PairedRatio], None]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [{"id": str(row["id"]), "tokens": " ".join(cast(list[str], row["tokens"]))} for row in made_up_rows()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp("intents")
    base = request.config.getoption("--base-model") or "jenga/tiny-text"
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made_up_rows()))
    task = {"name": "intent", "type": "classification", "data_path": str(folder / "rows.jsonl")}
    config: dict[str, Any] = {
        "model": {"base_model": str(base)},
        "tasks": [{**task, "columns": {"text": "tokens", "label": "intent"}, "heads": [{"name": "intent"}]}],
        "data": {"max_length": 64, "cache_dir": str(folder / "cache")},
        "training": {"max_steps": 1, "batch_size": 8},
        "tracking": {"enabled": False},
        "output_dir": str(folder),
    }
    made: Path = jenga.train(config).run
    return made


class Clients:
    """Connections that stay open to a server. `seconds`: how long each answer took since it was cleared."""

    def __init__(self, port: int, process: int) -> None:
        self.process = process
        self.seconds: list[float] = []
        self._loop = asyncio.new_event_loop()
        self._open = [self._run(asyncio.open_connection("127.0.0.1", port)) for _ in range(CLIENTS)]

    def _run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def ask(self, bodies: list[bytes], clients: int) -> None:
        """Send `bodies`, shared out over some of the clients, each of which waits for an answer before it goes on."""
        shared = iter(bodies)

        async def all_of_them() -> None:
            await asyncio.gather(*[self._client(at, shared) for at in range(clients)])

        self._run(all_of_them())

    async def _client(self, at: int, bodies: Iterator[bytes]) -> None:
        reader, writer = self._open[at]
        for body in bodies:
            begin = time.perf_counter()
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"{head}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            size = re.search(rb"content-length: (\d+)", answer.lower())
            assert size is not None
            content = await reader.readexactly(int(size.group(1)))
            assert b'"error"' not in content
            self.seconds.append(time.perf_counter() - begin)

    def close(self) -> None:
        async def end() -> None:
            for _, writer in self._open:
                writer.close()
                await writer.wait_closed()

        self._run(end())
        self._loop.close()


@pytest.fixture(scope="module")
def clients(run: Path) -> Iterator[Clients]:
    command = [sys.executable, "-P", "-c", "from jenga.cli.main import main; main()", "serve", str(run)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    server = subprocess.Popen(
        [*command, "--port", "0", "--device", "cpu"], stderr=subprocess.PIPE, text=True, env={**os.environ, **threads}
    )
    assert server.stderr is not None
    port = int(server.stderr.readline().rpartition(":")[2])
    while not listens(port):
        assert server.poll() is None, server.stderr.read()
        time.sleep(0.2)
    made = Clients(port, server.pid)
    yield made
    made.close()
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0
    server.stderr.close()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def bodies(rows: list[dict[str, str]], per_request: int, count: int) -> list[bytes]:
    endless = itertools.cycle(rows)
    return [json.dumps({"rows": list(itertools.islice(endless, per_request))}).encode() for _ in range(count)]


def test_64_clients_against_one(rows: list[dict[str, str]], clients: Clients, report_ratio: Report) -> None:
    asked = bodies(rows, 1, CLIENTS * REQUESTS)
    alone: list[float] = []
    crowded: list[float] = []

    def timed(count: int, into: list[float]) -> Callable[[], None]:
        def work() -> None:
            clients.seconds = []
            clients.ask(asked, count)
            into.extend(clients.seconds)

        return work

    ratio = compare(timed(CLIENTS, crowded), timed(1, alone), rounds=ROUNDS, min_round_s=0.0, warmup=1)
    report_ratio("serve, a row a request: 64 clients / the same requests one by one", ratio)
    # The first call of each warms up; p99 is that of all others.
    late = latency_ratio(crowded[len(asked) :], alone[len(asked) :])
    report_ratio("serve, a row a request: p99 with 64 clients / median of one", late)
    held(ratio, below=1 / 5 * 1.5)
    held(late, below=10.0 * 1.5)


def latency_ratio(crowded: list[float], alone: list[float]) -> PairedRatio:
    """Return the 99th percentile of one over the median of the other, with its bootstrap interval."""
    draw = np.random.default_rng(0)
    found = [
        np.percentile(draw.choice(crowded, len(crowded)), 99) / np.median(draw.choice(alone, len(alone)))
        for _ in range(500)
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    late, usual = float(np.percentile(crowded, 99)), float(np.median(alone))
    return PairedRatio(late / usual, float(low), float(high), late, usual, len(crowded), 1)


@pytest.mark.parametrize("per_request", [1, 8])
def test_64_clients_against_predict(
    per_request: int, rows: list[dict[str, str]], run: Path, clients: Clients, report_ratio: Report
) -> None:
    predictor = jenga.load(run, device="cpu").session()
    asked = bodies(rows, per_request, CLIENTS * REQUESTS // (1 if per_request == 1 else 2))
    at_once = [row for body in asked for row in json.loads(body)["rows"]]
    ratio = compare(
        lambda: clients.ask(asked, CLIENTS), lambda: predictor.predict(at_once),
        rounds=ROUNDS, min_round_s=0.0, warmup=1,
    )  # fmt: skip
    report_ratio(f"serve, {per_request} rows a request, 64 clients / Predictor.predict of all rows at once", ratio)
    # A row of so small a model takes less than its request does.
    held(ratio, below=1 / 0.85 * (4 if per_request == 1 else 1.5))


def test_memory_stays_flat(rows: list[dict[str, str]], clients: Clients) -> None:
    asked = bodies(rows, 8, CLIENTS * (1 if SMOKE else 20))

    def resident() -> int:
        return int(Path(f"/proc/{clients.process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    clients.ask(asked, CLIENTS)
    before = resident()
    for _ in range(1 if SMOKE else 5):
        clients.ask(asked, CLIENTS)
    assert resident() - before < 16e6
