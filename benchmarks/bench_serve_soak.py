"""`jenga serve` under mixed load: good and bad requests, slow clients, and such as go away in the middle.

``JENGA_BENCH_SOAK_S=1800 pytest benchmarks/bench_serve_soak.py -s`` asks for half an hour (a minute without the
variable, two seconds in a smoke) and prints how often each kind of client was answered with which status, and the
server's memory. No answer may be another than its kind's, nothing may be told of an error, and memory may not grow.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import torch
from bench_serve import bodies, listens, rows, run
from paired import SMOKE

__all__ = ["rows", "run"]
SECONDS = 2.0 if SMOKE else float(os.environ.get("JENGA_BENCH_SOAK_S", "60"))
PAUSE_S = 0.05
"""Between the requests of a client: the load is to be mixed, and the machine not to be busy with clients alone."""
GROWTH = 16 << 20
JSON, LINES = "application/json", "application/x-ndjson"
TIMEOUT_S, MAX_ROWS, MAX_BODY_MB = 5, 64, 1
Port = int


@asynccontextmanager
async def connected(port: Port) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def head(length: int, *, kind: str = JSON, request: str = "POST /predict") -> bytes:
    lines = [
        f"{request} HTTP/1.1",
        "Host: x",
        f"Content-Type: {kind}",
        f"Content-Length: {length}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "\r\n"]).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    told = await reader.readuntil(b"\r\n\r\n")
    status, content = int(told.split(maxsplit=2)[1]), b""
    try:
        content = await reader.read()
    except ConnectionResetError:
        if status == 200:
            raise  # behind a refusal the connection ends, whatever the client still sends
    return status, content


async def whole(port: Port, body: bytes, *, kind: str = JSON, request: str = "POST /predict") -> str:
    """Send a request at once; return its status, and that of answers that are none."""
    async with connected(port) as (reader, writer):
        writer.write(head(len(body), kind=kind, request=request) + body)
        status, content = await answer(reader)
    return f"{status}, an error in it" if status == 200 and b'"error"' in content else str(status)


async def slow(port: Port, body: bytes, *, pause_s: float, pieces: int = 20) -> str:
    """Send a body piece by piece."""
    async with connected(port) as (reader, writer):
        writer.write(head(len(body)))
        told = asyncio.create_task(answer(reader))
        size = -(-len(body) // pieces)
        for at in range(0, len(body), size):
            await asyncio.sleep(pause_s)
            if told.done():  # the server ends what takes too long, and says so
                break
            writer.write(body[at : at + size])
        return str((await told)[0])


async def gone(port: Port, body: bytes, *, sent: float) -> str:
    """Send a share of a request and go away."""
    async with connected(port) as (_, writer):
        message = head(len(body)) + body
        writer.write(message[: int(len(message) * sent)])
        await writer.drain()
        await asyncio.sleep(PAUSE_S)
    return "gone"


Kind = Callable[[Port, bytes], Awaitable[str]]
KINDS: Mapping[str, tuple[str, Kind]] = {
    "rows": ("200", whole),
    "more rows": ("200", whole),
    "JSON Lines": ("200", lambda port, body: whole(port, lines(body), kind=LINES)),
    "no JSON": ("400", lambda port, body: whole(port, body[: len(body) // 2])),
    "no rows": ("422", lambda port, body: whole(port, b'{"rows": 3}')),
    "too many rows": ("422", lambda port, body: whole(port, json.dumps({"rows": [{}] * (MAX_ROWS + 1)}).encode())),
    "too much": ("413", lambda port, body: whole(port, b" " * ((MAX_BODY_MB << 20) + 1))),
    "another type": ("415", lambda port, body: whole(port, body, kind="text/plain")),
    "another address": ("404", lambda port, body: whole(port, body, request="POST /nothing")),
    "slow": ("200", lambda port, body: slow(port, body, pause_s=0.02)),
    "too slow": ("408", lambda port, body: slow(port, body, pause_s=2 * TIMEOUT_S / 20)),
    "gone in the middle": ("gone", lambda port, body: gone(port, body, sent=0.6)),
    "gone before the answer": ("gone", lambda port, body: gone(port, body, sent=1.0)),
}  # fmt: skip


def lines(body: bytes) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in json.loads(body)["rows"])


@pytest.fixture
def server(run: Path, tmp_path: Path) -> Iterator[tuple[Port, int]]:
    command = [sys.executable, "-P", "-c", "from jenga.cli.main import main; main()", "serve", str(run), "--port", "0"]
    limits = ["--timeout", str(TIMEOUT_S), "--max-rows", str(MAX_ROWS), "--max-body-mb", str(MAX_BODY_MB)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    told = tmp_path / "told"
    with told.open("w") as file:
        started = subprocess.Popen(
            [*command, *limits, "--device", "cpu"], stderr=file, stdout=file, env={**os.environ, **threads}
        )
        while not (text := told.read_text()).count("\n"):
            assert started.poll() is None, text
            time.sleep(0.2)
        port = int(text.splitlines()[0].rpartition(":")[2])
        while not listens(port):
            assert started.poll() is None, told.read_text()
            time.sleep(0.2)
        yield port, started.pid
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0
    assert "Traceback" not in told.read_text(), told.read_text()[-4000:]


def resident(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def load(port: Port, process: int, rows: list[dict[str, str]]) -> tuple[Counter[tuple[str, str]], list[int]]:
    """Let a client of each kind ask until the time is over; return what each heard, and the memory ten times."""
    heard: Counter[tuple[str, str]] = Counter()
    end = time.monotonic() + SECONDS

    async def client(name: str) -> None:
        asked = itertools.cycle(bodies(rows, 8 if name == "more rows" else 2, 50))
        while time.monotonic() < end:
            try:
                heard[name, await KINDS[name][1](port, next(asked))] += 1
            except (OSError, asyncio.IncompleteReadError) as error:
                heard[name, type(error).__name__] += 1
            await asyncio.sleep(PAUSE_S)

    async def watch() -> list[int]:
        found = []
        for _ in range(10):
            await asyncio.sleep(SECONDS / 10)
            found.append(resident(process))
        return found

    clients = [asyncio.create_task(client(name)) for name in KINDS]
    memory = await watch()
    await asyncio.gather(*clients)
    return heard, memory


def test_bad_slow_and_vanishing_clients_leave_the_server_as_it_was(
    server: tuple[Port, int], rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    port, process = server
    heard, memory = asyncio.run(load(port, process, rows))
    with capsys.disabled():
        print(f"\n{SECONDS:,.0f} s of mixed load, {sum(heard.values()):,} requests")
        for (name, status), count in heard.items():
            print(f"{name:24} {status:24} {count:,}")
        print("MiB:", *(each >> 20 for each in memory))
    assert {name for name, _ in heard} == KINDS.keys()
    assert not [each for each in heard if each[1] != KINDS[each[0]][0]]
    assert asyncio.run(whole(port, b"", request="GET /health")) == "200"
    assert SMOKE or memory[-1] - memory[1] < GROWTH
