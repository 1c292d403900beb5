import asyncio
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jenga.errors import SetupError
from jenga.trainer.run import RunFolder
from jenga.tuning import worker


def test_each_question_has_its_own_answer() -> None:
    async def scene() -> list[bool | None]:
        desk = worker.Desk()
        asked = [asyncio.create_task(desk.ask(number, "words")) for number in (7, 8)]
        questions = [await desk.next() for _ in range(2)]
        for place, (number, _) in reversed(questions):
            await desk.answer(place, number == 8)
        return [await each for each in asked]

    assert asyncio.run(scene()) == [False, True]


def job(folder: Path, **changes: Any) -> Any:
    fields = {"directory": str(folder), "release": worker.version("jenga"), **changes}
    return worker.Job(0, {}, folder / "trial-000", "eval_loss", "cpu", **fields)


def test_a_worker_that_does_not_share_folders_or_release_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    with pytest.raises(SetupError, match=r"has no .*study\.db; the machines have to share"):
        worker.in_worker(job(tmp_path), None)
    with pytest.raises(SetupError, match="has no /nowhere"):
        worker.in_worker(job(tmp_path, directory="/nowhere"), None)
    with pytest.raises(SetupError, match=r"this study 0\.0; install the same everywhere"):
        worker.in_worker(job(tmp_path, release="0.0"), None)


def test_a_run_that_the_worker_of_a_killed_study_still_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.make(tmp_path / "trial", {})
    monkeypatch.setattr(worker.time, "sleep", lambda _: run.release())
    worker._wait_for(run.path)
    run.hold()
    monkeypatch.setattr(worker, "_LOCK_PATIENCE_S", 0.0)
    monkeypatch.setattr(worker.time, "sleep", lambda _: time.monotonic())
    with pytest.raises(SetupError, match="in use by another process"):
        worker._wait_for(run.path)
    run.release()
