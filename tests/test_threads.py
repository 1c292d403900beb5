"""How long OpenMP's waiting threads hold on to their core."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jenga import threads


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process in which nobody set anything and torch is not loaded."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    # Not sys.modules itself: whoever imported torch again meanwhile would have two of it.
    monkeypatch.setattr(threads, "sys", SimpleNamespace(modules={}))
    monkeypatch.setattr(threads, "_in_force", threads._in_force)
    # Takes back what the test sets.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return monkeypatch


def test_where_nobody_says_how_threads_wait_they_wait_briefly(fresh: pytest.MonkeyPatch) -> None:
    fresh.setitem(os.environ, "KMP_BLOCKTIME", "0")  # of another runtime
    threads.limit_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    assert threads.spinning() == "GOMP_SPINCOUNT=1000, set by jenga"


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "infinite"), ("OMP_WAIT_POLICY", "active")])
def test_what_the_user_set_stays(fresh: pytest.MonkeyPatch, name: str, value: str) -> None:
    fresh.setitem(os.environ, name, value)
    before = dict(os.environ)
    threads.limit_spinning()
    assert dict(os.environ) == before
    assert threads.spinning() == f"{name}={value}, from the environment"


def test_once_torch_is_loaded_nothing_is_set_and_that_is_told(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(threads, "sys", SimpleNamespace(modules={"torch": None}))
    threads.limit_spinning()
    assert "GOMP_SPINCOUNT" not in os.environ
    assert threads.spinning() == "not set: torch was loaded before jenga; set GOMP_SPINCOUNT=1000 yourself"


@pytest.mark.parametrize("module", ["jenga", "jenga.cli.main"])
def test_the_library_and_the_commands_set_it_before_torch_is_there(module: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    # In the environment of the process itself, where a library in C reads it, not only in os.environ.
    code = (
        f"import sys, {module}, ctypes; read = ctypes.CDLL(None).getenv; read.restype = ctypes.c_char_p\n"
        "print(read(b'GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["b'1000'", "False"], done.stderr
