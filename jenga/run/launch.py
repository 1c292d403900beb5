"""Several processes of one training on this machine, by torch's own launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from jenga.errors import InterruptedRun, SetupError

_SHUTDOWN_S = 600
"""How long processes that were asked to end have for their step and its checkpoint."""
THREADS = "OMP_NUM_THREADS"


def launch(processes: int, arguments: Sequence[str], *, restarts: int = 0) -> int:
    """Run ``python -m jenga.train ARGUMENTS`` in so many processes; return the exit code, 0 where all are done.

    restarts: times that all begin anew, at the newest checkpoint, after one of them was killed or failed. Ctrl-C and
    SIGTERM are handed on. Raises SetupError where a process was killed; of other ends it has told itself.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            # What it tells, with a traceback of its own, is told here in one line.
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault(THREADS, str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        run_id=uuid.uuid4().hex, max_restarts=restarts, shutdown_timeout=_SHUTDOWN_S,
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "jenga.train", *arguments)
    except SignalException:
        return InterruptedRun.exit_code
    except ChildFailedError as error:
        # Whoever waits for one that was killed fails too, and those that are left are ended.
        ended = {rank: each for rank, each in error.failures.items() if each.exitcode not in (0, -signal.SIGTERM)}
        killed = [(rank, each) for rank, each in ended.items() if each.exitcode < 0]
        if not killed:
            return max((each.exitcode for each in ended.values()), default=1)  # it has told why
        rank, failure = killed[0]
        raise SetupError(
            f"process {rank} of {processes} was ended by {failure.signal_name()}; the kernel does so where memory runs "
            "out. The newest checkpoint is unharmed: go on with --resume auto"
        ) from error
    return 0
