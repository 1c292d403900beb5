"""The presets on whole real files: no row is lost, and neither threads nor chunks show in a byte of the result."""

from __future__ import annotations

import gzip
import hashlib
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from jenga.refinery import SecurityRefinery

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = [
    pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the real rows (../shared/data) are not beside this checkout"),
    # No file holds every field of its preset, which the refinery tells.
    pytest.mark.filterwarnings("ignore:none of .* rows has the:UserWarning"),
]

FILES = {
    "nsl_kdd": ("nsl-kdd/KDDTrain+.jsonl.gz", 125_973),
    "zeek": ("zeek/zeek.jsonl.gz", 143_752),
    "sysmon": ("sysmon/metasploit_sharpdump_lsass_memory_dump.jsonl.gz", 59_707),
}
WAYS = [(1, 8 << 20), (2, 8 << 20), (4, 8 << 20), (2, 1 << 30), (4, 1 << 20), (1, 64 << 10), (4, 64 << 10)]
"""Threads and chunk_bytes. The smallest chunks hold some 30 to 160 rows, the largest the whole file."""


@cache
def content(preset: str) -> bytes:
    return gzip.decompress((REAL_DATA / FILES[preset][0]).read_bytes())


@cache
def fitted(preset: str) -> SecurityRefinery:
    refinery = SecurityRefinery(preset=preset, n_threads=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "none of .* rows has the", UserWarning)
        return refinery.fit(content(preset))


def digest(refinery: SecurityRefinery, source: bytes | str) -> str:
    """Stream, which holds one chunk at a time, and hash features, states and numbers of rows."""
    hashes = [hashlib.blake2b() for _ in range(3)]
    for part in refinery.stream(source):
        for each, array in zip(hashes, (part.features, part.states, part.numbers), strict=True):
            each.update(np.ascontiguousarray(array))
    return "".join(each.hexdigest() for each in hashes)


@pytest.mark.parametrize("preset", FILES)
def test_every_row_of_the_file_comes_out(preset: str) -> None:
    path, n_rows = FILES[preset]
    refined = fitted(preset).refine(str(REAL_DATA / path))
    assert refined.numbers.tolist() == list(range(1, n_rows + 1))
    assert refined.features.shape == (n_rows, fitted(preset).n_features_out_)
    assert not refined.quarantine
    assert refined.n_blank == 0
    assert np.isfinite(refined.features).all()


@pytest.mark.slow
@pytest.mark.parametrize("preset", FILES)
def test_threads_and_chunks_change_no_byte(preset: str) -> None:
    refinery = fitted(preset)
    made = {}
    for n_threads, chunk_bytes in WAYS:
        refinery.set_params(n_threads=n_threads, chunk_bytes=chunk_bytes)
        made[n_threads, chunk_bytes] = digest(refinery, content(preset))
    made["file"] = digest(refinery, str(REAL_DATA / FILES[preset][0]))
    assert len(set(made.values())) == 1, made


@pytest.mark.slow
@pytest.mark.parametrize("preset", FILES)
def test_threads_and_chunks_change_no_byte_of_the_state(preset: str, tmp_path: Path) -> None:
    states = set()
    for n_threads, chunk_bytes in ((1, 8 << 20), (4, 1 << 20), (2, 64 << 10)):
        refinery = SecurityRefinery(preset=preset, n_threads=n_threads, chunk_bytes=chunk_bytes)
        refinery.fit(content(preset)).save(tmp_path / "state.safetensors")
        states.add((tmp_path / "state.safetensors").read_bytes())
    assert len(states) == 1
