"""The Triton kernels: run on this CPU by Triton's interpreter, and compiled for GPUs that need not be here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed")

CASES = Path(__file__).with_name("triton_cases.py")
COMPILE = Path(__file__).with_name("triton_compile.py")


def run(arguments: list[str], **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_interpreted_kernels_match_float64() -> None:
    # Triton reads the variable when a kernel is defined, hence a process of its own.
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)], TRITON_INTERPRET="1")


@pytest.mark.slow
def test_the_interpreted_kernels_match_float64_for_large_ranks() -> None:
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow", str(CASES)], TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; elsewhere they are interpreted")
def test_the_kernels_match_float64_on_a_gpu() -> None:
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow", str(CASES)])


@pytest.mark.parametrize("capability", ["80", "90"])
def test_the_kernels_compile_for_a100_and_h100_without_spilling(tmp_path: Path, capability: str) -> None:
    run([str(COMPILE), capability, "bf16", "16", "first"], TRITON_CACHE_DIR=str(tmp_path), TRITON_DEFAULT_FP_FUSION="1")


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "ranks"), [("bf16", "64"), ("fp16", "192"), ("fp32", "16")])
def test_every_tile_that_is_tried_compiles(tmp_path: Path, dtype: str, ranks: str) -> None:
    """For an A100, which has less shared memory than an H100."""
    run([str(COMPILE), "80", dtype, ranks, "all"], TRITON_CACHE_DIR=str(tmp_path), TRITON_DEFAULT_FP_FUSION="1")
