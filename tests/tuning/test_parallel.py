import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from jenga.bundle import schema
from jenga.config.load import load_search
from jenga.errors import ConfigError, InterruptedRun, JengaError, SetupError
from jenga.trainer.run import RunFolder
from jenga.tuning import parallel, study
from jenga.tuning.attempt import Judged
from jenga.tuning.folder import StudyFolder
from jenga.tuning.parallel import RETRIES, Workers, shares

JUDGED = Judged(0.5, {})


class RayError(Exception):
    def __init__(self, words: str = "gone", cause: BaseException | None = None) -> None:
        super().__init__(words)
        self.cause = cause


ERRORS = {
    name: type(name, (RayError,), {})
    for name in ("RayTaskError", "TaskCancelledError", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")
}


class Ray:
    """Stands for Ray: tasks end as `ends` says, in turn; a tuple is what a worker asks, other things its result."""

    def __init__(self, *ends: Any) -> None:
        self.ends = list(ends)
        self.begun: list[Any] = []
        self.cancelled: list[tuple[int, bool]] = []
        self.answers: list[tuple[Any, ...]] = []
        self.exceptions = SimpleNamespace(RayError=RayError, **ERRORS)
        here = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        self.util = SimpleNamespace(scheduling_strategies=here)

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 4}}, {"Alive": False, "Resources": {"CPU": 64, "GPU": 8}}]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "node")

    def remote(self, what: Any) -> Any:
        calls = {
            "next": SimpleNamespace(remote=lambda: "question"),
            "answer": SimpleNamespace(remote=lambda *words: self.answers.append(words)),
        }
        made = (lambda: SimpleNamespace(**calls)) if isinstance(what, type) else self._begin
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=made, options=options))

    def _begin(self, job: Any, _desk: Any) -> int:
        self.begun.append(job)
        return len(self.begun)

    def wait(self, refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        assert timeout < 2
        return ([refs[0]] if isinstance(self.ends[0], tuple) else [refs[1]]), []

    def get(self, _ref: Any) -> Any:
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    def cancel(self, task: int, *, force: bool, recursive: bool) -> None:
        assert not recursive  # else the question that its worker waits on were cancelled too
        self.cancelled.append((task, force))

    def kill(self, _actor: Any) -> None:
        pass


@pytest.fixture
def working(
    monkeypatch: pytest.MonkeyPatch, searched: Callable[..., dict[str, Any]], tmp_path: Path
) -> Callable[..., Any]:
    """Return a function that has trials under way on a Ray that gives `ends`; it returns the workers and the Ray."""
    config = load_search(searched(), schema=schema()).experiment({})

    @contextmanager
    def make(
        *ends: Any, report: Callable[..., bool] = lambda *_: False, trials: int = 2
    ) -> Iterator[tuple[Workers, Ray]]:
        ray = Ray(*ends)
        monkeypatch.setattr(parallel, "imported", lambda: ray)
        with Workers(count=2, metric="eval_loss", report=report, device="auto") as workers:
            for number in range(trials):
                workers.begin(number, config, tmp_path / f"trial-{number}")
            yield workers, ray

    return make


def test_scores_go_to_the_study_and_its_answers_back(working: Callable[..., Any]) -> None:
    told: list[Any] = []

    def report(*details: Any) -> bool:
        told.append(details)
        return len(told) == 2

    with working((5, (0, 0, 0.1, False)), (6, (1, 0, 0.2, False)), JUDGED, report=report) as (workers, ray):
        number, judged = workers.wait()
        assert (number, judged()) == (0, JUDGED)
    assert told == [(0, 0, 0.1, False), (1, 0, 0.2, False)]
    assert ray.answers == [(5, False), (6, True)]
    assert ray.cancelled == [(2, True)]  # the one under way as the study left off


def test_a_score_that_cannot_be_noted_is_asked_for_again(working: Callable[..., Any]) -> None:
    def report(*_: Any) -> bool:
        raise SetupError("disk is full")

    with working((5, (0, 0, 0.1, False)), report=report) as (workers, ray), pytest.raises(SetupError, match="full"):
        workers.wait()
    assert ray.answers == [(5, None)]


@pytest.mark.parametrize("how", ["WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "ended from outside"])
def test_a_trial_whose_worker_dies_goes_on_and_in_the_end_fails_with_the_reason(
    working: Callable[..., Any], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended = ERRORS["RayTaskError"](cause=InterruptedRun("saved step 3"))
    death = ERRORS[how]("out of it\nmore") if how in ERRORS else ended
    with working(*[death] * (RETRIES + 1), trials=1) as (workers, ray):
        number, judged = workers.wait()
        assert [job.deaths for job in ray.begun] == list(range(RETRIES + 1))
    with pytest.raises(JengaError, match=f"given up after {RETRIES + 1} workers; the last: .*(out of it|saved step 3)"):
        judged()
    assert number == 0
    assert caplog.text.count("trial 0 goes on from its last checkpoint") == RETRIES


def test_what_a_run_ends_by_is_raised_as_it_was(working: Callable[..., Any]) -> None:
    for cause in (ConfigError("no such fusion"), MemoryError("too large")):
        with working(ERRORS["RayTaskError"](cause=cause)) as (workers, _):
            _, judged = workers.wait()
        with pytest.raises(type(cause)) as caught:
            judged()
        assert caught.value is cause


def test_a_ray_that_is_lost_ends_the_study(working: Callable[..., Any]) -> None:
    with working(RayError("no raylet")) as (workers, _):
        _, judged = workers.wait()
    with pytest.raises(SetupError, match="Ray: no raylet"):
        judged()


def test_ctrl_c_interrupts_every_trial_once_and_no_death_counts_then(working: Callable[..., Any]) -> None:
    ends = ((5, (0, 0, 0.1, False)), ERRORS["WorkerCrashedError"](), ERRORS["TaskCancelledError"]())
    with working(*ends) as (workers, ray):
        os.kill(os.getpid(), signal.SIGINT)
        assert workers.interrupted
        ended = [workers.wait() for _ in range(2)]
        assert ray.cancelled == [(1, False), (2, False)]
    for _, judged in ended:
        with pytest.raises(InterruptedRun):
            judged()
    assert len(ray.begun) == 2
    assert ray.answers == [(5, False)]  # a worker that waits for an answer ends only after it


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "found"),
    [
        ([{"CPU": 8}], 2, False, (2, 4)),
        ([{"CPU": 8}, {"CPU": 5}], 3, False, (3, 4)),
        ([{"CPU": 8}, {"CPU": 4}, {"CPU": 0}, {}], None, False, (2, 4)),
        ([{"CPU": 32, "GPU": 4}, {"CPU": 64}], None, True, (4, 8)),
        ([{"CPU": 2}], 3, False, (3, 1)),
    ],
)
def test_processors_are_shared_out_so_that_all_trials_have_room(
    nodes: list[dict[str, float]], workers: int | None, gpus: bool, found: tuple[int, int]
) -> None:
    assert shares(nodes, workers, gpus=gpus) == found


def test_too_little_room_is_told(caplog: pytest.LogCaptureFixture) -> None:
    shares([{"CPU": 2}], 3, gpus=False)
    assert "has room for 2 of 3 trials at once; the others wait" in caplog.text
    with pytest.raises(SetupError, match="no machine of this Ray has a processor and a GPU"):
        shares([{"CPU": 2}], 3, gpus=True)


@pytest.mark.parametrize("address", ["search.yml", "ray://head:10001", "head", "head:ray"])
def test_what_is_no_address_is_told_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "imported", lambda: SimpleNamespace(is_initialized=lambda: False))
    with pytest.raises(ConfigError, match="is neither local, auto nor host:port"), parallel.connected(address):
        pass


def test_an_address_at_which_nobody_answers_is_told_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "imported", lambda: SimpleNamespace(is_initialized=lambda: False))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(SetupError, match=r"nobody answers there .*`ray start --head`"), parallel.connected(address):
            pass


@pytest.mark.parametrize("before", [True, False])
def test_a_ray_ends_with_the_study_that_began_it(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    ray = SimpleNamespace(
        is_initialized=lambda: before,
        init=lambda **options: called.append(options["address"]),
        shutdown=lambda: called.append("shutdown"),
    )
    monkeypatch.setattr(parallel, "imported", lambda: ray)
    with pytest.raises(InterruptedRun), parallel.connected("local"):
        raise InterruptedRun
    assert called == ([] if before else ["local", "shutdown"])


# --------------------------------------------------------------------------------------------------------- a real Ray

JENGA = [sys.executable, "-P", "-c", "from jenga.cli.main import main; main()"]
STEPS, PATIENCE_S = 30, 120.0


@contextmanager
def driver(config: Path, log: Path, scratch: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start `jenga tune` on a Ray of its own, in a folder without the clone's jenga/, which has no compiled kernels."""
    command = [*JENGA, "tune", str(config), "--ray", "--workers", "2", "--device", "cpu", "--json", *options]
    environment = {
        **os.environ, "RAY_NODE_IP_ADDRESS": "127.0.0.1", "RAY_TMPDIR": scratch, "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with log.open("ab") as err, log.with_suffix(".json").open("wb") as out:
        process = subprocess.Popen(command, cwd=config.parent, env=environment, stdout=out, stderr=err)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def step_of(run: Path) -> int:
    """Return the step of the newest checkpoint of a run, 0 where there is none."""
    return max((int(each.name.rpartition("-")[2]) for each in run.glob("checkpoints/step-*")), default=0)


def holder_of(run: Path) -> int | None:
    """Return the process that holds a run."""
    inode = str((run / ".lock").stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
            return int(words[4])
    return None


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="who holds a run is read from /proc/locks")
def test_trials_at_once_that_are_killed_and_interrupted_are_those_of_one_after_another(
    searched: Callable[..., dict[str, Any]], outcome: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    # Random draws: none depends on which scores are known as it begins.
    content = searched(sampler="random", pruner="none", trials=3)
    content["training"]["max_steps"] = STEPS
    config, log = tmp_path / "search.yml", tmp_path / "log"
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    before: dict[Path, int] = {}

    def advanced(process: subprocess.Popen[bytes], count: int) -> list[Path]:
        """Return `count` runs under way, once so many have saved a checkpoint that was not there `before`."""
        end = time.monotonic() + PATIENCE_S
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            runs = [each.parent for each in tmp_path.glob("runs/test/study_*/trial-*/run.json")]
            found = [run for run in runs if before.get(run, 0) < step_of(run) < STEPS - 3 and holder_of(run)]
            if len(found) >= count:
                return found
            time.sleep(0.01)

    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="ray") as scratch:
        with driver(config, log, scratch) as killed:
            runs = advanced(killed, 2)
            killed.kill()
        before = {run: step_of(run) + 1 for run in runs}
        with driver(config, log, scratch, "--resume", "auto") as stopped:
            runs = advanced(stopped, 2)  # of three trials, whose workers do not begin together
            stopped.send_signal(signal.SIGINT)
            assert stopped.wait(PATIENCE_S) == 130, log.read_text()
        under_way = ", ".join(str(number) for number in sorted(int(run.name[-3:]) for run in runs))
        assert f"error: interrupted; trials under way: {under_way}. Go on with --resume auto" in log.read_text()
        (folder,) = tmp_path.glob("runs/test/study_*")
        assert StudyFolder(folder).info()["status"] == "interrupted"
        assert [RunFolder(run).info()["status"] for run in runs] == ["interrupted"] * 2
        before = {run: step_of(run) for run in runs}
        with driver(config, log, scratch, "--resume", "auto") as last:
            (struck, *_) = advanced(last, 1)
            os.kill(holder_of(struck) or 0, signal.SIGKILL)
            assert last.wait(3 * PATIENCE_S) == 0, log.read_text()
    assert f"trial {int(struck.name[-3:])} goes on from its last checkpoint: its worker died" in log.read_text()
    found = json.loads(log.with_suffix(".json").read_text())
    straight = study.tune({**content, "output_dir": str(tmp_path / "straight")}, device="cpu")
    assert outcome(found) == outcome(straight)
