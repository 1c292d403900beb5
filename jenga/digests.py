"""SHA-256 of large files, which are read again only where their size, times or inode have changed, as git has it."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from jenga.errors import SetupError
from jenga.files import MANIFEST, json_object, sha256_of, write_atomic

DIGESTS = "digests.json"
"""Where digests are kept, beside the folders that they are of."""
_SETTLED_NS = 2_000_000_000
"""A file that changed less than this before it was read may change again within one tick of its clock."""

_SMALL_BYTES = 16 << 20
"""Smaller files are read each time, which takes about ten milliseconds."""


class KnownDigests:
    """Digests of files, kept in a file of JSON: where that cannot be read or written, every file is read anew.

    What nobody wrote to has its time of change (ctime), which no program can set; disks that lose bits keep it too, so
    this is for rows and tokens that can be made again, not for models.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[int | str]] = {}
        self._changed = False
        try:
            self._known = {name: each for name, each in json_object(path).items() if isinstance(each, list)}
        except (OSError, ValueError):
            self._changed = path.exists()

    def of(self, file: str | Path) -> str:
        """Return the SHA-256 of `file` in hex digits. Raises OSError where it cannot be read."""
        name = os.path.abspath(file)
        before = _state(name)
        if before[0] < _SMALL_BYTES:
            return sha256_of(Path(name))
        *state, digest = self._known.get(name) or [0]
        if state == before and isinstance(digest, str):
            return digest
        now = time.time_ns()
        found = sha256_of(Path(name))
        if _state(name) == before and max(before[1:3]) < now - _SETTLED_NS:
            self._note(name, before, found)
        else:
            self._changed |= self._known.pop(name, None) is not None
        return found

    def note_folder(self, folder: Path) -> None:
        """Take the digests that `atomic_folder` has just made of the files in `folder`."""
        # Another run that writes the same may put its own in this place meanwhile.
        with suppress(OSError, ValueError):
            for name, digest in json_object(folder / MANIFEST).items():
                path = os.path.abspath(folder / name)
                if (state := _state(path))[0] >= _SMALL_BYTES:
                    self._note(path, state, digest)

    def save(self) -> None:
        """Write what is known of files that are there, if anything is new."""
        if not self._changed:
            return
        there = {name: each for name, each in sorted(self._known.items()) if os.path.exists(name)}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(there, indent=1) + "\n")
        except (OSError, SetupError):
            return
        self._changed = False

    def _note(self, name: str, state: list[int], digest: str) -> None:
        self._known[name] = [*state, digest]
        self._changed = True


def _state(name: str) -> list[int]:
    found = os.stat(name)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]
