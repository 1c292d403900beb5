"""Digests of files that are read again only where they have changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

import jenga.digests
from jenga.digests import KnownDigests
from jenga.files import atomic_folder, damage


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files that were read for their digest."""
    names: list[str] = []
    real = jenga.digests.sha256_of
    monkeypatch.setattr(jenga.digests, "sha256_of", lambda path: (names.append(path.name), real(path))[1])
    return names


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jenga.digests, "_SMALL_BYTES", 0)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.txt"
    path.write_text("abc")
    return path


def known(tmp_path: Path) -> KnownDigests:
    return KnownDigests(tmp_path / "cache" / "digests.json")


def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is written now look as if it had been written some time ago."""
    monkeypatch.setattr(jenga.digests, "_SETTLED_NS", -1_000_000_000)


def test_a_file_is_read_once_until_it_changes(
    tmp_path: Path, rows: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago(monkeypatch)
    for _ in range(3):
        digests = known(tmp_path)
        assert digests.of(rows) == hashlib.sha256(b"abc").hexdigest()
        digests.save()
    assert read == ["rows.txt"]
    stamp = rows.stat()
    rows.write_text("abd")
    os.utime(rows, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # of the same size, and as old by its own word
    assert known(tmp_path).of(rows) == hashlib.sha256(b"abd").hexdigest()


def test_a_file_that_was_written_just_now_is_read_again(tmp_path: Path, rows: Path, read: list[str]) -> None:
    digests = known(tmp_path)
    for _ in range(2):
        digests.of(rows)
    assert read == ["rows.txt"] * 2


def test_the_digests_of_a_folder_are_taken_from_its_manifest(tmp_path: Path, read: list[str]) -> None:
    digests, folder = known(tmp_path), tmp_path / "kept"
    with atomic_folder(folder) as staging:
        (staging / "numbers.npy").write_bytes(b"123")
    digests.note_folder(folder)
    digests.save()
    assert damage(folder, known(tmp_path).of) is None
    assert read == []
    digests.note_folder(tmp_path / "taken away meanwhile")
    (folder / "numbers.npy").write_bytes(b"124")
    assert "has another checksum" in str(damage(folder, known(tmp_path).of))


@pytest.mark.parametrize("content", ["", "[]", '{"x": 3}', "\0", '{"%s": [1, 2, 3]}', '{"%s": []}', '{"%s": [null]}'])
def test_a_harmed_list_of_digests_is_made_anew(
    tmp_path: Path, rows: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago(monkeypatch)
    path = tmp_path / "cache" / "digests.json"
    path.parent.mkdir()
    path.write_text(content.replace("%s", str(rows)))
    digests = known(tmp_path)
    assert digests.of(rows) == hashlib.sha256(b"abc").hexdigest()
    digests.save()
    assert list(json.loads(path.read_text())) == [str(rows)]


def test_files_that_are_gone_are_forgotten_and_a_list_that_cannot_be_written_is_none(
    tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago(monkeypatch)
    other = tmp_path / "other"
    other.write_text("x")
    digests = known(tmp_path)
    digests.of(other)
    digests.of(rows)
    other.unlink()
    digests.save()
    assert list(json.loads((tmp_path / "cache" / "digests.json").read_text())) == [str(rows)]
    (tmp_path / "file").write_text("")
    nowhere = KnownDigests(tmp_path / "file" / "digests.json")
    nowhere.of(rows)
    nowhere.save()
    with pytest.raises(FileNotFoundError):
        nowhere.of(other)


def test_small_files_are_not_kept_track_of(tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago(monkeypatch)
    monkeypatch.setattr(jenga.digests, "_SMALL_BYTES", 4)
    digests = known(tmp_path)
    digests.of(rows)
    with atomic_folder(tmp_path / "kept") as staging:
        (staging / "numbers.npy").write_bytes(b"123")
    digests.note_folder(tmp_path / "kept")
    digests.save()
    assert not (tmp_path / "cache").exists()
