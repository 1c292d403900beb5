"""Runs one experiment straight through, and once more through a series of deaths; test_experiment.py compares the two.

    python crash_driver.py plan.json

Each run is a fork of this process, so that torch is imported once. `plan.json`: `config`; `folder`; `deaths`, each
``[signal, "write", n]``: at the n-th change of a file or folder of the run, or ``[signal, "share", x]``: after that
share of the straight run's time. Prints JSON: how each fork ended, with its run folder and the changes it counted.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from jenga.errors import InterruptedRun
from jenga.run import experiment

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


class Counter:
    """Counts changes under a folder as they are about to happen, and strikes at one of them."""

    def __init__(self, folder: Path, strike_at: int | None, number: int) -> None:
        self.folder, self.strike_at, self.number = str(folder), strike_at, number
        self.count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
            if path.startswith(self.folder):
                self.count += 1
                if self.count == self.strike_at:
                    os.kill(os.getpid(), self.number)


def fork(config: dict[str, Any], folder: Path, death: list[Any] | None, seconds: float) -> dict[str, Any]:
    """Train in a fork, which dies as `death` says; return how it ended."""
    note = folder.with_suffix(".json")
    note.unlink(missing_ok=True)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            number, kind, when = death or [0, "write", None]
            counter = Counter(folder, when if kind == "write" else None, number)
            sys.addaudithook(counter)
            if kind == "share":
                timer = threading.Timer(when * seconds, os.kill, (os.getpid(), number))
                timer.daemon = True
                timer.start()
            run = experiment.train({**config, "output_dir": str(folder)}, device="cpu", resume="auto").run
            note.write_text(json.dumps({"run": str(run), "changes": counter.count}))
            code = 0
        except (InterruptedRun, KeyboardInterrupt):
            code = 130
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    ended = {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - started}
    return ended | (json.loads(note.read_text()) if note.exists() else {})


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(plan["folder"])
    straight = fork(plan["config"], folder / "straight", None, 0.0)
    codes = []
    for death in plan["deaths"]:
        codes.append(fork(plan["config"], folder / "struck", death, straight["seconds"])["code"])
    struck = fork(plan["config"], folder / "struck", None, 0.0)
    print(json.dumps({"straight": straight, "struck": struck, "codes": codes}))


if __name__ == "__main__":
    main()
