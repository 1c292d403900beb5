"""The MLflow model of an export, in Python and behind `mlflow models serve`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from saved_models import needs_own_code, own_model

import jenga
from jenga.errors import ConfigError, SetupError
from jenga.files import damage
from jenga.inference.export import export
from jenga.inference.export import mlflow as format_mlflow
from jenga.inference.predictor import Predictor

ROWS = [{"id": "a", "text": "Agent: Hello. Caller: This is Otieno."}, {"id": "b", "text": "Goodbye."}]
START_S = 120
"""How long a server may take until it answers, on a machine that does other things too."""


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("mlflow") / "new" / "model", format="mlflow")


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_the_folder_answers_like_the_run_and_holds_no_pickle(exported: Path, predictor: Predictor) -> None:
    import mlflow
    import pandas

    loaded = mlflow.pyfunc.load_model(str(exported))
    assert loaded.predict(pandas.DataFrame(ROWS)) == predictor.predict(ROWS)
    assert loaded.metadata.signature.inputs.input_names() == ["text", "id"]
    assert list(loaded.input_example.columns) == ["text", "id"]
    suffixes = {path.suffix for path in exported.rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes
    assert suffixes <= {".safetensors", ".json", ".yaml", ".txt", ""}
    assert damage(exported) is None
    assert jenga.load(exported / "data" / "best").predict(ROWS) == predictor.predict(ROWS)
    assert [path.name for path in exported.parent.iterdir()] == ["model"]


def test_the_requirements_pin_what_jenga_imports(exported: Path) -> None:
    lines = (exported / "requirements.txt").read_text().split()
    assert all(line.count("==") == 1 and "+" not in line for line in lines)
    named = {line.partition("==")[0] for line in lines}
    assert {"jenga", "torch", "transformers", "peft", "safetensors", "numpy", "mlflow"} <= named
    assert not {"soundfile", "timm", "onnx", "pytest"} & named


def test_adapters_tell_of_their_base_and_merged_ones_need_none(
    saved_model: Callable[[dict[str, Any]], Path],
    settings: Callable[..., dict[str, Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    best = saved_model(settings("mood", peft={"type": "lora"}))
    export(best, tmp_path / "apart", format="mlflow")
    assert "which has to be there too; --merge needs no base" in caplog.text
    caplog.clear()
    merged = export(best, tmp_path / "merged", format="mlflow", merge=True)
    assert "--merge" not in caplog.text
    assert not list(merged.rglob("adapter_*"))
    assert not list(tmp_path.glob(".mlflow-*"))


def test_a_model_with_code_of_its_own_is_refused(run: Path, tmp_path: Path) -> None:
    own_model(run, tmp_path / "own", needs_own_code)
    with pytest.raises(ConfigError, match=r"needs code of its own \(auto_map in config.json\), which a pyfunc never"):
        export(tmp_path / "own", tmp_path / "new", format="mlflow", trust_remote_code=True)
    assert not (tmp_path / "new").exists()


def test_without_mlflow_the_extra_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format_mlflow, "is_here", lambda module: False)
    with pytest.raises(SetupError, match=r"--format mlflow needs MLflow, which .*: pip install 'jenga\[track\]'"):
        export(run, tmp_path / "new", format="mlflow")


@contextmanager
def served(folder: Path, workdir: Path) -> Iterator[str]:
    """Yield the address at which `mlflow models serve` answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local",
               "--port", str(port)]  # fmt: skip
    # It starts a server by name, which stands beside this Python.
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (workdir / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=workdir, env={**os.environ, "PATH": place}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/ping")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            # The server is a child of the command, and both are of the session that was begun here.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert process.poll() is None, "mlflow models serve has ended"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no answer within {START_S} s")


def ask(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["predictions"]


@pytest.mark.slow
def test_mlflow_models_serve_answers_each_form_like_the_predictor(
    exported: Path, predictor: Predictor, tmp_path: Path
) -> None:
    wanted = predictor.predict(ROWS)
    columns = ["id", "text"]
    with served(exported, tmp_path) as address:
        bodies: list[dict[str, Any]] = [
            {"dataframe_split": {"columns": columns, "data": [[row[name] for name in columns] for row in ROWS]}},
            {"dataframe_records": ROWS},
            {"inputs": ROWS},
            {"inputs": {name: [row[name] for row in ROWS] for name in columns}},
        ]
        assert [ask(address, body) for body in bodies] == [wanted] * len(bodies)
        probabilities = ask(address, {"inputs": ROWS, "params": {"probabilities": True}})
        assert probabilities == predictor.predict(ROWS, probabilities=True)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(address, {"inputs": [{"words": "Hello"}]})
