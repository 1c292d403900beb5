"""What workers of Ray write is what one process writes, whatever dies."""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest

import jenga
from jenga.errors import ConfigError, DataError, SetupError
from jenga.inference import distributed
from jenga.inference.distributed import MANIFEST, TRIES, Scored, score
from jenga.inference.loading import load
from jenga.inference.predictor import Predictor
from jenga.kernels.json_lines import json_lines

Rows = list[dict[str, Any]]
NSL = Path(__file__).parents[2].parent / "shared" / "data" / "nsl-kdd"


class _Data:
    """What `score` asks of Ray Data, done here."""

    def __init__(self, items: Rows) -> None:
        self._items = items

    def map_batches(self, kind: Any, *, fn_constructor_args: list[Any], **_: Any) -> "_Data":
        worker = kind(*fn_constructor_args)
        made = []
        for item in self._items:
            found = worker({name: np.array([value]) for name, value in item.items()})
            made.append({name: column[0] for name, column in found.items()})
        return _Data(made)

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        return iter(self._items)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score without Ray, in parts of seven rows."""
    data = SimpleNamespace(from_items=lambda items, **_: _Data(items), ActorPoolStrategy=lambda size: size)

    @contextmanager
    def cluster(address: str | None) -> Iterator[Any]:
        yield SimpleNamespace(data=data)

    monkeypatch.setattr(distributed, "_cluster", cluster)
    for module in ("predictor", "distributed"):
        monkeypatch.setattr(f"jenga.inference.{module}.PIECE_ROWS", 7)


@pytest.fixture
def file(rows: Rows, tmp_path: Path) -> Path:
    lines = [json.dumps({"id": f"r{at}", "text": row["text"]}) for at, row in enumerate(rows[:40])]
    lines[3], lines[10], lines[11] = '{"broken', '{"text": ""}', ""
    lines[14:21] = ['{"other": 1}'] * 7  # a part without the column
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    return tmp_path / "rows.jsonl"


def one_process(predictor: Predictor, file: Path) -> bytes:
    written: bytes = json_lines(list(predictor.stream(predictor.read(str(file)))))
    return written


def content(found: Scored) -> bytes:
    return b"".join(path.read_bytes() for path in found.parts)


@pytest.mark.usefixtures("here")
def test_parts_in_their_order_are_what_one_process_writes(
    predictor: Predictor, run: Path, file: Path, tmp_path: Path
) -> None:
    found = score(str(file), run, tmp_path / "out", rows_per_part=7, device="cpu")
    assert content(found) == one_process(predictor, file)
    assert (len(found.parts), found.kept, found.rows, found.unusable, found.failed) == (6, 0, 39, 9, 9)
    twice = score([str(file), str(file)], run, tmp_path / "twice", rows_per_part=14, device="cpu")
    assert content(twice) == 2 * content(found)


@pytest.mark.usefixtures("here")
def test_parquet_is_scored_in_parts_as_one_process_scores_it(
    predictor: Predictor, run: Path, rows: Rows, tmp_path: Path
) -> None:
    file = tmp_path / "rows.parquet"
    texts = [{"id": f"r{at}", "text": row["text"] if at % 9 else None} for at, row in enumerate(rows[:40])]
    pandas.DataFrame(texts).to_parquet(file, row_group_size=16)
    found = score(str(file), run, tmp_path / "out", rows_per_part=14, device="cpu")
    assert (content(found), found.unusable) == (one_process(predictor, file), 5)


@pytest.mark.usefixtures("here")
def test_what_is_whole_is_not_scored_again(run: Path, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = score(str(file), run, folder, rows_per_part=7, device="cpu")
    wanted = content(first)
    first.parts[1].write_text("harmed")
    (folder / "part-000002.json").unlink()
    kept = [first.parts[at].stat().st_ino for at in (0, 3, 4, 5)]
    found = score(str(file), run, folder, rows_per_part=7, device="cpu")
    assert (found.kept, content(found)) == (4, wanted)
    assert [found.parts[at].stat().st_ino for at in (0, 3, 4, 5)] == kept
    assert score(str(file), run, folder, rows_per_part=7, device="cpu").kept == 6


@pytest.mark.usefixtures("here")
def test_a_folder_of_other_answers_is_refused(run: Path, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    score(str(file), run, folder, rows_per_part=7, device="cpu")
    with pytest.raises(ConfigError, match=f"with another probabilities .*{MANIFEST}.*; name a new folder"):
        score(str(file), run, folder, rows_per_part=7, device="cpu", probabilities=True)
    file.write_text(file.read_text().replace("r0", "rX"))
    with pytest.raises(ConfigError, match="with another files"):
        score(str(file), run, folder, rows_per_part=7, device="cpu")
    with pytest.raises(ConfigError, match="holds other files"):
        score(str(file), run, tmp_path, rows_per_part=7, device="cpu")
    with pytest.raises(ConfigError, match="rows_per_part: got 8; allowed: multiples of 7"):
        score(str(file), run, folder, rows_per_part=8)


@pytest.mark.usefixtures("here")
def test_rows_at_which_workers_keep_dying_are_an_error_until_it_is_tried_again(
    run: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    scored = distributed._scored

    def after_deaths(*arguments: Any, **options: Any) -> Any:
        (folder / "part-000002.jsonl.tries").write_text("x" * TRIES)
        return scored(*arguments, **options)

    monkeypatch.setattr(distributed, "_scored", after_deaths)
    with pytest.raises(SetupError, match=rf"from row 16 on: {TRIES} workers died at these rows"):
        score(str(file), run, folder, rows_per_part=7, device="cpu")
    monkeypatch.setattr(distributed, "_scored", scored)
    assert score(str(file), run, folder, rows_per_part=7, device="cpu").kept == 5
    assert not list(folder.glob("*.tries"))


@pytest.mark.usefixtures("here")
def test_what_cannot_be_scored_in_parts_is_told(run: Path, event_run: Path, file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="what came before a row"):
        score(str(file), event_run, tmp_path / "out", rows_per_part=7)
    file.write_text('{"other": 1}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl: text: the rows have no column"):
        score(str(file), run, tmp_path / "other", rows_per_part=7)
    file.write_text('{"text": ""}\n')
    with pytest.raises(DataError, match="none of the 1 rows can be used"):
        score(str(file), run, tmp_path / "blank", rows_per_part=7)
    file.write_text("\n")
    with pytest.raises(DataError, match="there are no rows"):
        score(str(file), run, tmp_path / "empty", rows_per_part=7)


def test_ray_that_is_not_there_is_told_with_what_to_install(
    run: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SetupError, match=r"pip install 'jenga\[ray\]'"):
        score(str(file), run, tmp_path / "out")


RAY = """
import os, signal, subprocess, sys, threading, time
import ray
from jenga.inference.distributed import score
run, rows, folder, scratch = sys.argv[1:]
ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False,
         object_store_memory=80 << 20, _temp_dir=scratch)
killed = []

def kill():
    while not killed:
        time.sleep(0.1)
        if any(name.endswith(".json") and name.startswith("part") for name in os.listdir(folder)):
            workers = [each for each in os.listdir("/proc") if each.isdigit() and is_worker(each)]
            killed.extend(workers[:1])
            [os.kill(int(each), signal.SIGKILL) for each in workers[:1]]

def is_worker(process):
    try:
        name = open(f"/proc/{process}/cmdline", "rb").read()
        return name.startswith(b"ray::") and b"ScoreParts" in name and is_ours(process)
    except OSError:
        return False

def is_ours(process):
    while process not in ("0", "1"):
        if process == str(os.getpid()):
            return True
        process = open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[1]
    return False

os.makedirs(folder, exist_ok=True)
threading.Thread(target=kill, daemon=True).start()
found = score(rows, run, folder, concurrency=2, rows_per_part=4096, device="cpu")
assert score(rows, run, folder, concurrency=2, rows_per_part=4096, device="cpu").kept == len(found.parts)
print(len(killed), found.rows, found.unusable, len(found.parts))
"""


@pytest.mark.slow
@pytest.mark.skipif(not NSL.is_dir(), reason="the real rows (../shared/data) are not beside this checkout")
def test_two_workers_of_ray_write_what_one_process_does_though_one_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    lines = gzip.decompress((NSL / "KDDTrain+.jsonl.gz").read_bytes()).splitlines()
    (tmp_path / "train.jsonl").write_bytes(b"\n".join(lines[-2000:]))
    lines[5000], lines[9000] = b'{"broken', b'{"other": 1}'
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n".join(lines[:20_000]))
    run = jenga.train(
        {
            "model": {"base_model": "security_mlp_v1", "backbone_type": "sequential",
                      "refinery": {"preset": "nsl_kdd"}},
            "tasks": [{"name": "attack", "type": "anomaly_detection", "data_path": str(tmp_path / "train.jsonl")}],
            "training": {"max_steps": 20, "batch_size": 128}, "tracking": {"enabled": False},
            "output_dir": str(tmp_path / "runs"),
        }
    ).run  # fmt: skip
    # Nothing leaves this machine, and nothing is asked of it.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_DEDUP_LOGS": "0",
             "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_NODE_IP_ADDRESS": "127.0.0.1"}  # fmt: skip
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="ray") as scratch:
        done = subprocess.run(
            [sys.executable, "-P", "-c", RAY, str(run), str(file), str(tmp_path / "out"), scratch],
            # Ray's workers import from the folder of their driver, and the clone's jenga/ has no compiled kernels.
            cwd=tmp_path, env={**os.environ, **quiet}, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-4:] == ["1", "20000", "2", "5"]
    parts = sorted((tmp_path / "out").glob("part-*.jsonl"))
    assert b"".join(path.read_bytes() for path in parts) == one_process(load(run, device="cpu"), file)
