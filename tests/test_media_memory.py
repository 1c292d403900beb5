"""What a run holds of a recording or a picture does not grow with its size: a place, and no content."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import seeds
import soundfile
from PIL import Image
from pyarrow import parquet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "RssAnon" not in (Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""),
        reason="the kernel tells no anonymous memory of a process",
    ),
]

MORE = 1000
MOST_A_ROW = 16 << 10
"""Bytes. A row's path, id, label and key take one or two thousand, but a peak comes and goes by some megabytes; the
content is twice as much as this, as samples, features or pixels."""

WATCH = """
import json, sys, threading, time
from jenga.run.experiment import train
import jenga.bundle, jenga.modalities

def anonymous():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

peak = 0
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.005)

threading.Thread(target=watch, daemon=True).start()
train(json.loads(sys.argv[1]), device="cpu")
print(peak)
"""


def write(kind: str, count: int, folder: Path) -> None:
    draw = np.random.default_rng(seeds.derived(kind))
    for at in range(count):
        if kind == "audio":
            soundfile.write(folder / f"{at}.wav", draw.normal(0, 0.1, 16_000).astype(np.float32), 16_000)
        else:
            Image.fromarray(draw.integers(0, 256, (104, 104, 3), dtype=np.uint8)).save(folder / f"{at}.png")


def peak(kind: str, form: str, count: int, folder: Path) -> int:
    column, ending = {"audio": ("audio", "wav"), "vision": ("image", "png")}[kind]
    rows = [{"id": str(at), column: f"{at}.{ending}", "label": "ab"[at % 2]} for at in range(count)]
    path = folder / f"{count}.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        held = [{**row, column: {"bytes": (folder / row[column]).read_bytes(), "path": None}} for row in rows]
        parquet.write_table(pyarrow.Table.from_pylist(held), path)
    config: dict[str, Any] = {
        "model": {"backbone_type": kind, "base_model": f"jenga/tiny-{kind}"},
        "tasks": [{"name": "kind", "type": "classification", "data_path": str(path)}],
        "training": {"batch_size": 8, "max_steps": 3},
        # Of the same rows in both, so that passes over them cost the same.
        "data": {"valid_fraction": 30 / count, "test_fraction": 30 / count, "workers": 0},
        "tracking": {"enabled": False}, "evaluation": {"baselines": []},
        "output_dir": str(folder / "runs"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-c", WATCH, json.dumps(config)], capture_output=True, text=True, check=False,
        # One arena: which thread's arena a block comes from is chance, and worth some megabytes.
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "XDG_CACHE_HOME": str(folder / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


# Of Parquet some megabytes are read at a time, which a file of few rows does not fill.
@pytest.mark.parametrize(("kind", "form", "few"), [("audio", "jsonl", 300), ("vision", "parquet", 1300)])
def test_a_run_holds_little_of_each_file_that_its_rows_name_or_hold(
    kind: str, form: str, few: int, tmp_path: Path
) -> None:
    write(kind, few + MORE, tmp_path)
    fewer, more = (peak(kind, form, count, tmp_path) for count in (few, few + MORE))
    assert (more - fewer) / MORE < MOST_A_ROW
