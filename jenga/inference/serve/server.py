"""A server's life: it is made, answers, looks for new runs, and stops once all is answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from jenga.inference.serve.app import Service
from jenga.inference.serve.batcher import QueueLimits
from jenga.inference.serve.bodies import Limits
from jenga.inference.serve.metrics import Metrics
from jenga.inference.serve.models import Models, places_of, settle
from jenga.inference.serve.served import Loading, Served

logger = logging.getLogger(__name__)
_PARENT_S = 1.0
_KEEP_ALIVE_S = 75
"""Seconds that a connection may be idle: longer than clients keep one, which would else meet with its end."""
_SWITCH_S = 0.0001
"""After which a thread hands Python's lock on; a fiftieth of Python's own choice."""


@dataclass(frozen=True)
class Settings:
    """What is served, and how.

    `runs`: ``RUN`` or ``name=RUN``. `drain_s`: for what is under way when it stops. `watch_s`: between looks for new
    runs. `parent`: the process that this one ends with.
    """

    runs: Sequence[str]
    loading: Loading = field(default_factory=Loading)
    queue: QueueLimits = field(default_factory=QueueLimits)
    limits: Limits = field(default_factory=Limits)
    token: str | None = field(default=None, repr=False)
    drain_s: float = 30.0
    watch_s: float = 5.0
    parent: int | None = None


def service(settings: Settings) -> Service:
    """Return what answers, with all models loaded. Raises ConfigError or SetupError."""
    metrics = Metrics()
    places = places_of(settings.runs)

    def make(name: str, folder: Path) -> Served:
        return Served(name, folder, settings.loading, settings.queue, metrics.of_model(name))

    return Service(Models(places, make), metrics, settings.limits, settings.token)


def serve(settings: Settings, listener: socket.socket) -> None:
    """Answer at `listener`, which is bound, until SIGTERM or SIGINT; SIGHUP looks for new runs."""
    # The thread of the model holds Python's lock while it prepares rows; requests are not to wait for it so long.
    sys.setswitchinterval(_SWITCH_S)
    server = Server(service(settings), settings)
    settle()
    # uvloop where it is installed: about a tenth less of the processor for each request.
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve([listener]))


class Server(uvicorn.Server):
    """Stops once all that is under way is answered; what comes until then gets 503."""

    def __init__(self, service: Service, settings: Settings) -> None:
        # A signal that is too late for a graceful end must not wait for clients that never read.
        super().__init__(
            uvicorn.Config(
                service.gate, log_config=None, access_log=False, lifespan="off", server_header=False,
                backlog=1024, timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            )
        )  # fmt: skip
        self._service, self._settings = service, settings
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take signals, as far as this is the main thread, and do beside the answers what is to be done."""
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(each, self.stop)
            loop.add_signal_handler(signal.SIGHUP, self.reload)
        self._begin(self._service.models.watch(self._settings.watch_s))
        if self._settings.parent is not None:
            self._begin(self._with_parent(self._settings.parent))
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            self._service.models.close()

    def stop(self) -> None:
        """Take no more requests, and end once those under way are answered; the second time at once."""
        if self._service.gate.stops:
            self.should_exit = self.force_exit = True
        self._service.gate.close()
        self._begin(self._drained())

    def reload(self) -> None:
        """Look for new runs."""
        self._begin(self._service.models.reload(again=True))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drained(self) -> None:
        try:
            await asyncio.wait_for(self._service.gate.drained(), self._settings.drain_s)
        except TimeoutError:
            logger.error("what is under way is not answered within %g s and is given up", self._settings.drain_s)
            self.force_exit = True
        self.should_exit = True

    async def _with_parent(self, parent: int) -> None:
        while os.getppid() == parent:
            await asyncio.sleep(_PARENT_S)
        self.stop()
