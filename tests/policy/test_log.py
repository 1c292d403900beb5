"""A log of alerts survives its writer, and has one at a time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import SetupError
from jenga.policy.chain import Sealer, canonical, parsed, verify
from jenga.policy.log import AlertLog, files_of, head_file, read_head

SEALER = Sealer()


def opened(path: Path, *, rotate_bytes: int = 1 << 20) -> AlertLog:
    return AlertLog(path, SEALER, rotate_bytes=rotate_bytes)


def filled(path: Path, count: int = 3, **options: Any) -> Path:
    with opened(path, **options) as log:
        for number in range(count):
            log.append({"decision": "alert", "number": number})
    return path


def decisions(path: Path) -> list[str]:
    lines = [line for file in files_of(path) for line in file.read_bytes().splitlines(keepends=True)]
    return [record["decision"] for line in lines if (record := parsed(line))]


def problems(path: Path) -> list[str]:
    return list(map(str, verify(files_of(path), SEALER, head=read_head(path)).problems))


def test_a_second_run_goes_on_behind_the_first(tmp_path: Path) -> None:
    path = filled(filled(tmp_path / "a.jsonl"), 2)
    assert problems(path) == []
    assert read_head(path) == (5, verify([path], SEALER).last)
    assert path.stat().st_mode & 0o777 == head_file(path).stat().st_mode & 0o777 == 0o600


def test_two_writers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with opened(path) as log:
        log.append({"decision": "alert"})
        with pytest.raises(SetupError, match="another process writes this log"), opened(path):
            pass
        log.append({"decision": "alert"})
    assert problems(path) == []
    filled(path, 1)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EPERM, errno.EOPNOTSUPP])
def test_a_log_that_cannot_be_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.jsonl"
    monkeypatch.setattr("fcntl.flock", refused)
    words = rf"a\.jsonl\.head: cannot be locked \({os.strerror(number)}\).*on a disk of this machine \(log\)"
    with pytest.raises(SetupError, match=words), opened(path):
        pass
    assert not path.exists()


def test_links_to_a_log_are_that_log(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "b.jsonl").symlink_to(path)
    names = [tmp_path / "b.jsonl", tmp_path / "folder" / "a.jsonl", tmp_path / "folder" / "b.jsonl"]
    with opened(path, rotate_bytes=600):
        for name in names:
            with pytest.raises(SetupError, match="another process writes this log"), opened(name):
                pass
    for name in names:
        filled(name, 3, rotate_bytes=600)
    assert problems(path) == []
    assert len(decisions(path)) == 9
    assert (tmp_path / "b.jsonl").is_symlink()


@pytest.mark.parametrize("cut", [1, 2, 40, -1])
def test_a_line_that_was_not_written_whole_is_mended_and_the_chain_goes_on(tmp_path: Path, cut: int) -> None:
    path = filled(tmp_path / "a.jsonl")
    head = head_file(path).read_bytes()
    with opened(path) as log:
        log.append({"decision": "alert", "number": 3})
    content = path.read_bytes()
    last = content.splitlines(keepends=True)[-1]
    path.write_bytes(content[: len(content) - len(last)] + last[:cut])
    head_file(path).write_bytes(head)  # as it was when the writer was killed
    assert any("cut short" in each for each in problems(path))
    filled(path, 1)
    assert problems(path) == []
    # A line that lacks its break alone is whole.
    assert decisions(path) == ["alert"] * 3 + (["alert"] if cut == -1 else ["mended"]) + ["alert"]


def test_a_log_that_ends_before_what_its_head_knows_is_not_written_on(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (lines[:2], [], [*lines[:2], lines[2][:30]]):
        path.write_bytes(b"".join(kept))
        with pytest.raises(SetupError, match="records are gone"), opened(path):
            pass


NO_NUMBER = f'{{"hash":"{"0" * 64}","seq":"1"}}'
DAMAGED = ["{", "[]", "null", "\0" * 80, "{}", '{"seq":1}', '{"hash":"x","seq":1}', NO_NUMBER]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_head_is_no_absent_one(tmp_path: Path, content: str) -> None:
    path = filled(tmp_path / "a.jsonl")
    head_file(path).write_text(content)
    with pytest.raises(ValueError, match=r"a\.jsonl\.head: "):
        read_head(path)
    with pytest.raises(SetupError, match=r"a\.jsonl\.head: .*it is damaged.*move its \.head away"), opened(path):
        pass
    assert head_file(path).read_text() == content
    head_file(path).unlink()
    filled(path, 1)
    assert problems(path) == []


def test_a_head_that_is_empty_or_not_there_says_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.jsonl")
    head_file(path).write_text("")
    assert read_head(path) is None
    head_file(path).unlink()
    assert read_head(path) is None
    filled(path, 1)


def test_a_last_record_that_was_changed_is_not_written_on(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number":7'))
    with pytest.raises(SetupError, match="the last record is not as it was written"), opened(path):
        pass
    record: dict[str, Any] = {"algorithm": "sha256", "previous": "0" * 64}  # it has no number
    path.write_bytes(canonical(record | {"hash": SEALER.hash(record)}) + b"\n")
    with pytest.raises(SetupError, match="the last record is not as it was written"), opened(path):
        pass
    other = AlertLog(filled(tmp_path / "b.jsonl"), Sealer(b"a secret of 16 b"), rotate_bytes=1 << 20)
    with pytest.raises(SetupError, match="or the secret is another one"), other:
        pass


def test_the_chain_goes_on_from_file_to_file(tmp_path: Path) -> None:
    path = filled(tmp_path / "a[0]*.jsonl", 7, rotate_bytes=600)
    assert [each.name for each in files_of(path)][:2] == ["a[0]*.jsonl.000001", "a[0]*.jsonl.000002"]
    filled(path, 4, rotate_bytes=600)
    report = verify(files_of(path), SEALER, head=read_head(path))
    assert (report.problems, report.records) == ([], 11)
    assert all(each.stat().st_size <= 600 for each in files_of(path))
    # Also where the writer was killed between the two files.
    os.rename(path, f"{path}.{len(files_of(path)):06d}")
    filled(path, 1, rotate_bytes=600)
    assert problems(path) == []
    files_of(path)[1].unlink()
    assert problems(path)


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    write = os.write
    with opened(path) as log:
        log.append({"decision": "alert"})

        def full(handle: int, data: bytes) -> int:
            if len(data) > 50:
                return write(handle, data[:50])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(SetupError, match=r"a\.jsonl: cannot be written .*free some space"):
            log.append({"decision": "alert", "words": "x" * 10})
        monkeypatch.undo()
        log.append({"decision": "alert"})
    assert problems(path) == []
    assert decisions(path) == ["alert", "alert"]


def test_a_log_in_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="make its folder first"), opened(tmp_path / "no" / "a.jsonl"):
        pass


KILLED = """
import sys
from pathlib import Path
from jenga.policy.chain import Sealer
from jenga.policy.log import AlertLog

with AlertLog(Path(sys.argv[1]), Sealer(), rotate_bytes=20_000) as log:
    print("ready", flush=True)
    while True:
        log.append({"decision": "alert", "words": "x" * 500})
        if log.seq % 7 == 0:
            log.sync()
"""


@pytest.mark.serial
def test_a_writer_killed_at_any_moment_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    counts = []
    for wait_s in (0.02, 0.05):
        writer = subprocess.Popen([sys.executable, "-P", "-c", KILLED, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(wait_s)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        filled(path, 1)
        counts.append(len(decisions(path)))
    assert problems(path) == []
    assert 1 < counts[0] < counts[1]
