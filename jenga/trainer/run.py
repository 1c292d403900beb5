"""The folder of a run: its status, its lock, and the metrics file that never forks."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, ClassVar

from jenga.errors import SetupError
from jenga.files import json_object, link_folder, recover_folder, write_atomic, writing

logger = logging.getLogger(__name__)
_FORMAT = 1
_held: weakref.WeakSet[HeldFolder] = weakref.WeakSet()


def _release_in_fork() -> None:
    # A lock lasts as long as any process has its file open: a fork that outlives this one would keep it.
    for folder in list(_held):
        folder.release()


os.register_at_fork(after_in_child=_release_in_fork)


class HeldFolder:
    """A folder that one process at a time may hold."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def hold(self) -> None:
        """Lock the folder until `release`, or the end of this process; forks have no part in it.

        Raises SetupError when another process holds it."""
        with writing(self.path / ".lock"):
            lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise SetupError(f"{self.path} is in use by another process; wait for it, or start anew") from error
        self._lock = lock
        _held.add(self)

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            _held.discard(self)


def make_folder(path: Path) -> None:
    """Make a folder of output. Raises FileExistsError where there is something, SetupError where it cannot be made."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise SetupError(f"output_dir: cannot make {path}: {error.strerror}") from error


def new_folder(parent: Path, prefix: str = "") -> Path:
    """Make a folder in `parent`, named by the time behind `prefix`, and return it."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, 1000):
        path = parent / (f"{prefix}{stamp}" if number == 1 else f"{prefix}{stamp}_{number}")
        with contextlib.suppress(FileExistsError):
            make_folder(path)
            return path
    raise SetupError(f"output_dir: no free name in {parent}")


class RunFolder(HeldFolder):
    """``<output_dir>/<project>/<timestamp>/``. One process at a time may hold it."""

    written: ClassVar[bool] = True
    """Whether this process writes in it, and tells what becomes of the run."""

    @classmethod
    def create(cls, output_dir: Path, project: str, record: Mapping[str, Any]) -> RunFolder:
        """Make a new folder, named by the time, and hold it; record: fields of run.json that say what it is of."""
        return cls._begun(new_folder(output_dir / project), record)

    @classmethod
    def make(cls, path: Path, record: Mapping[str, Any]) -> RunFolder:
        """Make the folder `path` and hold it. Raises FileExistsError where there is something."""
        make_folder(path)
        return cls._begun(path, record)

    @classmethod
    def _begun(cls, path: Path, record: Mapping[str, Any]) -> RunFolder:
        run = cls(path)
        try:
            run.hold()
            run.update(format=_FORMAT, status="running", created=datetime.now(UTC).isoformat(), **record)
        except BaseException:
            run.discard()
            raise
        return run

    @classmethod
    def unfinished(cls, output_dir: Path, project: str) -> list[RunFolder]:
        """Return the runs that did not finish, the newest first; one whose run.json cannot be read is passed over."""
        found = []
        for path in sorted((output_dir / project).glob("*"), reverse=True):
            if not (path / "run.json").exists() and not (path / "checkpoints").exists():
                continue
            run = cls(path)
            try:
                info = run.info()
            except SetupError as error:
                logger.warning("%s is passed over: %s", run.path, error)
                continue
            if info.get("status") != "finished":
                found.append(run)
        return found

    def is_of(self, digest: str) -> bool:
        """Return whether the run is of this configuration, as it was given or as its config.yml has it."""
        info = self.info()
        return digest in (info.get("digest"), info.get("resolved_digest"))

    def hold(self) -> None:
        """Lock the folder, as `HeldFolder` does, and mend the best model that a crash left half written."""
        super().hold()
        recover_folder(self.best)

    def discard(self) -> None:
        """Delete the folder, in which nothing is of worth yet, and the project's where it holds no other run."""
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()

    def info(self) -> dict[str, Any]:
        """Return run.json. Raises SetupError where it is harmed, or not there."""
        try:
            return json_object(self.path / "run.json")
        except OSError as error:
            raise SetupError(f"{self.path / 'run.json'}: cannot be read ({error.strerror}); start a new run") from error
        except ValueError as error:
            raise SetupError(f"harmed: {error}; restore it from a copy, or start a new run") from error

    def update(self, **fields: Any) -> None:  # the fields of a JSON file, not options
        """Set fields of run.json."""
        present = self.info() if (self.path / "run.json").exists() else {}
        write_atomic(self.path / "run.json", json.dumps({**present, **fields}, indent=1, ensure_ascii=False) + "\n")

    def end(self, outcome: str, reason: str) -> None:
        """Note how the run ended before it was done, on a full disk too; what keeps it from that is logged."""
        try:
            self.update(status=outcome, reason=reason)
        except SetupError as error:
            logger.warning("why the run ended is not noted: %s", error)
            with contextlib.suppress(SetupError):
                self._overwrite(status=outcome)

    def _overwrite(self, **fields: Any) -> None:
        """Set fields of run.json in its own place, which takes no room, at the cost of the reason in it."""
        path = self.path / "run.json"
        info = {name: value for name, value in self.info().items() if name != "reason"} | fields
        text = (json.dumps(info, indent=1, ensure_ascii=False) + "\n").encode()
        size = path.stat().st_size
        if len(text) <= size:
            with writing(path), path.open("r+b") as file:
                file.write(text.ljust(size))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Folder of the best model."""
        return self.path / "best"

    def renew_best(self, write: Callable[[Path], None], *, known: int | None) -> None:
        """Put what `write` writes to a folder in the place of the best model; `revert_best` takes it back.

        known: the step that the present one is of; None where none is known of.
        """
        if known is None or self._earlier() or not self.best.exists():
            write(self.best)
            return
        write(self._renewed)
        self.best.rename(self._best_of(known))
        self._renewed.rename(self.best)

    def settle_best(self) -> None:
        """Keep the best model for good: a checkpoint knows it now."""
        for earlier in self._earlier():
            self._drop(earlier)
        for left in (self._dropped, self._renewed):
            shutil.rmtree(left, ignore_errors=True)

    def revert_best(self, step: int | None) -> None:
        """Bring back the best model of `step`, by the checkpoint that is gone on with; the present one may be of it."""
        if step is not None and self._best_of(step).exists():
            self._drop(self.best)
            self._best_of(step).rename(self.best)
        self.settle_best()

    def put_best(self, kept: Path | None) -> None:
        """Let the best model be the one in the folder `kept`, or none, whatever it was."""
        self._drop(self.best)
        self.settle_best()
        if kept is not None:
            link_folder(kept, self.best)

    def drop_models(self) -> None:
        """Delete the best model and all checkpoints."""
        for path in (self.best, self.checkpoints, *self.path.glob(".best.*")):
            shutil.rmtree(path, ignore_errors=True)

    def _best_of(self, step: int) -> Path:
        """Folder of the best model that the newest checkpoint knows, of `step`, while there is a better one since."""
        return self.path / f".best.step-{step:08d}"

    @property
    def _dropped(self) -> Path:
        return self.path / ".best.dropped"

    @property
    def _renewed(self) -> Path:
        return self.path / ".best.renewed"

    def _earlier(self) -> list[Path]:
        return list(self.path.glob(".best.step-*"))

    def _drop(self, path: Path) -> None:
        """Delete a model at once: a process that is killed leaves all of it or nothing."""
        shutil.rmtree(self._dropped, ignore_errors=True)
        if path.exists():
            path.rename(self._dropped)
            shutil.rmtree(self._dropped, ignore_errors=True)


class SeenRun(RunFolder):
    """The folder of a run in which another process writes: here nothing is."""

    written = False

    def hold(self) -> None:
        """Leave it to the one that writes."""

    def update(self, **fields: Any) -> None:  # the fields of a JSON file, not options
        """Leave run.json as it is."""

    def end(self, outcome: str, reason: str) -> None:
        """Leave run.json as it is."""

    def renew_best(self, write: Callable[[Path], None], *, known: int | None) -> None:
        """Leave the best model as it is."""

    def settle_best(self) -> None:
        """Leave the best model as it is."""

    def revert_best(self, step: int | None) -> None:
        """Leave the best model as it is."""


class MetricsLog:
    """metrics.jsonl: appended line by line, cut back to a checkpoint's length on resuming.

    written: False where another process writes it.
    """

    def __init__(self, path: Path, *, written: bool = True) -> None:
        self.path, self.written = path, written

    def append(self, record: dict[str, Any]) -> None:
        """Write one record. Raises ValueError for NaN or infinity, which JSON does not have."""
        if not self.written:
            return
        line = json.dumps(record, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        with writing(self.path), self.path.open("ab") as file:
            file.write(line)

    def sync(self) -> int:
        """Bring everything to disk and return the length in bytes."""
        if not self.written:
            return 0
        with writing(self.path), self.path.open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def cut(self, length: int) -> None:
        """Forget what was written after `length` bytes. Where less is left of it, a warning says so."""
        if not self.written:
            return
        with writing(self.path), self.path.open("ab") as file:
            if file.tell() < length:
                file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
                logger.warning(
                    "%s has %d bytes of the %d that it had: records of earlier steps are lost, and nothing else",
                    self.path, file.tell(), length,
                )  # fmt: skip
            else:
                file.truncate(length)
