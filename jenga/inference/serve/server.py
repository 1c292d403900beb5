"""A server's life: it is made, answers, looks for new runs, and stops once all is answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from jenga.inference.serve.app import Service
from jenga.inference.serve.batcher import QueueLimits
from jenga.inference.serve.bodies import Limits
from jenga.inference.serve.metrics import Metrics
from jenga.inference.serve.models import Models, places_of
from jenga.inference.serve.served import Loading, Served

logger = logging.getLogger(__name__)
WATCH_S = 5.0


@dataclass(frozen=True)
class Settings:
    """What is served, and how. `runs`: ``RUN`` or ``name=RUN``. `drain_s`: for what is under way when it stops."""

    runs: Sequence[str]
    loading: Loading = field(default_factory=Loading)
    queue: QueueLimits = field(default_factory=QueueLimits)
    limits: Limits = field(default_factory=Limits)
    token: str | None = field(default=None, repr=False)
    drain_s: float = 30.0
    watch_s: float = WATCH_S


def service(settings: Settings) -> Service:
    """Return what answers, with all models loaded. Raises ConfigError or SetupError."""
    metrics = Metrics()
    places = places_of(settings.runs)

    def make(name: str, folder: Path) -> Served:
        return Served(name, folder, settings.loading, settings.queue, metrics.of_model(name))

    return Service(Models(places, make), metrics, settings.limits, settings.token)


def serve(settings: Settings, listener: socket.socket) -> None:
    """Answer at `listener`, which is bound, until SIGTERM or SIGINT; SIGHUP looks for new runs."""
    made = service(settings)
    config = uvicorn.Config(made.gate, log_config=None, access_log=False, lifespan="off", server_header=False)
    asyncio.run(_Server(config, made, settings).serve([listener]))


class _Server(uvicorn.Server):
    """Stops once all that is under way is answered; what comes until then gets 503."""

    def __init__(self, config: uvicorn.Config, service: Service, settings: Settings) -> None:
        super().__init__(config)
        self._service, self._settings = service, settings
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._begin(self._service.models.reload(again=True)))
        self._begin(self._service.models.watch(self._settings.watch_s))
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            self._service.models.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop(self) -> None:
        if self._service.gate.stops:
            self.should_exit = self.force_exit = True
        self._begin(self._drained())

    async def _drained(self) -> None:
        try:
            await asyncio.wait_for(self._service.gate.drain(), self._settings.drain_s)
        except TimeoutError:
            logger.error("what is under way is not answered within %g s and is given up", self._settings.drain_s)
            self.force_exit = True
        self.should_exit = True
