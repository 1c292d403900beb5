"""The log of alerts: one writer, a chain of records, and files that follow one another."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jenga.errors import SetupError
from jenga.files import json_object, writing
from jenga.policy.chain import GENESIS, Sealer, canonical, parsed

_TAIL_BYTES = 1 << 16
PRIVATE = 0o600
"""Alerts tell of people: nobody but their owner reads them, unless they are given to others."""


def place_of(path: Path) -> Path:
    """Return the one name of the log that `path` names, whose older files, lock, .head and .state lie beside it."""
    return Path(os.path.realpath(path))


def files_of(path: Path) -> list[Path]:
    """Return the files that the log `path` consists of, the oldest first."""
    older = sorted(each for each in path.parent.glob(f"{_escaped(path.name)}.[0-9]*") if each.suffix[1:].isdigit())
    return [*older, *([path] if path.exists() else [])]


def head_file(path: Path) -> Path:
    """Return where the log `path` says how far it has come."""
    return path.with_name(f"{path.name}.head")


def read_head(path: Path) -> tuple[int, str] | None:
    """Return the number and the hash of the record that the log `path` had last when it was brought to disk.

    None where nothing says so: there is no such file, or it is empty, as a log is that was never brought to disk.
    Raises ValueError, with the place, where the file is damaged, OSError where it cannot be read.
    """
    file = head_file(path)
    try:
        found = json_object(file) if file.stat().st_size else None
    except FileNotFoundError:
        return None
    if found is None:
        return None
    seq, own = found.get("seq"), found.get("hash")
    if type(seq) is not int or seq < 0 or not isinstance(own, str) or re.fullmatch("[0-9a-f]{64}", own) is None:
        raise ValueError(f"{file}: no number and hash of a record")
    return seq, own


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


class AlertLog:
    """Appends records to a log, as long as it is entered; a second writer is refused, by whatever link it comes.

    A line that a killed writer left half written is cut off, and a record says so. Not before `sync` is a record on the
    disk. Threads may share one. rotate_bytes: size at which the log goes on in a new file; the older ones are called
    ``PATH.000001`` and so on. `seq`: number of the last record.
    """

    def __init__(self, path: Path, sealer: Sealer, *, rotate_bytes: int) -> None:
        self.path, self._sealer, self._rotate_bytes = place_of(path), sealer, rotate_bytes
        self.seq, self._hash = 0, GENESIS
        self._handle = self._head = -1
        self._size = 0
        self._synced = True
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Open the log. Raises SetupError where it is in use, cannot be written, or is not as it was left."""
        with writing(self.path):
            self._head = os.open(head_file(self.path), os.O_RDWR | os.O_CREAT, PRIVATE)
        try:
            self._only_writer()
            with writing(self.path):
                self._open()
            torn = self._continue()
            if torn is not None:
                digest = hashlib.sha256(torn).hexdigest()
                self.append({"decision": "mended", "bytes": len(torn), "sha256": digest})
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Bring all to disk and let others write."""
        try:
            self.sync()
        finally:
            self._close()

    def append(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Write a record of `fields`, with its number, time and hashes, and return it. Raises SetupError."""
        with self._lock, writing(self.path):
            record = {
                **fields,
                "seq": self.seq + 1,
                "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
                "algorithm": self._sealer.algorithm,
                "previous": self._hash,
            }
            record["hash"] = self._sealer.hash(record)
            line = canonical(record) + b"\n"
            if self._size and self._size + len(line) > self._rotate_bytes:
                self._rotate()
            self._write(line)
            self.seq, self._hash, self._synced = record["seq"], record["hash"], False
            return record

    def sync(self) -> tuple[int, str]:
        """Bring every record to disk, and then how far the log has come: the number and the hash of the last record.

        Returns both. Raises SetupError.
        """
        with self._lock, writing(self.path):
            if not self._synced:
                os.fsync(self._handle)
                content = canonical({"hash": self._hash, "seq": self.seq}) + b"\n"
                os.pwrite(self._head, content, 0)
                os.ftruncate(self._head, len(content))
                self._synced = True
            return self.seq, self._hash

    def _write(self, line: bytes) -> None:
        """Write a whole line or nothing."""
        try:
            at = 0
            while at < len(line):
                at += os.write(self._handle, line[at:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise
        self._size += len(line)

    def _rotate(self) -> None:
        os.fsync(self._handle)
        older = [int(each.suffix[1:]) for each in files_of(self.path) if each != self.path]
        os.rename(self.path, self.path.with_name(f"{self.path.name}.{max(older, default=0) + 1:06d}"))
        os.close(self._handle)
        self._open()

    def _open(self) -> None:
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE)
        self._size = os.fstat(self._handle).st_size

    def _close(self) -> None:
        for handle in (self._handle, self._head):
            if handle >= 0:
                os.close(handle)
        self._handle = self._head = -1

    def _only_writer(self) -> None:
        try:
            fcntl.flock(self._head, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f"{self.path}: another process writes this log; wait for it, or give this policy a log of its own (log)"
            ) from None
        except OSError as error:  # such as ENOLCK, of a folder on the network
            raise SetupError(
                f"{head_file(self.path)}: cannot be locked ({error.strerror}), so that two processes might write the "
                "log at once; put it on a disk of this machine (log)"
            ) from error

    def _continue(self) -> bytes | None:
        """Go on behind the last record; return what was cut off behind it, None where nothing was."""
        last, torn = self._tail(self.path)
        if torn and (record := parsed(torn + b"\n")) is not None and record.get("hash") == self._sealer.hash(record):
            self._write(b"\n")  # the record is whole but for its line break
            last, torn = torn + b"\n", b""
        if torn:
            os.ftruncate(self._handle, self._size - len(torn))
            self._size -= len(torn)
        older = [each for each in files_of(self.path) if each != self.path]
        if last is None and older:
            last, _ = self._tail(older[-1])
        if last is not None:
            self._resume(last)
        self._compare()
        return torn or None

    def _resume(self, line: bytes) -> None:
        record = parsed(line)
        seq = None if record is None else record.get("seq")
        if record is None or type(seq) is not int or record.get("hash") != self._sealer.hash(record):
            raise SetupError(
                f"{self.path}: the last record is not as it was written, or the secret is another one; look at it with "
                "jenga alerts verify, and move the log away with its .head and .state to begin a new one"
            )
        self.seq, self._hash = seq, str(record["hash"])

    def _compare(self) -> None:
        """Raise SetupError where the log has not come as far as its head says, or nobody can tell."""
        try:
            head = read_head(self.path)
        except ValueError as error:
            raise SetupError(
                f"{error}: it is damaged, and tells no more whether records are gone. Look at the log with jenga "
                "alerts verify; to go on with it move its .head away, else the log with its .head and .state"
            ) from None
        if head is not None and (head[0] > self.seq or (head[0] == self.seq and head[1] != self._hash)):
            raise SetupError(
                f"{self.path}: it ends with record {self.seq}, and {head_file(self.path).name} knows of record "
                f"{head[0]}: records are gone. Keep what there is as evidence: move it away with its .head and .state"
            )

    def _tail(self, path: Path) -> tuple[bytes | None, bytes]:
        """Return the last whole line of a file, None without one, and what stands behind it."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            wanted = _TAIL_BYTES
            while True:
                file.seek(max(size - wanted, 0))
                content = file.read()
                lines = _lines(content)
                torn = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
                if len(lines) > 1 or wanted >= size:
                    return (lines[-1] if lines else None), torn
                wanted *= 2


def _lines(content: bytes) -> list[bytes]:
    parts = content.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
