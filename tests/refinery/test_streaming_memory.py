"""Memory of a stream does not grow with the file: measured in processes of their own, on files made here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import seeds

from jenga.refinery import SecurityRefinery

pytestmark = [
    pytest.mark.skipif(
        "RssAnon" not in (Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""),
        reason="the kernel tells no anonymous memory of a process",
    ),
]

MIB = 1 << 20
BUDGET = 150 * MIB

SCHEMA = {
    "fields": [
        {"path": "ts", "kind": "timestamp"},
        {"path": "bytes", "kind": "numeric", "log1p": True},
        {"path": "proto", "kind": "categorical"},
        {"path": "address", "kind": "ip"},
        {"path": "query", "kind": "text", "n_buckets": 8},
    ]
}

WATCH = """
import json, sys, threading, time
import jenga.refinery.estimator, jenga.refinery.engine, jenga.refinery.output, jenga.cli.main

def anonymous():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

peak = 0
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.002)

before = anonymous()
threading.Thread(target=watch, daemon=True).start()
found = []
"""
"""Sets `before`, the anonymous memory of the imported package, and keeps `peak` up to date."""

FIT_AND_STREAM = """
refinery = jenga.refinery.SecurityRefinery(schema=json.loads(sys.argv[1]), n_threads=2)
for path in sys.argv[2:]:
    refinery.fit(path)
    n_rows = sum(len(part.features) for part in refinery.stream(path))
    found.append([n_rows, peak - before])
print(json.dumps(found))
"""

COMMAND = """
state, *paths = sys.argv[1:]
for path in paths:
    arguments = ["refine", "transform", path, "--state", state, "-o", path + ".npy"]
    jenga.cli.main.jenga.main(arguments, standalone_mode=False)
    found.append([0, peak - before])
print(json.dumps(found))
"""


def block_of_rows() -> tuple[bytes, int]:
    """Return about 8 MiB of rows of some 600 bytes, and how many there are."""
    rng = np.random.default_rng(seeds.derived(0))
    rows = [
        {
            "ts": 1.6e9 + index,
            "bytes": int(rng.integers(1 << 30)),
            "proto": ("tcp", "udp", "icmp")[index % 3],
            "address": f"10.{index % 200}.{index % 99}.7",
            "query": f"host-{rng.integers(1 << 40):x}.example.org",
            "unread": {"payload": "x" * 440, "flags": [index, None, True]},
        }
        for index in range(14_000)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode(), len(rows)


def write_files(folder: Path, *sizes: int) -> tuple[list[Path], list[int]]:
    """Write files of about these sizes by repetition; return them and their numbers of rows."""
    block, n_rows = block_of_rows()
    paths, counts = [], []
    for size in sizes:
        repeats = -(-size // len(block))
        paths.append(folder / f"{size // MIB}.jsonl")
        with paths[-1].open("wb") as file:
            for _ in range(repeats):
                file.write(block)
        counts.append(repeats * n_rows)
    return paths, counts


def state_of(folder: Path) -> Path:
    state = folder / "state.safetensors"
    SecurityRefinery(schema=SCHEMA, n_threads=1).fit(block_of_rows()[0]).save(state)
    return state


def measured(script: str, *arguments: str | Path) -> list[list[int]]:
    """Run in a new process; per file, its number of rows and the peak so far above the imported package."""
    command = [sys.executable, "-P", "-c", WATCH + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_four_times_the_file_takes_no_more_memory_to_fit_and_to_stream(tmp_path: Path) -> None:
    """32 MiB, then 128 MiB in the same process."""
    paths, counts = write_files(tmp_path, 32 * MIB, 128 * MIB)
    try:
        (small, first_peak), (large, second_peak) = measured(FIT_AND_STREAM, json.dumps(SCHEMA), *paths)
    finally:
        for path in paths:
            path.unlink()
    assert [small, large] == counts
    assert second_peak < BUDGET
    assert second_peak - first_peak < 24 * MIB


@pytest.mark.slow
def test_the_command_streams_two_gigabytes_of_rows_in_constant_memory(tmp_path: Path) -> None:
    paths, counts = write_files(tmp_path, 2048 * MIB)
    features = paths[0].with_name(paths[0].name + ".npy")
    try:
        ((_, peak),) = measured(COMMAND, state_of(tmp_path), *paths)
        assert np.load(features, mmap_mode="r").shape[0] == counts[0]
    finally:
        paths[0].unlink()
        features.unlink(missing_ok=True)
    assert peak < BUDGET
