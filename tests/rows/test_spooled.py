"""Bytes of rows, on disk."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.rows.spooled import Spool, Spooled, spooled

LONG = bytes(range(256)) * 4
SPOOL = Spool()
kept = SPOOL.keep


def test_bytes_of_cells_and_of_data_sets_cells_come_back_as_they_were() -> None:
    contents = [LONG, b"\x00" * 70_000, LONG, LONG[1:]]
    rows = [{"id": at, "image": each, "audio": {"bytes": each, "path": "a.wav"}} for at, each in enumerate(contents)]
    found = list(spooled(rows))
    assert [row["image"].read() for row in found] == contents
    assert [row["audio"]["bytes"].read() for row in found] == contents
    assert [(row["id"], row["audio"]["path"]) for row in found] == [(at, "a.wav") for at in range(4)]
    assert rows[0]["image"] == LONG, "what was given is left alone"


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a", "n": 1},
        {"x": b"short"},
        {"x": {"bytes": b"short"}},
        {"x": {"bytes": None}},
        {"x": ["bytes"]},
        [1],
        "text",
    ],
    ids=str,
)
def test_what_holds_no_bytes_passes_through(row: Any) -> None:
    assert list(spooled([row])) == [row]


def test_it_reads_and_compares_like_its_bytes() -> None:
    one, same, other = kept(b"one"), kept(b"one"), kept(b"two")
    assert str(one) == str(b"one")
    assert one == same != other
    assert len({one, same, other}) == 2
    assert "3 bytes" in repr(one)
    assert one.digest in repr(one)
    assert pickle.loads(pickle.dumps(one)) == one


def spooled_cell(content: bytes) -> Spooled:
    ((row),) = spooled([{"image": content}])
    found: Spooled = row["image"]
    return found


def test_a_fork_reads_what_was_kept_and_keeps_its_own_elsewhere() -> None:
    before, own, late = LONG + b"before", LONG + b"the child's own", LONG + b"after"
    first = spooled_cell(before)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = first.read() + spooled_cell(own).read()
            os.write(writing, said[-20:])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    after = spooled_cell(late)
    os.close(writing)
    assert os.read(reading, 100) == own[-20:]
    os.close(reading)
    assert (first.read(), after.read()) == (before, late)


def test_threads_that_share_it_get_their_own_bytes_back() -> None:
    spool = Spool()

    def keep(at: int) -> bool:
        contents = [at.to_bytes(2, "big") * (1 + each % 50) for each in range(500)]
        return [spool.keep(each) for each in contents] and all(spool.keep(each).read() == each for each in contents)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(keep, range(8)))


def test_a_folder_that_is_not_there_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(DataError, match=r"/nowhere: .*No such file or directory.*set TMPDIR"):
        Spool()


def test_a_full_disk_is_told_with_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spool = Spool()

    def full(*given: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DataError, match=rf"{tmp_path}: no room .* \(No space left on device\).* set TMPDIR"):
        spool.keep(b"one")


def test_the_file_has_no_name_that_could_stay_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spool = Spool()
    assert spool.keep(b"one").read() == b"one"
    assert list(tmp_path.iterdir()) == []
