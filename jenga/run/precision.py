"""Which precision a machine computes in the sooner: tried in a fraction of a second, on a layer of an encoder."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from torch import nn

from jenga.config.schema import ExperimentConfig
from jenga.processes import Processes
from jenga.trainer.run import RunFolder

AUTO = "auto"
WORTH_IT = 0.9
"""Share of fp32's time under which bf16, which rounds more, is taken."""
_PAIRS = 3
_ROWS, _LENGTH, _WIDTH = 8, 32, 384


def precision_of(config: ExperimentConfig, run: RunFolder | None, processes: Processes, console: Console) -> str:
    """Return the precision to train in; of `auto` the one that `run` began with, or what a trial here finds and tells.

    Of several processes the first one tries.
    """
    if config.training.precision != AUTO:
        return config.training.precision
    if not processes.first:
        return processes.from_first("")
    begun = None if run is None else run.info().get("precision")
    if begun is not None:
        return processes.from_first(str(begun))
    found, why = settled(processes.device)
    console.print(f"training.precision: {found}: {why}", highlight=False, soft_wrap=True)
    return processes.from_first(found)


def with_precision(config: ExperimentConfig, precision: str) -> ExperimentConfig:
    """Return `config` with the precision that its training is done in."""
    return config.model_copy(update={"training": config.training.model_copy(update={"precision": precision})})


def settled(device: torch.device) -> tuple[str, str]:
    """Return the precision for `training.precision: auto` on `device`, and why, in words that follow its name.

    A layer of a transformer (width 384, 256 tokens) takes a few steps in fp32 and in bf16, in turns.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "fp32", f"{torch.cuda.get_device_name(device)} does not multiply bf16"
    if device.type == "mps":
        return "fp32", "on mps only that is tried"
    share = ratio(device)
    chosen = "bf16" if share < WORTH_IT else "fp32"
    return chosen, f"a layer's step in bf16 takes {share:.2f} of its time in fp32 here{_because(device, chosen)}"


def _because(device: torch.device, chosen: str) -> str:
    return f"; {multiplies_bf16()[1]}" if device.type == "cpu" and chosen == "fp32" else ""


def multiplies_bf16() -> tuple[bool, str]:
    """Return whether this processor has instructions for bf16, and which, or what it lacks."""
    if not hasattr(torch.cpu, "get_capabilities"):  # as in torch 2.11
        return False, f"torch {torch.__version__} does not tell what the processor has for bf16"
    found = torch.cpu.get_capabilities()
    names = [
        name
        for key, name in (("amx_bf16", "AMX-BF16"), ("avx512_bf16", "AVX512-BF16"), ("bf16", "BF16"))
        if found.get(key)
    ]
    if names:
        return True, f"the processor has {' and '.join(names)}"
    return False, "the processor has neither AVX512-BF16 nor AMX, so each number is converted"


def ratio(device: torch.device) -> float:
    """Return the seconds of a step in bf16 over those in fp32. Global random states stay as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        layer = nn.TransformerEncoderLayer(_WIDTH, 6, 4 * _WIDTH, dropout=0.0, batch_first=True).to(device)
        x = torch.randn(_ROWS, _LENGTH, _WIDTH, device=device)

    def pair() -> tuple[float, float]:
        return (
            _seconds(partial(_step, layer, x, reduced=True), device),
            _seconds(partial(_step, layer, x, reduced=False), device),
        )

    if device.type == "cuda":
        pair()  # loads libraries and kernels, which the first of the two would pay for
    found = [pair()]
    # The first of each makes what later ones use. Where bf16 is emulated, that it is many times slower shows at once.
    if found[0][0] < 3 * found[0][1]:
        found = [pair() for _ in range(_PAIRS)]
    return min(bf16 for bf16, _ in found) / min(fp32 for _, fp32 in found)


def _step(layer: nn.Module, x: torch.Tensor, *, reduced: bool) -> None:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=reduced):
        loss = layer(x).float().square().mean()
    loss.backward()


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
