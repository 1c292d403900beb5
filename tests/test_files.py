"""Folders that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from jenga.errors import SetupError
from jenga.files import (
    MANIFEST,
    atomic_file,
    atomic_folder,
    cache_folder,
    damage,
    json_object,
    link_folder,
    recover_folder,
    what_is,
    write_atomic,
    writing,
)

KILLED = """
import os, sys
from pathlib import Path
from jenga.files import atomic_file, atomic_folder
with (atomic_file if sys.argv[1] == "file" else atomic_folder)(Path(sys.argv[2])):
    os.kill(os.getpid(), 9)
"""


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
    *((lambda: shutil, "rmtree", call) for call in (1, 2)),
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


# ------------------------------------------------------------------------------------------------------ what is written


@contextlib.contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save_tensors(folder: Path) -> None:
    save_file({"a": torch.zeros(100_000)}, folder / "a.safetensors")


def save_text(folder: Path) -> None:
    (folder / "a.txt").write_text("a" * 400_000)


@pytest.mark.parametrize("fill", [save_tensors, save_text])
def test_a_folder_on_a_full_disk_names_itself_and_leaves_the_old_one_alone(
    tmp_path: Path, fill: Callable[[Path], None]
) -> None:
    target = tmp_path / "best"
    write(target, "old")
    with no_room_beyond(10_000), pytest.raises(SetupError, match=rf"{target}: cannot be written \(File too large\); "):  # noqa: SIM117
        with atomic_folder(target) as staging:
            fill(staging)
    assert content(target) == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["best"], "nothing is left beside it"


def test_a_file_on_a_full_disk_names_itself_and_leaves_the_old_one_alone(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    with no_room_beyond(10_000), pytest.raises(SetupError, match=rf"{target}: cannot be written \(File too large\); "):
        write_atomic(target, "a" * 400_000)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"out.jsonl": "old"}


def test_a_copy_to_a_full_disk_names_the_copy_and_not_what_is_copied(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere/source")
    with pytest.raises(SetupError, match=rf"{tmp_path}/a: cannot be written \(No space left on device\); free some"):  # noqa: SIM117
        with writing(tmp_path / "a"):
            raise full


def test_an_error_about_another_place_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_folder(tmp_path / "a"):
        Path("/elsewhere/source").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=rf"{tmp_path}/no/a: cannot be written .*; make its folder first"):
        write_atomic(tmp_path / "no" / "a", "text")


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_every_file_has_the_mode_of_the_umask(tmp_path: Path, mask: int) -> None:
    known = os.umask(mask)
    try:
        with atomic_folder(tmp_path / "best") as staging:
            save_tensors(staging)
            save_text(staging)
        write_atomic(tmp_path / "run.json", "{}")
    finally:
        os.umask(known)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == dict.fromkeys(["a.safetensors", "a.txt", MANIFEST, "run.json"], 0o666 & ~mask)


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").touch(0o600)
    write_atomic(tmp_path / "a", "text")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_private_file_is_so_from_the_start_and_follows_the_one_that_is_there(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a", private=True):
        assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    (tmp_path / "a").chmod(0o640)
    write_atomic(tmp_path / "a", "text", private=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


# -------------------------------------------------------------------------------------------------- where it is written


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to("far/a")
    for text in ("first", "second"):
        write_atomic(tmp_path / "near", text)
        assert (tmp_path / "near").is_symlink()
        assert (tmp_path / "far" / "a").read_text() == text


def test_a_device_is_written_to_and_stays_one(tmp_path: Path) -> None:
    write_atomic(Path("/dev/null"), "text")
    assert what_is(Path("/dev/null")) == "a device"
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(SetupError, match=rf"{tmp_path}/full: cannot be written \(No space left on device\); free some"):
        write_atomic(tmp_path / "full", "text")


STDOUT = """
import os, sys
from pathlib import Path
from jenga.files import write_atomic
print("before", flush=True)
write_atomic(Path(sys.argv[1]), "between\\n")
print("after", flush=True)
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_by_name_is_where_others_write_too(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", STDOUT, name], stdout=out, check=True, cwd=tmp_path)
    assert (tmp_path / "out").read_text() == "before\nbetween\nafter\n"


def test_a_named_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_atomic(pipe, "text")
    reader.join()
    assert read == ["text"]
    assert what_is(pipe) == "a named pipe"


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=rf"{tmp_path}: cannot be written \(Is a directory\); name a file in it"):
        write_atomic(tmp_path, "text")


def test_two_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_file(target) as one, atomic_file(target) as other:
        one.write(b"one")
        other.write(b"other")
    assert target.read_bytes() == b"one", "whoever ends last"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_two_writers_of_one_folder_never_mix(tmp_path: Path) -> None:
    target = tmp_path / "best"
    with atomic_folder(target) as one, atomic_folder(target) as other:
        (one / "one").touch()
        (other / "other").touch()
    assert damage(target) is None
    assert sorted(each.name for each in target.iterdir()) == [MANIFEST, "one"]
    assert [each.name for each in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_is_gone_once_another_one_has_written(tmp_path: Path, kind: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, kind, str(tmp_path / "a")], check=False)
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_file(tmp_path / "a") if kind == "file" else atomic_folder(tmp_path / "a"):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_name_as_long_as_a_file_system_takes_it_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("a" * 255), "text")
    assert (tmp_path / ("a" * 255)).read_text() == "text"


# --------------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("text", ["", "[]", "null", '{"a"', "[" * 100_000, "\xff"])
def test_what_is_no_object_is_told_with_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match=rf"{tmp_path}/run.json: "):
        json_object(tmp_path / "run.json")


@pytest.mark.parametrize("text", ["[]", "null", "[" * 100_000])
def test_a_manifest_that_is_no_object_is_damage(tmp_path: Path, text: str) -> None:
    write(tmp_path / "best", "old")
    (tmp_path / "best" / MANIFEST).write_text(text)
    assert MANIFEST in (damage(tmp_path / "best") or "")


def test_a_file_in_the_place_of_a_folder_is_damage(tmp_path: Path) -> None:
    (tmp_path / "step-00000001").touch()
    assert damage(tmp_path / "step-00000001") is not None


# ---------------------------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("linked", [True, False])
def test_a_linked_folder_outlives_what_it_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "another file system")

    if not linked:
        monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "best", tmp_path / "kept" / "best"
    write(source, "old")
    link_folder(source, target)
    inodes = {(folder / MANIFEST).stat().st_ino for folder in (source, target)}
    assert len(inodes) == (1 if linked else 2)
    write(source, "new")
    shutil.rmtree(source)
    assert content(target) == "old"


def test_caches_lie_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("tokens") == tmp_path / "jenga" / "tokens"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder("tokens") == tmp_path / "home" / ".cache" / "jenga" / "tokens"
