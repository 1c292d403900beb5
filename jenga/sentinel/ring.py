"""Checkpoints that have proved good: those after which nothing was amiss for a while."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import NamedTuple

from jenga.files import damage, link_folder, recover_folder

logger = logging.getLogger(__name__)

_VERIFIED = "verified"


class Kept(NamedTuple):
    """A checkpoint with the best model of its time (None: there was none yet)."""

    step: int
    checkpoint: Path
    best: Path | None


class Ring:
    """Keeps checkpoints in `folder`, as links, whatever `checkpoint.keep` says: `keep` verified ones, the start, and
    those that are not verified yet, of which `thin` drops some.

    All that it knows stands in the folder, so that a run that was killed finds it again.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        # Asked for at each step: the folder is looked at where something changes.
        self._pending: list[int] | None = None

    def add(self, checkpoint: Path, best: Path, step: int) -> None:
        """Keep a checkpoint, and the best model of now."""
        self._pending = None
        entry = self._entry(step)
        shutil.rmtree(entry, ignore_errors=True)
        if best.exists():
            link_folder(best, entry / "best")
        # Last, as what makes it an entry.
        link_folder(checkpoint, entry / checkpoint.name)

    def verify(self, step: int, *, before: int) -> list[int]:
        """Mark the checkpoints of steps up to `before` as verified, at `step`; return which, and drop what is spare."""
        found = [at for at in self.pending() if at <= before and at < step]
        if not found:
            return []
        for at in found:
            (self._entry(at) / _VERIFIED).touch()
        self._pending = None
        verified = [(at, entry) for at, entry in self._entries() if at and _is_good(at, entry)]
        for _, entry in verified[: -self.keep]:
            shutil.rmtree(entry)
        return found

    def thin(self, *, alarm: int) -> None:
        """Drop those of steps up to `alarm`, the last one, that could never be gone back to.

        They wait for one moment, which is so many steps after it, and of what is verified at once `keep` stay.
        """
        for at in [each for each in self.pending() if each <= alarm][: -self.keep]:
            shutil.rmtree(self._entry(at))
            self._pending = None

    def pending(self) -> list[int]:
        """Return the steps of checkpoints that are not verified yet."""
        if self._pending is None:
            self._pending = [at for at, entry in self._entries() if not _is_good(at, entry)]
        return self._pending

    def newest(self, before: int) -> Kept | None:
        """Return the newest verified checkpoint of step `before` or earlier; a harmed one is passed over and told."""
        for at, entry in reversed(self._entries()):
            if at > before or not _is_good(at, entry):
                continue
            kept = self._kept(at, entry)
            harm = damage(kept.checkpoint) or (kept.best is not None and damage(kept.best))
            if not harm:
                return kept
            logger.warning("sentinel: verified checkpoint %s is passed over: %s", kept.checkpoint, harm)
        return None

    def start(self) -> Kept | None:
        """Return the checkpoint of step 0, None where there is none."""
        return self._kept(0, self._entry(0)) if self._entry(0).exists() else None

    def forget_after(self, step: int) -> None:
        """Drop the checkpoints of steps after `step`: the run goes another way from there."""
        self._pending = None
        for at, entry in self._entries():
            if at > step:
                shutil.rmtree(entry)

    def _entry(self, step: int) -> Path:
        return self.folder / f"{step:08d}"

    def _kept(self, step: int, entry: Path) -> Kept:
        (checkpoint,) = entry.glob("step-*")
        best = entry / "best"
        return Kept(step, checkpoint, best if best.exists() else None)

    def _entries(self) -> list[tuple[int, Path]]:
        """Return the whole entries by step; what a killed process left half made is removed."""
        found = []
        for entry in sorted(self.folder.glob("[0-9]*")):
            for leftover in entry.glob(".step-*"):
                recover_folder(entry / leftover.name[1:].split(".", 1)[0])
            if any(entry.glob("step-*")):
                found.append((int(entry.name), entry))
            else:
                shutil.rmtree(entry, ignore_errors=True)
        return found


class SeenRing(Ring):
    """A ring that another process keeps: here nothing is done, and nothing is known."""

    def add(self, checkpoint: Path, best: Path, step: int) -> None:
        """Leave it to the one that writes."""

    def verify(self, step: int, *, before: int) -> list[int]:
        """Leave it to the one that writes."""
        return []

    def thin(self, *, alarm: int) -> None:
        """Leave it to the one that writes."""

    def newest(self, before: int) -> Kept | None:
        """Return None."""
        return None

    def start(self) -> Kept | None:
        """Return None."""
        return None

    def forget_after(self, step: int) -> None:
        """Leave it to the one that writes."""


def _is_good(step: int, entry: Path) -> bool:
    """Whether a checkpoint is verified; that of step 0, before anything was learnt, is from the start."""
    return step == 0 or (entry / _VERIFIED).exists()
