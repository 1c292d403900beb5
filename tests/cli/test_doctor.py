import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import Result

from jenga.threads import spinning

Invoke = Callable[..., Result]


def test_everything_that_results_depend_on_is_told(invoke: Invoke, own_cache: Path) -> None:
    tokens = own_cache / "jenga" / "tokens"
    tokens.mkdir(parents=True)
    (tokens / "a.safetensors").write_bytes(b"x" * 10)
    found = json.loads(invoke("doctor", "--json").stdout)
    assert found["versions"]["jenga"] == version("jenga")
    assert found["devices"][0]["name"] == "cpu"
    assert found["threads"]["torch threads"] >= 1
    assert found["threads"]["OpenMP's waiting threads"] == spinning()
    for by_device in found["ops"].values():
        for backend in by_device.values():
            assert backend["implementation"] in {"native", "reference", "none"}
            assert backend["reason"]
    assert "multi_head_loss" in found["ops"]
    assert found["caches"]["tokens"]["folder"] == str(tokens)
    assert (found["caches"]["tokens"]["files"], found["caches"]["tokens"]["bytes"]) == (1, 10)
    assert found["caches"]["models"]["free_bytes"] > 0


def test_table_names_ops_with_reasons_and_set_variables(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    text = invoke("doctor").stdout
    assert "multi_head_loss on cpu" in text
    assert "OMP_NUM_THREADS" in text
    assert "tokens cache" in text


def test_cache_of_links_is_counted_once(tmp_path: Path) -> None:
    from jenga.cli.doctor import _cache

    (tmp_path / "blob").write_bytes(b"12345")
    (tmp_path / "snapshot").symlink_to(tmp_path / "blob")
    assert (_cache(tmp_path)["files"], _cache(tmp_path)["bytes"]) == (1, 5)
    assert _cache(tmp_path / "none" / "deeper")["files"] == 0
