"""Compiles the Triton kernels of lora_linear for a GPU that need not be here: run by test_triton.py.

Arguments: compute capability; dtype; ranks; "first" tile of each kernel, which must not spill, or "all" that are tried.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget

from jenga.kernels.lora_linear.triton_backward import a_gradient_kernel, output_gradient_kernel
from jenga.kernels.lora_linear.triton_gemm import fused_linear_kernel
from jenga.kernels.lora_linear.triton_kernel import expand_kernel, project_kernel
from jenga.kernels.lora_linear.triton_tiles import rank_block

SUMS = {"ranks_ptr", "dranks_ptr", "scales_ptr", "db_ptr", "da_ptr"}
INTEGERS = {"seed_ptr", "rows_ptr", "adapters_ptr"}
SHARED_MEMORY = {80: 163 << 10, 90: 227 << 10}
"""Bytes that a program may have."""
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


def variants(dtype: str, n_ranks: int) -> list[tuple[Any, dict[str, Any]]]:
    """Every kernel, with the constants that launches give it; None is a pointer that is not there."""
    block = {"block_r": rank_block(n_ranks, 64)}
    rows = max(64, (128 if dtype == "fp32" else 256) * 16 // block["block_r"])
    return [
        (project_kernel, {"with_dropout": True, "with_rows": True, "block_r": rank_block(n_ranks, 128)}),
        (expand_kernel, {"with_scales": True, "with_bias": True, "with_dropout": False, "seed_ptr": None,
                         "weight_rank_stride": 1, **block}),
        (expand_kernel, {"with_scales": False, "with_bias": False, "with_dropout": True, "scales_ptr": None,
                         "bias_ptr": None, "weight_output_stride": 1, **block}),
        (output_gradient_kernel, {"with_rows": True, "with_dranks": True, "with_db": True, "block_m": rows, **block}),
        (a_gradient_kernel, {"with_dropout": True, **block}),
        (fused_linear_kernel, {"with_bias": True, "group_rows": 8, "weight_input_stride": 1,
                               "block_r": rank_block(n_ranks, 32)}),
    ]  # fmt: skip


def type_of(kernel: Any, name: str, dtype: str) -> str:
    if name in INTEGERS:
        return "*i64"
    if name in SUMS or (name == "to_ptr" and kernel is project_kernel):
        return "*fp32"
    return f"*{dtype}" if name.endswith("_ptr") else "i32"


def compile_tile(kernel: Any, constants: dict[str, Any], config: Any, capability: int, dtype: str) -> Any:
    constants = constants | config.kwargs | {"precision": "tf32x3" if dtype == "fp32" else "ieee"}
    names = kernel.fn.arg_names
    signature = {name: "constexpr" if name in constants else type_of(kernel, name, dtype) for name in names}
    # As most are at a launch: addresses and strides divisible by 16.
    divisible = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if name not in constants and name not in ("threshold", "rows_class")
    }
    source = triton.compiler.ASTSource(kernel.fn, signature, constants, divisible)
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def spilled_bytes(compiled: Any) -> int:
    """The stack of a thread: what its registers did not hold."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    stack = re.search(r"STACK:(\d+)", usage)
    assert stack, usage
    return int(stack[1])


def main(capability: int, dtype: str, n_ranks: int, which: str) -> None:
    for kernel, constants in variants(dtype, n_ranks):
        fits = []
        for config in kernel.configs[:1] if which == "first" else kernel.configs:
            compiled = compile_tile(kernel, constants, config, capability, dtype)
            fits.append(compiled.metadata.shared <= SHARED_MEMORY[capability])
            spilled = spilled_bytes(compiled)
            print(kernel.fn.__name__, config, compiled.metadata.shared, spilled)
            if which == "first":
                assert not spilled
        # Triton passes over a tile that is too large, but there must be another.
        assert any(fits)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
