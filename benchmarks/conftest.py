"""Collects the paired ratios of a run, prints them at its end, and writes them as JSON where asked."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

import jenga  # noqa: F401 -- before torch, as the commands do: it sets how OpenMP's threads wait

# isort: split
import torch
from paired import SMOKE, PairedRatio

from jenga.kernels import backend_info
from jenga.threads import spinning

RATIOS = pytest.StashKey[dict[str, PairedRatio]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--paired-json", type=Path, default=None, help="write the paired ratios to this file")
    beside = Path(__file__).parents[2] / "shared" / "data"
    parser.addoption("--data-root", type=Path, default=beside, help="folder with snips/train.jsonl")
    parser.addoption("--base-model", type=Path, default=None, help="folder of a text encoder for the training steps")
    parser.addoption("--learning-json", type=Path, default=None, help="curves of bench_learning.py, kept between runs")
    parser.addoption("--settings-json", type=Path, default=None, help="runs of bench_settings.py, kept between runs")
    parser.addoption("--sentinel-json", type=Path, default=None, help="figures of bench_sentinel.py")
    parser.addoption("--threads", type=int, default=None, help="torch threads (default: torch's own)")


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """No workers: what is timed has the machine to itself."""
    return 0


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RATIOS] = {}
    config.option.benchmark_disable |= SMOKE
    threads = config.getoption("--threads")
    if threads is not None:
        torch.set_num_threads(threads)


@pytest.fixture
def report_ratio(request: pytest.FixtureRequest) -> Callable[[str, PairedRatio], None]:
    """Call with a name, `group: candidate / baseline`, and the ratio to report."""
    return request.config.stash[RATIOS].__setitem__


def machine() -> dict[str, object]:
    """What a number depends on: processor, ISA, threads, versions, and which implementation ran."""
    return {
        "machine": platform.machine(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "waiting_threads": spinning(),
        "torch": torch.__version__,
        "backends": {op: devices["cpu"].reason for op, devices in backend_info().items()},
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ratios = config.stash[RATIOS]
    if not ratios:
        return
    terminalreporter.section("paired ratios: median [95% interval], below 1 the first is faster")
    terminalreporter.write_line(str(machine()))
    for name, ratio in ratios.items():
        terminalreporter.write_line(f"{name:<72} {ratio}")
    path = config.getoption("--paired-json")
    if path is not None:
        rows = {name: ratio.as_dict() for name, ratio in ratios.items()}
        path.write_text(json.dumps({"machine": machine(), "ratios": rows}, indent=2) + "\n")
