"""Files and folders that are either whole or not there, and can prove that they are unharmed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

MANIFEST = "manifest.json"


def write_atomic(path: Path, text: str) -> None:
    """Write `text` so that a reader, or a machine that loses power, sees the old file or the new one."""
    staging = path.with_name(f".{path.name}.new")
    with staging.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
    _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without an error.

    A manifest with each file's SHA-256 is added. A crash leaves the old folder, or pieces that `recover_folder` mends.
    """
    recover_folder(target)
    staging, old = _beside(target)
    staging.mkdir(parents=True)
    yield staging
    write_atomic(staging / MANIFEST, json.dumps(_digests(staging), indent=1) + "\n")
    for path in [*staging.rglob("*"), staging]:
        _sync(path)
    if target.exists():
        target.rename(old)
    staging.rename(target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Finish or undo what a crash inside `atomic_folder` left behind."""
    staging, old = _beside(target)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(staging, ignore_errors=True)


def damage(folder: Path) -> str | None:
    """Return what is wrong with a folder written by `atomic_folder`, or None when every checksum agrees."""
    try:
        wanted = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        return f"{folder / MANIFEST}: {error}"
    found = _digests(folder)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            state = "is missing" if name not in found else "was added" if name not in wanted else "has another checksum"
            return f"{folder / name} {state}"
    return None


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            with path.open("rb") as file:
                digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
