"""`jenga watch`."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from launches import hear_signals


def test_a_folder_that_is_not_there_and_a_port_that_is_taken_are_told(
    invoke: Callable[..., Result], tmp_path: Path
) -> None:
    assert invoke("watch", str(tmp_path / "gone"), "--port", "0").exit_code == 3
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = invoke("watch", str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert found.exit_code == 4
    assert "choose another --port" in found.stderr


@pytest.mark.slow
def test_it_answers_until_it_is_interrupted(tmp_path: Path) -> None:
    run = tmp_path / "p" / "r"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"status": "finished"}))
    command = [sys.executable, "-c", "from jenga.cli.main import main; main()", "watch", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals) as process:
        try:
            assert process.stderr is not None
            address = process.stderr.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{address}/runs", timeout=10) as answer:
                assert [each["name"] for each in json.load(answer)["runs"]] == ["p/r"]
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()  # else a failure waits for it without an end
