"""Folders that are whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.files import MANIFEST, atomic_folder, damage, recover_folder, write_atomic


class Crash(BaseException):
    """The machine loses power here: nothing that a program could catch."""


def crash_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Let the `call`-th call (from 1) of `owner.name` never happen."""
    real, calls = getattr(owner, name), 0

    def crashing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Crash
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, crashing)


def write(target: Path, content: str) -> None:
    with atomic_folder(target) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "a.txt").write_text(content)
        (staging / "b.txt").write_text(content * 2)


def content(target: Path) -> str:
    assert damage(target) is None
    assert (target / "b.txt").read_text() == 2 * (target / "sub" / "a.txt").read_text()
    return (target / "sub" / "a.txt").read_text()


POINTS: list[tuple[Callable[[], Any], str, int]] = [
    *((lambda: Path, "rename", call) for call in (1, 2)),
    *((lambda: Path, "replace", call) for call in (1,)),
    *((lambda: shutil, "rmtree", call) for call in (1, 2, 3)),
    *((lambda: __import__("os"), "fsync", call) for call in range(1, 9)),
]


@pytest.mark.parametrize(("owner", "name", "call"), POINTS)
def test_a_crash_anywhere_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Callable[[], Any], name: str, call: int
) -> None:
    target = tmp_path / "best"
    write(target, "old")
    with monkeypatch.context() as patched:
        crash_at(patched, owner(), name, call)
        with pytest.raises(Crash):
            write(target, "new")
    recover_folder(target)
    assert content(target) in ("old", "new")
    assert [each.name for each in tmp_path.iterdir()] == ["best"], "nothing is left beside it"
    write(target, "newer")
    assert content(target) == "newer"


def test_the_crash_points_are_all_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "best"
    write(target, "old")
    calls: dict[str, int] = {}
    for owner, name, _ in POINTS:
        real = getattr(owner(), name)
        if name in calls:
            continue
        calls[name] = 0

        def counting(*arguments: Any, real: Any = real, name: str = name, **options: Any) -> Any:
            calls[name] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(owner(), name, counting)
    write(target, "new")
    assert calls == {each: max(call for _, name, call in POINTS if name == each) for each in calls}


def test_an_error_inside_the_block_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "best"
    write(target, "old")

    def fill(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"), atomic_folder(target) as staging:
        fill(staging)
    assert content(target) == "old"


def test_a_first_folder_is_not_there_until_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "best"
    with atomic_folder(target) as staging:
        (staging / "a.txt").write_text("a")
        assert not target.exists()
    assert damage(target) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "b.txt").write_text("oldolx"), "b.txt has another checksum"),
        (lambda folder: (folder / "sub" / "a.txt").unlink(), "a.txt is missing"),
        (lambda folder: (folder / "c.txt").write_text("c"), "c.txt was added"),
        (lambda folder: (folder / MANIFEST).write_text('{"b.txt"'), MANIFEST),
        (lambda folder: (folder / MANIFEST).unlink(), MANIFEST),
    ],
)
def test_damage_is_named(tmp_path: Path, change: Callable[[Path], Any], words: str) -> None:
    write(tmp_path / "best", "old")
    change(tmp_path / "best")
    found = damage(tmp_path / "best")
    assert found is not None
    assert words in found


def test_the_manifest_covers_files_in_subfolders(tmp_path: Path) -> None:
    write(tmp_path / "best", "old")
    assert sorted(json.loads((tmp_path / "best" / MANIFEST).read_text())) == ["b.txt", "sub/a.txt"]


@pytest.mark.parametrize(("owner", "name"), [(Path, "replace"), (__import__("os"), "fsync")])
def test_a_crash_while_a_file_is_written_leaves_the_old_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    write_atomic(tmp_path / "run.json", "old")
    with monkeypatch.context() as patched:
        crash_at(patched, owner, name, 1)
        with pytest.raises(Crash):
            write_atomic(tmp_path / "run.json", "new")
    assert (tmp_path / "run.json").read_text() == "old"
    write_atomic(tmp_path / "run.json", "nëwer")
    assert (tmp_path / "run.json").read_text(encoding="utf-8") == "nëwer"
