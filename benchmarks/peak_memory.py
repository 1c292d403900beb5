"""Prints the peak memory of one forward and backward pass beyond its inputs and gradients, in bytes, on a CPU.

python benchmarks/peak_memory.py MODULE PROVIDER...

MODULE has `PROVIDERS`, whose functions take the problem of `memory_problem()` and return a step. The step runs once at
a small size, so that libraries load and threads start; then at full size in this process. VmHWM (/proc/self/status) is
the most memory that the process ever had resident, reset by writing 5 to /proc/self/clear_refs just before the step.
The gradients that the step returns are subtracted; what an allocator keeps for later is not.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from paired import SMOKE


def peak_bytes(module_name: str, *providers: str) -> dict[str, int]:
    """What this script prints for each provider, the gradients that its step returns not in it.

    Each has a process of its own, for a peak of one that did other things before is not the step's. A smoke run makes
    do with one process for all, whose figures mean nothing.
    """
    if SMOKE:
        return _printed(module_name, providers)
    return {name: peak for provider in providers for name, peak in _printed(module_name, [provider]).items()}


def _printed(module_name: str, providers: Sequence[str]) -> dict[str, int]:
    script = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-P", str(script), module_name, *providers],
        env=os.environ | {"PYTHONPATH": str(script.parent)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(zip(providers, map(int, done.stdout.split()[-len(providers) :]), strict=True))


def resident_bytes(name: str) -> int:
    """`VmRSS` or `VmHWM` of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main(module_name: str, *providers: str) -> None:
    torch.set_num_threads(1)
    module = importlib.import_module(module_name)
    # Behind whatever a provider prints.
    print(*[peak_of(module, module.PROVIDERS[name]) for name in providers])


def peak_of(module: Any, provider: Callable[[Any], Callable[[], list[torch.Tensor]]]) -> int:
    provider(module.memory_problem(warmup=True))()
    step = provider(module.memory_problem(warmup=False))
    before = resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    gradients = step()
    kept = sum(gradient.nbytes for gradient in gradients)
    return resident_bytes("VmHWM") - before - kept


if __name__ == "__main__":
    main(*sys.argv[1:])
