"""Files and folders that are either whole or not there, and can prove that they are unharmed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from jenga.errors import SetupError

MANIFEST = "manifest.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FIXES = {
    **dict.fromkeys(_FULL, "free some space there, or name another place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "check its permissions, or name another place"),
    errno.ENOENT: "make its folder first, or name another place",
    errno.EISDIR: "name a file in it",
}
_PUBLIC, _PRIVATE = 0o666, 0o600
_MOST_LINKS = 40
_NAME_LENGTH = 50
"""Characters of a name that the name of its staging keeps: together they stay below the 255 bytes of a file's name."""


def cache_folder(name: str) -> Path:
    """Return the folder `name` among Jenga's own in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jenga" / name


# --------------------------------------------------------------------------------------------------------------- write


def write_atomic(path: Path, text: str, *, private: bool = False) -> None:
    """Write `text` so that a reader, or a machine that loses power, sees the old file or the new one.

    private: see `atomic_file`.
    """
    with atomic_file(path, private=private) as file:
        file.write(text.encode())


@contextlib.contextmanager
def atomic_file(target: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `target` when the block ends without an error or an interrupt.

    Until then it has a name of its own, so that several writers never mix. A link is followed. What is no regular
    file, such as a device or a named pipe, is written to as it stands. private: nobody but its owner reads it, unless
    others may read the file that was there. Raises SetupError where it cannot be written.
    """
    with writing(target):
        handle = _as_it_stands(target)
    if handle is not None:
        with _named(handle, target) as file:
            yield file
        return
    place = Path(os.path.realpath(target))
    with writing(target):
        _remove_abandoned(place)
        staging, handle = _staged(place, folder=False, mode=_PRIVATE if private else _PUBLIC)
    try:
        with _named(handle, target) as file:
            yield file
            file.flush()
            with writing(target):
                os.fsync(handle)
        with writing(target):
            if place.exists():
                staging.chmod(stat.S_IMODE(place.stat().st_mode))
            staging.replace(place)
            _sync(place.parent)
    finally:
        staging.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without an error.

    A manifest with each file's SHA-256 is added, and every file gets the mode that the umask gives. A crash leaves the
    old folder, or pieces that `recover_folder` mends. Raises SetupError where it cannot be written.
    """
    with _replacing(target) as staging:
        yield staging
        _finish(staging)


def copy_folder(source: Path, target: Path) -> None:
    """Copy what `atomic_folder` wrote to `source`, whole or not at all. Raises as `atomic_folder` does."""
    with atomic_folder(target) as staging:
        for path in sorted(source.rglob("*")):
            place = staging / path.relative_to(source)
            if path.is_dir():
                place.mkdir()
            elif path != source / MANIFEST:
                shutil.copyfile(path, place)


def link_folder(source: Path, target: Path) -> None:
    """Let `target` be what `atomic_folder` wrote to `source`, whole or not at all, by links to the same files.

    It takes no room as long as both are there, and where links cannot be made, that of a copy. What `atomic_folder`
    writes is replaced and never changed, so neither is changed by way of the other. Raises as `atomic_folder` does.
    """
    with _replacing(target) as staging:
        shutil.copytree(source, staging, copy_function=_link, dirs_exist_ok=True)


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` that takes its place once it is filled."""
    with writing(target):
        recover_folder(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging, handle = _staged(target, folder=True)
    try:
        with writing(target):
            yield staging
            if target.exists():
                target.rename(_old(target))
            staging.rename(target)
            _sync(target.parent)
    except (Exception, KeyboardInterrupt):
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        os.close(handle)
    shutil.rmtree(_old(target), ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def recover_folder(target: Path) -> None:
    """Finish or undo what a crash inside `atomic_folder` left behind."""
    old = _old(target)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    _remove_abandoned(target)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise SetupError, which names `path`, where this machine cannot write what the block writes there."""
    try:
        yield
    except BrokenPipeError:
        raise  # nothing is wrong: who reads has enough
    except Exception as error:
        number = _error_number(error, path)
        if number is None:
            raise
        fix = _FIXES.get(number, "name another place")
        raise SetupError(f"{path}: cannot be written ({os.strerror(number)}); {fix}") from error


def what_is(path: Path) -> str | None:
    """Return what stands at `path` in words; None for a regular file, or where there is nothing. Links are followed.

    Raises OSError where that cannot be seen.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode))


def _as_it_stands(target: Path) -> int | None:
    """Return what writes to `target` where nothing can take its place; None where a file can."""
    if (number := _descriptor(target)) is not None:
        # Also where it is a file: others write to the same one, before and after.
        return os.dup(number)
    kind = what_is(target)
    if kind == "a folder":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    return os.open(target, os.O_WRONLY) if kind else None


def _descriptor(path: Path) -> int | None:
    """Return the number of the open file that `path` is a name of, such as /dev/stdout."""
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if path.name.isdigit() and folder in ("/dev/fd", f"/proc/{os.getpid()}/fd"):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(folder, os.readlink(path))
    return None


def _error_number(error: Exception, path: Path) -> int | None:
    """Return the system's number of an error that is about writing below the folder of `path`, else None."""
    if isinstance(error, OSError):
        elsewhere = error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(path.parent)
        # A copy to a full disk names the file that it reads.
        return None if elsewhere and error.errno not in _FULL else error.errno
    if type(error).__name__ == "SafetensorError":
        found = re.search(r"\(os error (\d+)\)", str(error))
        return int(found[1]) if found else None
    return None


class _Named(io.FileIO):
    """Bytes on their way to a file, which errors name."""

    def __init__(self, handle: int, target: Path) -> None:
        super().__init__(handle, "wb")
        self._target = target

    def write(self, data: Any) -> int:
        with writing(self._target):
            return super().write(data)


def _named(handle: int, target: Path) -> IO[bytes]:
    return io.BufferedWriter(_Named(handle, target))


def _staged(target: Path, *, folder: bool, mode: int = _PUBLIC) -> tuple[Path, int]:
    """Make an empty file or folder beside `target` and return it, locked as long as the returned handle is open."""
    while True:
        staging = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.new")
        if folder:
            staging.mkdir()
            handle = os.open(staging, os.O_RDONLY)
        else:
            handle = os.open(staging, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        with contextlib.suppress(OSError):  # a file system without locks: then nothing tells what is abandoned
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if staging.exists():  # not taken for abandoned before it was locked
            return staging, handle
        os.close(handle)


def _remove_abandoned(target: Path) -> None:
    """Remove what writers of `target` left behind that were killed: nobody holds its lock."""
    prefix = _prefix(target)
    siblings = target.parent.iterdir() if target.parent.is_dir() else ()
    for path in [each for each in siblings if each.name.startswith(prefix) and each.suffix == ".new"]:
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            finally:
                os.close(handle)


def _prefix(target: Path) -> str:
    return f".{target.name[:_NAME_LENGTH]}."


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _finish(staging: Path) -> None:
    """Add the manifest, let every file have the mode of a new one, and bring all to disk."""
    write_atomic(staging / MANIFEST, json.dumps(_digests(staging), indent=1) + "\n")
    # Some libraries write by way of temporary files, which nobody else may read. Asking for the umask would set it.
    mode = stat.S_IMODE((staging / MANIFEST).stat().st_mode)
    for path in [*staging.rglob("*"), staging]:
        if path.is_file():
            path.chmod(mode)
        _sync(path)


# ---------------------------------------------------------------------------------------------------------------- read


def json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file `path`.

    Raises ValueError, with the path, where it holds something else, OSError where it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a JSON object is wanted, and this is another value ({str(found)[:20]})")
    return found


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage(folder: Path, digest_of: Callable[[Path], str] = sha256_of) -> str | None:
    """Return what is wrong with a folder written by `atomic_folder`, or None when every checksum agrees.

    digest_of: returns the SHA-256 of a file in hex digits.
    """
    try:
        wanted = json_object(folder / MANIFEST)
    except OSError as error:
        return f"{folder / MANIFEST}: {error.strerror}"
    except ValueError as error:
        return str(error)
    found = _digests(folder, digest_of)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            state = "is missing" if name not in found else "was added" if name not in wanted else "has another checksum"
            return f"{folder / name} {state}"
    return None


def _digests(folder: Path, digest_of: Callable[[Path], str] = sha256_of) -> dict[str, str]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MANIFEST]
    return {path.relative_to(folder).as_posix(): digest_of(path) for path in paths}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
