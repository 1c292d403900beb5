"""A server at a real socket, and its life as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from jenga.inference.predictor import Predictor
from jenga.inference.serve.app import Service
from jenga.inference.serve.batcher import QueueLimits
from jenga.inference.serve.bodies import Limits
from jenga.inference.serve.server import Server, Settings

pytestmark = pytest.mark.serial
Serving = Callable[..., Service]


@dataclass
class Running:
    """A server in a thread of this process."""

    service: Service
    server: Server
    port: int
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.server.stop)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the thread that runs the model from its work."""
        free, begun = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            free.wait(30)

        self.loop.call_soon_threadsafe(lambda: self.service.models.first.call(work, tokens=1))
        assert begun.wait(10)
        try:
            yield
        finally:
            free.set()

    @property
    def waiting(self) -> int:
        return self.service.models.first.batcher.rows

    def figure(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.service.metrics.written().decode(), re.MULTILINE)
        return float(found.group(1)) if found else 0.0


def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


@pytest.fixture
def running(serving: Serving) -> Iterator[Callable[..., Running]]:
    """Return a function that starts a server in a thread; options are those of `Settings`."""
    with ExitStack() as stack:
        yield lambda *runs, **options: stack.enter_context(_running(serving(*runs, **options), options))


@contextmanager
def _running(service: Service, options: dict[str, Any]) -> Iterator[Running]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = Server(service, Settings((), **options))
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve([listener])

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    port = listener.getsockname()[1]
    thread.start()
    until(lambda: server.started)
    made = Running(service, server, port, loops[0], thread)
    try:
        yield made
    finally:
        if thread.is_alive():
            made.stop()
        thread.join(20)
        assert not thread.is_alive()


def request(body: bytes, path: str = "/predict") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_64_clients_at_once_get_their_own_answers(
    running: Callable[..., Running], run: Path, predictor: Predictor
) -> None:
    made = running(f"calls={run}")
    rows = [[{"id": f"c{client}", "text": f"call {client} about a bill"}] for client in range(64)]

    async def ask() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=made.url, limits=limits, timeout=60) as client:
            return await asyncio.gather(*[client.post("/predict", json={"rows": each}) for each in rows])

    with made.held():
        found: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: found.extend(asyncio.run(ask())))
        asking.start()
        until(lambda: made.waiting == 64)
    asking.join(60)
    assert [each.status_code for each in found] == [200] * 64
    for response, own in zip(found, rows, strict=True):
        [answer], [expected] = response.json()["answers"], predictor.predict(own)
        assert answer["id"] == expected["id"]
        assert answer["length"]["words"]["value"] == pytest.approx(expected["length"]["words"]["value"], rel=1e-4)
    assert made.figure('jenga_batch_rows_bucket{le="64.0",model="calls"}') == 2  # the work that held, and all others


def test_rows_of_clients_that_are_gone_are_dropped_from_the_queue(running: Callable[..., Running], run: Path) -> None:
    made = running(f"calls={run}")
    with made.held():
        clients = [socket.create_connection(("127.0.0.1", made.port)) for _ in range(20)]
        for client in clients:
            client.sendall(request(json.dumps({"rows": ["hello"] * 3}).encode()))
        until(lambda: made.waiting == 60)
        for client in clients[:-1]:
            client.close()
        until(lambda: made.waiting == 3)
    assert clients[-1].recv(1000).startswith(b"HTTP/1.1 200")
    clients[-1].close()
    assert made.figure('jenga_dropped_rows_total{model="calls"}') == 57
    until(lambda: made.figure('jenga_requests_total{code="499",path="/predict"}') == 19)


def test_a_full_queue_answers_429_with_when_to_come_again(running: Callable[..., Running], run: Path) -> None:
    made = running(f"calls={run}", queue=QueueLimits(rows=4))
    with made.held():
        waits = socket.create_connection(("127.0.0.1", made.port))
        waits.sendall(request(b'{"rows": ["a", "b", "c", "d"]}'))
        until(lambda: made.waiting == 4)
        refused = httpx.post(f"{made.url}/predict", json={"rows": ["e"]})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "4 rows wait already" in refused.json()["error"]["what"]
    assert waits.recv(1000).startswith(b"HTTP/1.1 200")
    waits.close()


def test_an_answer_that_takes_too_long_is_504_and_its_rows_are_dropped(
    running: Callable[..., Running], run: Path
) -> None:
    made = running(f"calls={run}", limits=Limits(timeout_s=0.3))
    with made.held():
        found = httpx.post(f"{made.url}/predict", json={"rows": ["a", "b"]})
        assert found.status_code == 504
        until(lambda: made.waiting == 0)


def test_a_client_that_sends_slowly_is_refused_and_keeps_nobody_waiting(
    running: Callable[..., Running], run: Path
) -> None:
    made = running(f"calls={run}", limits=Limits(timeout_s=1.0))
    slow = socket.create_connection(("127.0.0.1", made.port))
    slow.sendall(request(b'{"rows": ["hello"]}')[:-10])
    assert httpx.post(f"{made.url}/predict", json={"rows": ["hello"]}).status_code == 200
    slow.settimeout(10)
    assert slow.recv(1000).startswith(b"HTTP/1.1 408")
    slow.close()


def test_lines_are_answered_while_others_still_come(running: Callable[..., Running], run: Path) -> None:
    made = running(f"calls={run}")
    client = socket.create_connection(("127.0.0.1", made.port))
    client.settimeout(10)
    head = (
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    client.sendall(head.encode())
    file = client.makefile("rb")
    for at in range(3):
        line = b'{"id": "%d", "text": "hi"}\n' % at
        client.sendall(b"%x\r\n%s\r\n" % (len(line), line))
        while b'{"id": "%d"' % at not in (got := file.readline()):
            assert got
    client.sendall(b"0\r\n\r\n")
    assert file.read(2) is not None
    client.close()


def test_a_client_that_reads_nothing_is_waited_for_keeps_nobody_waiting_and_is_given_up(
    running: Callable[..., Running], run: Path
) -> None:
    made = running(f"calls={run}", limits=Limits(timeout_s=2.0))
    deaf = socket.create_connection(("127.0.0.1", made.port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    head = (
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    deaf.sendall(head.encode())
    deaf.settimeout(1.0)
    # Refused at once, and each answer is longer than its line: what is not read piles up soon.
    lines = b"[" + b"1" * 300 + b"]\n"
    chunk = b"%x\r\n%s\r\n" % (len(lines) * 100, lines * 100)
    sent = 0
    with contextlib.suppress(OSError):  # the buffers are full, or the connection has been ended
        while sent < 200e6:
            deaf.sendall(chunk)
            sent += len(chunk)
    assert sent < 200e6
    assert httpx.post(f"{made.url}/predict", json={"rows": ["hello"]}).status_code == 200
    until(lambda: not made.figure("jenga_requests_under_way"))
    deaf.close()


def test_what_is_under_way_is_answered_and_what_comes_is_refused_as_the_server_stops(
    running: Callable[..., Running], run: Path
) -> None:
    made = running(f"calls={run}")
    with made.held():
        under_way = socket.create_connection(("127.0.0.1", made.port))
        under_way.sendall(request(b'{"rows": ["hello"]}'))
        until(lambda: made.waiting == 1)
        made.stop()
        until(lambda: made.service.gate.stops)
        refused = httpx.post(f"{made.url}/predict", json={"rows": ["hello"]})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.headers["connection"] == "close"
        assert httpx.get(f"{made.url}/ready").status_code == 503
        assert httpx.get(f"{made.url}/health").status_code == 200
    assert under_way.recv(1000).startswith(b"HTTP/1.1 200")
    under_way.close()
    made.thread.join(10)
    assert not made.thread.is_alive()


def test_the_second_word_to_stop_ends_it_at_once(running: Callable[..., Running], run: Path) -> None:
    made = running(f"calls={run}")
    with made.held():
        waits = socket.create_connection(("127.0.0.1", made.port))
        waits.sendall(request(b'{"rows": ["hello"]}'))
        until(lambda: made.waiting == 1)
        made.stop()
        made.stop()
        made.thread.join(10)
        assert not made.thread.is_alive()
    waits.close()


def test_requests_under_way_keep_their_model_and_the_next_ones_have_the_new(
    running: Callable[..., Running], run: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(run / "best", runs / "2026-01-01" / "best")
    made = running(f"calls={runs}", watch_s=0.05)
    old = made.service.models.first
    with made.held():
        under_way = socket.create_connection(("127.0.0.1", made.port))
        under_way.sendall(request(b'{"rows": ["hello"]}'))
        until(lambda: made.waiting == 1)
        _retold(shutil.copytree(run / "best", tmp_path / "staged" / "best"))
        os.rename(tmp_path / "staged", runs / "2026-01-02")
        until(lambda: made.service.models.first is not old)
        assert httpx.post(f"{made.url}/predict", json={"rows": ["hello"]}).status_code == 200
        assert old.batcher.rows == 1
    assert under_way.recv(1000).startswith(b"HTTP/1.1 200")
    under_way.close()
    assert made.service.models.first.folder == runs / "2026-01-02" / "best"


def test_a_stream_and_a_body_that_began_before_a_new_run_end_with_the_old_one(
    running: Callable[..., Running], run: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(run / "best", runs / "1" / "best")
    made = running(f"calls={runs}", watch_s=0.05)
    old = made.service.models.first
    stream, slow = (socket.create_connection(("127.0.0.1", made.port)) for _ in range(2))
    body = request(b'{"rows": ["hello"]}')
    slow.sendall(body[:-5])
    head = (
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    stream.sendall(head.encode())
    stream.settimeout(10)
    file = stream.makefile("rb")

    def answered(at: int) -> None:
        line = b'{"id": "r%d", "text": "hi"}\n' % at
        stream.sendall(b"%x\r\n%s\r\n" % (len(line), line))
        while b'{"id": "r%d", "QA"' % at not in (got := file.readline()):
            assert got

    answered(1)
    _retold(shutil.copytree(run / "best", tmp_path / "staged" / "best"))
    os.rename(tmp_path / "staged", runs / "2")
    until(lambda: made.service.models.first is not old)
    answered(2)
    slow.sendall(body[-5:])
    assert slow.recv(1000).startswith(b"HTTP/1.1 200")
    assert old.batcher.open
    stream.sendall(b"0\r\n\r\n")
    until(lambda: not old.batcher.open)
    for each in (file, stream, slow):
        each.close()


def _retold(model: Path) -> None:
    """Write the manifest of a model anew, so that it is another one that answers alike."""
    from jenga.files import MANIFEST

    content = json.loads((model / MANIFEST).read_text())
    (model / MANIFEST).write_text(json.dumps(content, indent=7))


# --------------------------------------------------------------------------------------------------------- a process


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `jenga serve` and yield it with its address, once it answers."""
    command = [sys.executable, "-P", "-c", "from jenga.cli.main import main; main()", "serve", *arguments]
    done = subprocess.Popen(
        [*command, "--port", "0", "--device", "cpu"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.stderr is not None
    try:
        url = done.stderr.readline().strip()
        assert url.startswith("http://"), url
        until(lambda: done.poll() is not None or _answers(url), 60)
        yield done, url
    finally:
        done.kill()
        done.wait()
        done.stderr.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_sigterm_ends_the_process_with_0_after_what_is_under_way(run: Path) -> None:
    with process(str(run), JENGA_TOKEN="a-secret") as (server, url):
        headers = {"Authorization": "Bearer a-secret"}
        assert httpx.post(f"{url}/predict", json={"rows": ["hi"]}).status_code == 401
        rows = ["a call about a bill " * 20] * 1500
        found: list[httpx.Response] = []
        body = {"rows": rows}
        ask = threading.Thread(
            target=lambda: found.append(httpx.post(f"{url}/predict", json=body, headers=headers, timeout=60))
        )
        ask.start()
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        ask.join(60)
        assert found[0].status_code == 200
        assert len(found[0].json()["answers"]) == 1500
        assert server.wait(20) == 0
        assert server.stderr is not None
        assert "a-secret" not in server.stderr.read()


@pytest.mark.slow
def test_sighup_takes_a_newer_run_and_a_broken_one_keeps_the_old(run: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(run / "best", runs / "1" / "best")
    with process(f"calls={runs}") as (server, url):
        known = httpx.get(f"{url}/models").json()["models"][0]["model"]
        broken = shutil.copytree(run / "best", tmp_path / "staged" / "best")
        _retold(broken)
        (broken / "heads.safetensors").write_bytes(b"no weights")
        os.rename(tmp_path / "staged", runs / "2")
        server.send_signal(signal.SIGHUP)
        assert server.stderr is not None
        while "the new run is not served" not in (line := server.stderr.readline()):
            assert line
        assert "heads.safetensors" in line
        assert httpx.get(f"{url}/models").json()["models"][0]["model"] == known
        _retold(shutil.copytree(run / "best", tmp_path / "staged" / "best"))
        os.rename(tmp_path / "staged", runs / "3")
        server.send_signal(signal.SIGHUP)
        until(lambda: httpx.get(f"{url}/models").json()["models"][0]["model"] != known, 30)
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0


@pytest.mark.slow
def test_memory_stays_flat_while_clients_come_and_go(run: Path) -> None:
    def resident(process_id: int) -> int:
        pages = Path(f"/proc/{process_id}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    with process(str(run)) as (server, url):
        port = int(url.rpartition(":")[2])

        def rush(times: int) -> None:
            with httpx.Client(base_url=url) as client:
                for _ in range(times):
                    client.post("/predict", json={"rows": ["a call about a bill"] * 8})
                    gone = socket.create_connection(("127.0.0.1", port))
                    gone.sendall(request(json.dumps({"rows": ["hello " * 50] * 20}).encode()))
                    gone.close()

        rush(100)
        before = resident(server.pid)
        rush(400)
        # The rows of those that are gone are 2.4 MB of text alone; a request holds far more than its text.
        assert resident(server.pid) - before < 10e6
