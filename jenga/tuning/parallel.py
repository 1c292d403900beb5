"""Several trials of a study at once, on this machine or on many, as tasks of Ray that the study itself drives.

Not by `ray.tune`: its own record of the experiment, its searchers' pickled state and its folders would stand beside
study.db, and after a kill the two would tell of different trials. So Ray does here what it is best at, to place tasks
on machines and to tell which died; what is drawn, pruned and noted is the study's, by one process.

What a worker does: `jenga.tuning.worker`.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, InterruptedRun, JengaError, SetupError
from jenga.extras import required
from jenga.trainer.signals import interruptible
from jenga.tuning.attempt import Judged, TrialReport
from jenga.tuning.worker import Desk, Job, in_worker

logger = logging.getLogger(__name__)

LOCAL = "local"
"""The address that means a Ray of this machine's own, which ends with the study."""
RETRIES = 2
"""How often a trial goes on after the death of its worker before it is given up."""
_GLANCE_S = 0.5
_CONNECT_PATIENCE_S = 10.0
_STORE_BYTES = 100 << 20


def shares(nodes: Sequence[Mapping[str, float]], workers: int | None, *, gpus: bool) -> tuple[int, int]:
    """Return how many trials are under way at once, and how many processors each has.

    nodes: the resources of each machine, by Ray's names. workers: as asked for; None: one a GPU, or one a machine
    where `gpus` is false. A trial has one GPU, and as many processors as leave room for all of them.
    """

    def room(processors: int) -> int:
        places = (min(each["CPU"] // processors, each.get("GPU", 0) if gpus else 1e9) for each in nodes)
        return int(sum(places))

    nodes = [each for each in nodes if each.get("CPU", 0) >= 1]
    wanted = workers or int(sum(each.get("GPU", 0) for each in nodes) if gpus else len(nodes))
    most = int(max((each["CPU"] for each in nodes), default=0))
    processors = max((count for count in range(1, most + 1) if room(count) >= wanted), default=1)
    if room(1) == 0:
        raise SetupError(f"--ray: no machine of this Ray has a processor{' and a GPU' if gpus else ''} for a trial")
    if room(1) < wanted:
        logger.warning("--workers: this Ray has room for %d of %d trials at once; the others wait", room(1), wanted)
    return wanted, processors


class Workers:
    """Trials on workers of the Ray that this process is `connected` to, `count` of them at once."""

    def __init__(self, *, count: int | None, metric: str, report: TrialReport, device: str) -> None:
        self.count, self.metric, self.report, self.device = count, metric, report, device
        self.slots, self.interrupted = 0, False
        self._ray = imported()
        self._stack = ExitStack()
        self._tasks: dict[Any, Job] = {}
        self._ending = False

    def __enter__(self) -> Self:
        ray = self._ray
        try:
            nodes = [each["Resources"] for each in ray.nodes() if each["Alive"]]
            gpus = self.device == "cuda" or (self.device == "auto" and any(each.get("GPU") for each in nodes))
            self.slots, processors = shares(nodes, self.count, gpus=gpus)
            self._remote = ray.remote(in_worker).options(num_cpus=processors, num_gpus=int(gpus), max_retries=0)
            # Beside this process: a machine that is lost takes no more than its trials with it.
            here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=False
            )
            self._desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()
            self._question = self._desk.next.remote()
            self._stack.enter_context(interruptible(self._ask_to_end))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._tasks:  # an error of the study itself: its trials go on from the checkpoints that they have
            self._ray.cancel(task, force=True, recursive=False)
        self._ray.kill(self._desk)
        self._stack.close()

    def begin(self, number: int, config: ExperimentConfig, folder: Path) -> None:
        """Hand a trial to a worker."""
        self._submit(Job(
            number, config.model_dump(mode="json"), folder.resolve(), self.metric, self.device,
            directory=os.getcwd(), release=version("jenga"),
        ))  # fmt: skip

    def wait(self) -> tuple[int, Callable[[], Judged]]:
        """Answer the workers until a trial ends; return its number and result."""
        while True:
            if self.interrupted:
                self.end()
            # Woken now and then, for Ctrl-C does no more than set `interrupted`.
            ready, _ = self._ray.wait([self._question, *self._tasks], timeout=_GLANCE_S)
            for task in ready:
                if task is self._question:
                    self._answer()
                elif (result := self._result(self._tasks.pop(task), task)) is not None:
                    return result

    def end(self) -> None:
        """Interrupt the trials under way: each saves a checkpoint after its step, and ends."""
        if not self._ending:
            self._ending = True
            for task in self._tasks:
                # As Ctrl-C there. Not recursive: what the worker asks the desk is still answered.
                self._ray.cancel(task, force=False, recursive=False)

    def _ask_to_end(self) -> None:
        self.interrupted = True

    def _submit(self, job: Job) -> None:
        self._tasks[self._remote.remote(job, self._desk)] = job

    def _answer(self) -> None:
        place, details = self._ray.get(self._question)
        self._question = self._desk.next.remote()
        stop = None
        try:
            stop = self.report(*details)
        finally:
            self._desk.answer.remote(place, stop)

    def _result(self, job: Job, task: Any) -> tuple[int, Callable[[], Judged]] | None:
        """Return how a trial ended; None where its worker died, and another one goes on with it."""
        errors = self._ray.exceptions
        try:
            judged = self._ray.get(task)
            return job.number, lambda: judged
        except errors.RayTaskError as error:
            cause = error.cause
        except errors.TaskCancelledError:
            cause = InterruptedRun("interrupted. Go on with --resume auto")
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            cause = InterruptedRun(f"its worker died ({type(error).__name__}: {str(error).splitlines()[0]})")
        except errors.RayError as error:
            cause = SetupError(f"Ray: {error}")
        if isinstance(cause, InterruptedRun) and not self._ending:  # by nobody here: a kill, or a machine that is lost
            if job.deaths < RETRIES:
                logger.warning("trial %d goes on from its last checkpoint: %s", job.number, cause)
                self._submit(replace(job, deaths=job.deaths + 1))
                return None
            cause = JengaError(f"given up after {job.deaths + 1} workers; the last: {cause}")
        return job.number, partial(_raise, cause)


def _raise(error: BaseException) -> Judged:
    raise error


def imported() -> Any:
    """Return Ray. Raises SetupError where it is not installed."""
    ray = required("ray", extra="ray", need="--ray needs Ray")
    required("ray.util.scheduling_strategies", extra="ray", need="--ray needs Ray")
    return ray


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to the Ray at `address`: `LOCAL`, ``auto`` or host:port. One that there is already stays as it is.

    Raises SetupError where Ray is not installed, or none is reached there; ConfigError for another kind of address.
    """
    ray = imported()
    if ray.is_initialized():
        yield
        return
    _check(address)
    # Nothing is told to Ray's makers, and a task without a GPU sees what its machine shows it.
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        os.environ.setdefault(name, "0")
    own = {"object_store_memory": _STORE_BYTES, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (RuntimeError, ValueError, OSError) as error:
        raise SetupError(f"--ray {address}: {str(error).rstrip('.')}. {_FIX}") from error
    try:
        yield
    finally:
        ray.shutdown()


_FIX = "Begin a cluster with `ray start --head`, or leave the address out for this machine alone"


def _check(address: str) -> None:
    """Refuse an address at which nobody answers, which Ray would ask for minutes."""
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ConfigError(f"--ray: '{address}' is neither {LOCAL}, auto nor host:port, as `ray start --head` tells it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise SetupError(f"--ray {address}: nobody answers there ({error}). {_FIX}") from error
