"""Prints the peak memory of one forward and backward pass beyond its inputs and gradients, in bytes, on a CPU.

python benchmarks/peak_memory.py MODULE PROVIDER

MODULE has `PROVIDERS`, whose functions take the problem of `memory_problem()` and return a step. The step runs once at
a small size, so that libraries load and threads start; then at full size in this process. VmHWM (/proc/self/status) is
the most memory that the process ever had resident, reset by writing 5 to /proc/self/clear_refs just before the step.
The gradients that the step returns are subtracted; what an allocator keeps for later is not.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import torch


def peak_bytes(module_name: str, provider_name: str) -> int:
    """What this script prints, from a process of its own: a peak of one that did other things before is not the step's.

    The gradients that the step returns are not in it.
    """
    script = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-P", str(script), module_name, provider_name],
        env=os.environ | {"PYTHONPATH": str(script.parent)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout.split()[-1])


def resident_bytes(name: str) -> int:
    """`VmRSS` or `VmHWM` of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def main(module_name: str, provider_name: str) -> None:
    torch.set_num_threads(1)
    module = importlib.import_module(module_name)
    provider = module.PROVIDERS[provider_name]
    provider(module.memory_problem(warmup=True))()
    step = provider(module.memory_problem(warmup=False))
    before = resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    gradients = step()
    kept = sum(gradient.nbytes for gradient in gradients)
    print(resident_bytes("VmHWM") - before - kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
