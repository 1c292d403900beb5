"""The folder of a run: its status, its lock, and the metrics file that never forks."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from jenga.errors import SetupError
from jenga.files import recover_folder, write_atomic

_FORMAT = 1


class RunFolder:
    """``<output_dir>/<project>/<timestamp>/``. One process at a time may hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, output_dir: Path, project: str, digest: str) -> RunFolder:
        """Make a new folder, named by the time, and hold it."""
        parent = output_dir / project
        stamp = datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S")
        for number in range(1, 1000):
            path = parent / (stamp if number == 1 else f"{stamp}_{number}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise SetupError(f"output_dir: cannot make {path}: {error.strerror}") from error
            run = cls(path)
            run.hold()
            run.update(format=_FORMAT, status="running", created=datetime.now(UTC).isoformat(), digest=digest)
            return run
        raise SetupError(f"output_dir: no free name for a run in {parent}")

    @classmethod
    def unfinished(cls, output_dir: Path, project: str) -> list[RunFolder]:
        """Return the runs that did not finish, the newest first."""
        runs = [cls(status.parent) for status in sorted((output_dir / project).glob("*/run.json"), reverse=True)]
        return [run for run in runs if run.info().get("status") != "finished"]

    def is_of(self, digest: str) -> bool:
        """Return whether the run is of this configuration, as it was given or as its config.yml has it."""
        info = self.info()
        return digest in (info.get("digest"), info.get("resolved_digest"))

    def hold(self) -> None:
        """Lock the folder until `release`, or the process's end. Raises SetupError when another process holds it."""
        lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise SetupError(f"{self.path} is in use by another process; wait for it, or start a new run") from error
        self._lock = lock
        recover_folder(self.best)

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def info(self) -> dict[str, Any]:
        """Return run.json."""
        info: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        return info

    def update(self, **fields: Any) -> None:  # the fields of a JSON file, not options
        """Set fields of run.json."""
        present = self.info() if (self.path / "run.json").exists() else {}
        write_atomic(self.path / "run.json", json.dumps({**present, **fields}, indent=1, ensure_ascii=False) + "\n")

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Folder of the best model."""
        return self.path / "best"

    @property
    def _settled(self) -> Path:
        """Folder of the best model that the newest checkpoint knows, where there has been a better one since."""
        return self.path / ".best.settled"

    def renew_best(self, write: Callable[[Path], None]) -> None:
        """Put what `write` writes to a folder in the place of the best model; `revert_best` takes it back."""
        if self._settled.exists() or not self.best.exists():
            write(self.best)
            return
        renewed = self.path / ".best.renewed"
        write(renewed)
        self.best.rename(self._settled)
        renewed.rename(self.best)

    def settle_best(self) -> None:
        """Keep the best model for good: a checkpoint knows it now."""
        shutil.rmtree(self._settled, ignore_errors=True)

    def revert_best(self) -> None:
        """Bring back the best model that the newest checkpoint knows; without one, the present one stays."""
        if self._settled.exists():
            shutil.rmtree(self.best, ignore_errors=True)
            self._settled.rename(self.best)


class MetricsLog:
    """metrics.jsonl: appended line by line, cut back to a checkpoint's length on resuming."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: dict[str, Any]) -> None:
        """Write one record. Raises ValueError for NaN or infinity, which JSON does not have."""
        line = json.dumps(record, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(line)

    def sync(self) -> int:
        """Bring everything to disk and return the length in bytes."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def cut(self, length: int) -> None:
        """Forget what was written after `length` bytes."""
        with self.path.open("ab") as file:
            file.truncate(length)
