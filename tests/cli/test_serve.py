"""`jenga serve`, as far as it is no server yet; that is tested in tests/inference/serve."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result

from jenga.inference.serve import server

Invoke = Callable[..., Result]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[server.Settings]:
    """What the command would serve, instead of serving it."""
    found: list[server.Settings] = []

    def serve(settings: server.Settings, listener: socket.socket) -> None:
        found.append(settings)
        listener.close()

    monkeypatch.setattr(server, "serve", serve)
    return found


def test_options_become_settings(invoke: Invoke, asked: list[server.Settings]) -> None:
    result = invoke(
        "serve", "a=x", "y", "--port", 0, "--max-batch-tokens", 99, "--max-wait-ms", 7, "--max-queue", 5,
        "--max-rows", 3, "--max-body-mb", 0.5, "--timeout", 9, "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    [settings] = asked
    assert list(settings.runs) == ["a=x", "y"]
    assert (settings.queue.batch_tokens, settings.queue.wait_s, settings.queue.rows) == (99, 0.007, 5)
    assert (settings.limits.body_bytes, settings.limits.rows, settings.limits.timeout_s) == (500_000, 3, 9.0)
    assert (settings.loading.device, settings.token, settings.parent) == ("cpu", None, None)
    assert result.stderr.startswith("http://127.0.0.1:")


def test_the_token_comes_from_the_environment_and_is_shown_nowhere(
    invoke: Invoke, asked: list[server.Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JENGA_TOKEN", "a-secret")
    result = invoke("serve", "x", "--port", 0, "--host", "0.0.0.0")
    assert asked[0].token == "a-secret"
    assert "a-secret" not in result.output + repr(asked[0])
    assert "everybody" not in result.stderr
    monkeypatch.delenv("JENGA_TOKEN")
    assert "everybody who reaches 0.0.0.0" in invoke("serve", "x", "--port", 0, "--host", "0.0.0.0").stderr
    assert "a-secret" not in invoke("serve", "--help").stdout


def test_a_blank_token_is_a_mistake(invoke: Invoke, asked: list[server.Settings]) -> None:
    result = invoke("serve", "x", "--port", 0, "--token", " ")
    assert result.exit_code == 2
    assert not asked


def test_a_port_that_is_taken_is_told_with_a_way_out(invoke: Invoke, asked: list[server.Settings]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = invoke("serve", "x", "--port", taken.getsockname()[1])
    assert result.exit_code == 4
    assert "cannot listen at 127.0.0.1" in result.stderr
    assert "--port" in result.stderr
    assert not asked


def test_what_is_not_installed_is_told_with_the_command_that_installs_it(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "fastapi" else find(name, *more)
    )
    result = invoke("serve", "x")
    assert result.exit_code == 4
    assert "needs FastAPI" in result.stderr
    assert "pip install 'jenga[serve]'" in result.stderr


def test_a_run_that_is_none_ends_the_command_with_the_reason(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("serve", tmp_path / "nothing", "--port", 0)
    assert result.exit_code == 4
    assert "no such folder" in result.stderr


@pytest.mark.slow
@pytest.mark.serial
def test_several_processes_answer_at_one_address_and_count_together(run: Path) -> None:
    command = [sys.executable, "-P", "-c", "from jenga.cli.main import main; main()", "serve", str(run)]
    made = subprocess.Popen(
        [*command, "--port", "0", "--device", "cpu", "--workers", "2"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert made.stderr is not None
    try:
        url = made.stderr.readline().strip()
        _until(lambda: httpx.get(f"{url}/ready").status_code == 200)
        for _ in range(20):
            assert httpx.post(f"{url}/predict", json={"rows": ["we are good"]}).status_code == 200
        figures = httpx.get(f"{url}/metrics").text
        assert 'jenga_requests_total{code="200",path="/predict"} 20.0' in figures
        made.send_signal(signal.SIGTERM)
        assert made.wait(30) == 0
    finally:
        made.kill()
        made.wait()
        made.stderr.close()


def _until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < end
        time.sleep(0.1)
