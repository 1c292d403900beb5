import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import DataError, SetupError
from jenga.workers import AHEAD, TRIES, in_order

EVALUATE: Callable[[], Callable[[str], Any]] = partial(partial, eval)
"""Begins with what evaluates jobs, which are expressions: what a fresh process finds without this file."""
DIES = "__import__('os').kill(__import__('os').getpid(), 9)"


def done(jobs: Any, *, processes: int = 2, start: Any = EVALUATE) -> Iterator[Any]:
    return in_order(start, jobs, processes=processes, threads=1, place=lambda job: f"job {job[-9:]}")


def dies_until(path: Path, times: int, value: int) -> str:
    """Return an expression whose process dies `times` times before it is `value`."""
    return (
        f"({DIES} if len(open({str(path)!r}, 'a+').write('x') and open({str(path)!r}).read()) <= {times} else {value})"
    )


def test_results_come_in_the_order_of_jobs_from_several_processes() -> None:
    jobs = [f"__import__('time').sleep({0.3 if n == 0 else 0}) or ({n}, __import__('os').getpid())" for n in range(9)]
    found = list(done(jobs))
    assert [number for number, _ in found] == list(range(9))
    assert len({process for _, process in found}) == 2
    assert os.getpid() not in {process for _, process in found}


def test_no_job_starts_no_process_and_one_starts_one() -> None:
    assert list(done([])) == []
    assert list(done(["1 + 1"], processes=50)) == [2]


def test_jobs_are_asked_for_only_as_there_is_room() -> None:
    asked: list[int] = []

    def jobs() -> Iterator[str]:
        for number in range(100):
            asked.append(number)
            yield str(number)

    found = done(jobs())
    for number in range(10):
        assert next(found) == number
        assert len(asked) <= number + 1 + 2 * AHEAD
    found.close()  # type: ignore[attr-defined]
    assert len(asked) < 20


def test_processes_have_the_threads_that_they_are_given() -> None:
    assert list(done(["__import__('os').environ['OMP_NUM_THREADS']"])) == ["1"]


def test_a_job_whose_process_is_killed_is_done_again_in_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = ["0", dies_until(tmp_path / "x", 2, 1), *map(str, range(2, 8))]
    assert list(done(jobs)) == list(range(8))
    assert (tmp_path / "x").stat().st_size == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"job {jobs[1][-9:]}: the process at it ended by signal 9; it is done again by a new one"
    ] * 2


def test_a_job_that_kills_every_process_is_an_error_with_its_place() -> None:
    found = done(["0", DIES, "2"])
    assert next(found) == 0
    with pytest.raises(SetupError, match=rf"^job .*: {TRIES} processes at it, .* ended by signal 9; .* fewer"):
        next(found)


def test_processes_that_die_as_they_begin_are_an_error() -> None:
    with pytest.raises(SetupError, match=f"{TRIES} processes ended with code 7 as they began"):
        list(done(["1"], start=partial(os._exit, 7)))


def test_what_a_job_raises_is_raised_in_its_turn_and_what_a_start_raises_at_once() -> None:
    raises = "(_ for _ in ()).throw(__import__('jenga.errors').errors.DataError('no such row'))"
    found = done(["0", raises, "2"])
    assert next(found) == 0
    with pytest.raises(DataError, match=r"^no such row$"):
        next(found)
    with pytest.raises(FileNotFoundError):
        list(done(["0"], start=partial(open, "/no/such/file")))


def test_a_result_that_cannot_be_handed_over_is_an_error() -> None:
    with pytest.raises(Exception, match=r"(?i)pickle"):
        list(done(["lambda: 0"]))


DRIVER = """
import os, sys
from functools import partial
from jenga.workers import in_order
if __name__ == "__main__":
    jobs = ["__import__('os').getpid()", "__import__('os').getpid()", "__import__('time').sleep(60)",
            "__import__('time').sleep(60)"]
    for found in in_order(partial(partial, eval), jobs, processes=2, threads=1, place=str):
        print(found, flush=True)
"""


@pytest.mark.serial
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(tmp_path: Path, how: signal.Signals) -> None:
    program = textwrap.dedent(DRIVER).replace("sleep(60)", "sleep(3)")
    # What a shell starts in the background ignores it.
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    (tmp_path / "driver.py").write_text(heard + program)
    with subprocess.Popen(
        [sys.executable, "-P", tmp_path / "driver.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as driver:  # fmt: skip
        assert driver.stdout is not None
        workers = {int(driver.stdout.readline()), int(driver.stdout.readline())}
        began = time.monotonic()
        if how == signal.SIGINT:
            os.killpg(driver.pid, how)  # as a terminal does
        else:
            driver.kill()
        _, told = driver.communicate()
    end = 3 if how == signal.SIGINT else 20
    while any(Path(f"/proc/{each}").exists() for each in workers) and time.monotonic() - began < end:
        time.sleep(0.05)
    assert not [each for each in workers if Path(f"/proc/{each}").exists()]
    assert told.count("Traceback") == (how == signal.SIGINT)  # of the driver alone
