"""Tables of a GPU: each provider of an op's benchmark at the sizes of docs/kernels.md's, in bf16.

python benchmarks/gpu_tables.py multi_head_loss|lora_linear|linear_cross_entropy [--json FILE] [--device cpu]

Of each: milliseconds by events with the L2 emptied before, by the clock with dispatch, and of a replayed graph; the
peak of memory beyond inputs; the share of the roofline, which the same run measures; and the paired ratio of ours over
it. A provider that is not there, or cannot do it, stands in the table with its reason. Whether results are right is
what the tests of the kernels say. ``--device cpu`` shows that it runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jenga  # noqa: F401 -- before torch, as the commands do

# isort: split
import bench_linear_cross_entropy as vocabulary
import bench_lora_linear as lora
import bench_multi_head_loss as heads
import pytest
import torch
from paired import SMOKE, PairedRatio, compare
from torch import Tensor

Step = Callable[[], list[Tensor]]
DTYPE = torch.bfloat16
FLUSH_BYTES = 256 << 20
"""More than the L2 of any GPU there is."""
ROUNDS = 3 if SMOKE else 30


@dataclass(frozen=True)
class Job:
    """A shape of an op: what its providers are built from, and the least work that a step of it is."""

    name: str
    build: Callable[[str], Step]
    """The step of a provider, by its name."""
    providers: tuple[str, ...]
    operations: float
    """Floating-point operations of forward and backward."""
    moved_bytes: float
    """Each input read once and each output written once."""


@dataclass(frozen=True)
class Row:
    """What was measured of a provider; None where it could not be, and `reason` says why."""

    event_ms: float | None = None
    wall_ms: float | None = None
    replay_ms: float | None = None
    peak_mib: float | None = None
    roofline: float | None = None
    ours_over_it: PairedRatio | None = None
    reason: str = ""


class Clock:
    """Times a step on a device. On a CPU events are the clock, and there is neither a graph nor a peak."""

    def __init__(self, device: str) -> None:
        self.on_gpu = device == "cuda"
        self._flushed = torch.empty(FLUSH_BYTES, dtype=torch.int8, device=device) if self.on_gpu else None

    def now(self) -> float:
        """Seconds, once all that was asked for is done."""
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def events(self, step: Callable[[], object]) -> float:
        """The median of seconds between two events around a step, without what the L2 had of its inputs."""
        if self._flushed is None:
            return self.wall(step)
        found = []
        for _ in range(ROUNDS):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self._flushed.zero_()
            start.record()
            step()
            end.record()
            torch.cuda.synchronize()
            found.append(start.elapsed_time(end) / 1e3)
        return statistics.median(found)

    def wall(self, step: Callable[[], object]) -> float:
        """The median of seconds from the call to its end on the device."""
        found = []
        for _ in range(ROUNDS):
            start = self.now()
            step()
            found.append(self.now() - start)
        return statistics.median(found)

    def replay(self, step: Callable[[], object]) -> float | None:
        """Seconds of a graph of the step; None where it cannot be captured, as what waits for the device cannot."""
        if not self.on_gpu:
            return None
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(side):
                step()
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph):
                step()
        except RuntimeError:
            torch.cuda.synchronize()
            return None
        return self.events(graph.replay)

    def peak(self, step: Callable[[], object]) -> float | None:
        """MiB beyond what is held before the step."""
        if not self.on_gpu:
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - held) / 2**20


def main() -> None:
    """Measure the jobs of an op, print its table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("op", choices=sorted(JOBS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; --device cpu shows that it runs")
    lora.DEVICE = asked.device
    clock = Clock(asked.device)
    rate, bandwidth = ceilings(asked.device, clock)
    print(f"ceilings: {rate / 1e12:.1f} TFLOP/s, {bandwidth / 1e12:.2f} TB/s")
    tables = {}
    for job in JOBS[asked.op](asked.device):
        floor = max(job.operations / rate, job.moved_bytes / bandwidth)
        tables[job.name] = table = measured(job, clock, floor)
        print(f"\n{job.name}: at least {floor * 1e3:.3f} ms")
        for provider, row in table.items():
            print(f"  {provider:<28} {told(row)}")
    if asked.json is not None:
        found = {job: {name: asdict(row) for name, row in table.items()} for job, table in tables.items()}
        record = {"device": named(asked.device), "torch": torch.__version__, "flops": rate, "bandwidth": bandwidth}
        asked.json.write_text(json.dumps({**record, "tables": found}, indent=1) + "\n")


def ceilings(device: str, clock: Clock) -> tuple[float, float]:
    """Return operations and bytes a second: of a large product, and of a large copy, read and written."""
    width = 512 if device == "cpu" else 8192
    left, right = (torch.randn(width, width, device=device, dtype=DTYPE) for _ in range(2))
    source = torch.randn(width * width * (1 if device == "cpu" else 32), device=device)
    target = torch.empty_like(source)
    products, copies = clock.events(lambda: left @ right), clock.events(lambda: target.copy_(source))
    return 2 * width**3 / products, 2 * source.numel() * source.element_size() / copies


def measured(job: Job, clock: Clock, floor: float) -> dict[str, Row]:
    """Return a row for each provider. `floor`: the least seconds that a step could take."""
    ours = job.build("ours")
    rows = {}
    for name in job.providers:
        try:
            step = job.build(name)
            for _ in range(3):
                step()
            event = clock.events(step)
            pair = None if name == "ours" else compare(ours, step, rounds=ROUNDS, clock=clock.now)
            replay, wall, peak = clock.replay(step), clock.wall(step), clock.peak(step)
        # What a rival lacks is known only once it is tried; pytest.skip of a provider says what is not installed.
        except (ImportError, AttributeError, TypeError, RuntimeError, pytest.skip.Exception) as error:
            if name == "ours":
                raise
            rows[name] = Row(
                reason=f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else repr(error)
            )
            continue
        milliseconds = [None if value is None else value * 1e3 for value in (event, wall, replay)]
        rows[name] = Row(*milliseconds, peak, floor / event, pair)
    return rows


def told(row: Row) -> str:
    """Return a row as the table shows it."""
    if row.reason:
        return row.reason
    parts = [f"events {row.event_ms:.3f} ms", f"wall {row.wall_ms:.3f}"]
    parts += [] if row.replay_ms is None else [f"replay {row.replay_ms:.3f}"]
    parts += [] if row.peak_mib is None else [f"{row.peak_mib:.0f} MiB"]
    parts += [f"{row.roofline:.2f} of the roofline"]
    ratio = row.ours_over_it
    return ", ".join(
        [*parts, *([] if ratio is None else [f"ours over it {ratio.ratio:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"])]
    )


def named(device: str) -> str:
    """Return the name of what the figures are of."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu, at sizes that say nothing of speed"


# ----------------------------------------------------------------------------------------------------------------- jobs


def moved_to(problem: Any, device: str) -> Any:
    """Return a problem on a device, its numbers in DTYPE and its leaves asking for gradients."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(each) for each in value]
        if not isinstance(value, Tensor):
            return value
        there = value.detach().to(device, DTYPE if value.is_floating_point() else value.dtype)
        return there.requires_grad_(value.requires_grad)

    return type(problem)(*(moved(getattr(problem, field.name)) for field in fields(problem)))


def head_jobs(device: str) -> Iterator[Job]:
    """Jobs of multi_head_loss: CPU's small shapes, and as many rows as a GPU is bought for."""
    sizes = (2, 3, 4, 5, 6, 8, 10, 16)
    for rows in (32,) if SMOKE else (32, 2048, 65_536):
        shape = heads.Shape(rows, sizes)
        problem = moved_to(heads.make_problem(shape, torch.float32), device)
        outputs = sum(sizes)
        yield Job(
            f"multi_head_loss-bf16-{shape}",
            lambda name, problem=problem: heads.PROVIDERS[name](problem),
            tuple(heads.PROVIDERS),
            6.0 * rows * heads.HIDDEN_SIZE * outputs,
            2.0 * (2 * rows * heads.HIDDEN_SIZE + 2 * outputs * heads.HIDDEN_SIZE),
        )


def lora_jobs(device: str) -> Iterator[Job]:
    """Jobs of lora_linear: the shape of a layer of an 8-billion LLM, with and without dropout."""
    shapes = [lora.Shape(48, 96, 8, p, DTYPE) for p in (0.0, 0.1)] if SMOKE else lora.CUDA
    for shape in shapes:
        m, h, r = shape.n_rows, shape.width, shape.rank
        yield Job(
            f"lora_linear-{shape}",
            lambda name, shape=shape: lora.PROVIDERS[name](lora.make_problem(shape)),
            tuple(name for name in lora.PROVIDERS if not (SMOKE and name == "peft_compiled")),
            4.0 * m * h * h + 12.0 * m * h * r,
            2.0 * (4 * m * h + 2 * h * h),
        )


def vocabulary_jobs(device: str) -> Iterator[Job]:
    """Jobs of linear_cross_entropy and linear_distillation: vocabularies of small and of large LLMs."""
    shapes = [vocabulary.BAR] if SMOKE else [vocabulary.Shape(8192, 49_152, 576), vocabulary.Shape(8192, 128_256, 4096)]
    for shape in shapes:
        problem = moved_to(vocabulary.make_problem(shape), device)
        m, v, h = shape.n_rows, shape.vocabulary, shape.hidden_size
        losses = tuple(name for name in vocabulary.LOSSES if not (SMOKE and name == "compiled"))
        yield Job(
            f"linear_cross_entropy-bf16-{shape}",
            lambda name, problem=problem: vocabulary.PROVIDERS[name](problem),
            losses,
            6.0 * m * v * h,
            2.0 * (2 * m * h + 2 * v * h),
        )


JOBS: dict[str, Callable[[str], Iterator[Job]]] = {
    "multi_head_loss": head_jobs,
    "lora_linear": lora_jobs,
    "linear_cross_entropy": vocabulary_jobs,
}

if __name__ == "__main__":
    main()
