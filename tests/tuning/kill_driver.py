"""Carries out one study straight through, and once more through kills; test_study.py compares the two.

    python kill_driver.py plan.json

Each is a fork of this process, so that torch is imported once. `plan.json`: `config`; `folder`; `share`: after which
shares of the straight study's time a fork is killed with SIGKILL. Prints JSON: both studies, and how the forks ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from jenga.tuning import study
from jenga.tuning.trials import imported


def fork(config: dict[str, Any], folder: Path, seconds: float | None) -> tuple[int, float]:
    """Carry out what is left of a study in a fork, which is killed after `seconds`; return its exit code and time."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if seconds is not None:
                timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()
            found = study.tune({**config, "output_dir": str(folder)}, device="cpu", resume="auto")
            folder.with_suffix(".json").write_text(json.dumps(found))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - started


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    imported()
    folder = Path(plan["folder"])
    code, seconds = fork(plan["config"], folder / "straight", None)
    codes = [code]
    for share in plan["share"]:
        codes.append(fork(plan["config"], folder / "struck", share * seconds)[0])
    codes.append(fork(plan["config"], folder / "struck", None)[0])
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("straight", "struck")}
    print(json.dumps({"codes": codes, **found}))


if __name__ == "__main__":
    main()
