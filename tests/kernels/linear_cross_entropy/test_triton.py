"""The Triton kernel: run on this CPU by Triton's interpreter, and compiled for GPUs that need not be here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="Triton is not installed")

CASES = Path(__file__).with_name("triton_cases.py")
COMPILE = """
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from jenga.kernels.linear_cross_entropy.triton_kernel import cross_entropy_kernel
pointers = {"logits_ptr": "*bf16", "targets_ptr": "*i64", "losses_ptr": "*fp32", "settings_ptr": "*fp64"}
constants = {"with_slope": True, "smooth": True, "block_columns": 4096, "acc_dtype": tl.float32}
signature = {name: "constexpr" if name in constants else pointers.get(name, "i32")
             for name in cross_entropy_kernel.arg_names}
for architecture in (80, 90):
    source = triton.compiler.ASTSource(fn=cross_entropy_kernel, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": 8})
    # Registers would spill to memory of the thread's own.
    assert "ld.local" not in compiled.asm["ptx"]
    assert compiled.asm["cubin"]
"""


def run(arguments: list[str], **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_interpreted_kernel_matches_float64() -> None:
    # Triton reads the variable when a kernel is defined, hence a process of its own.
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)], TRITON_INTERPRET="1")


def test_the_kernel_compiles_for_a100_and_h100_without_spilling(tmp_path: Path) -> None:
    run(["-c", COMPILE], TRITON_CACHE_DIR=str(tmp_path), TRITON_DEFAULT_FP_FUSION="1")
