"""What a run's sentinel has decided: neither a rollback nor the end of the process takes it back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from jenga.errors import SetupError
from jenga.files import json_object, write_atomic

NAME = "decisions.json"


class Decisions:
    """Kept in the file `path`, beside the checkpoints: each of them knows only what was decided before it.

    `undone`: turns that were undone by the step before which they were, as run.json leaves them out. `rollbacks`: times
    that the run went back from such a step. `starts`: times that it was to begin again; `to_the_start`: it has yet to.
    """

    def __init__(self, path: Path, *, written: bool = True) -> None:
        """written: False where another process writes it. Raises SetupError for a file that is damaged."""
        self.path, self.written = path, written
        try:
            found = json_object(path) if path.exists() else {}
            self.undone = Counter({int(step): int(times) for step, times in found.get("undone", {}).items()})
            self.rollbacks, self.starts = int(found.get("rollbacks", 0)), int(found.get("starts", 0))
            self.to_the_start = bool(found.get("to_the_start", False))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise SetupError(f"{path}: damaged ({error}); restore it from a copy, or start a new run") from error

    def undo(self, step: int) -> int:
        """Note that a turn before `step` is amiss, and return how many have been."""
        self.undone[step] += 1
        self._write()
        return self.undone[step]

    def go_back(self, step: int) -> None:
        """Note that the run goes back from `step`; the turns that were undone there are taken again."""
        self.rollbacks += 1
        del self.undone[step]
        self._write()

    def begin_again(self) -> None:
        """Note that the run is to go back to its start."""
        self.starts += 1
        self.to_the_start = True
        self._write()

    def at_start(self) -> None:
        """Note that it stands there."""
        if self.to_the_start:
            self.to_the_start = False
            self._write()

    def _write(self) -> None:
        if not self.written:
            return
        content: dict[str, Any] = {key: value for key, value in vars(self).items() if key not in ("path", "written")}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, json.dumps(content, indent=1) + "\n")
