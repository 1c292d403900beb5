"""Loads the compiled op libraries, or says why there are none."""

import importlib
import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch


@dataclass(frozen=True)
class Backend:
    """The implementation an op uses on one device type, and the reason; "none" where it refuses such tensors."""

    implementation: Literal["native", "reference", "none"]
    reason: str


def _load_cpu() -> Backend:
    if importlib.util.find_spec("jenga._C") is not None:
        info = importlib.import_module("jenga._C").build_info()
        return Backend("native", f"jenga._C {info['version']}, {info['compiler']}, running on {info['cpu_isa']}")
    reason = importlib.import_module("jenga._C_off").REASON
    warnings.warn(
        f"jenga: {reason}; every op runs on its PyTorch reference, which for multi_head_loss makes a separate pass "
        "over the logits for each head. Run pip install . for the kernels.",
        RuntimeWarning,
        stacklevel=2,
    )
    return Backend("reference", reason)


def _load_cuda(cpu: Backend) -> Backend:
    if cpu.implementation == "reference":
        return cpu
    if not torch.cuda.is_available():
        return Backend("reference", f"torch {torch.__version__} sees no CUDA device here")
    library = importlib.util.find_spec("jenga._C")
    assert library is not None
    assert library.origin is not None
    path = Path(library.origin).with_name("_C_cuda.so")
    if not path.exists():
        warnings.warn(
            "jenga: built without _C_cuda (no nvcc was found); on CUDA every op runs on its PyTorch reference, several "
            "launches for each head. Install the CUDA toolkit and run pip install . -C cmake.define.JENGA_CUDA=ON",
            RuntimeWarning,
            stacklevel=2,
        )
        return Backend("reference", "built without _C_cuda")
    torch.ops.load_library(path)
    return Backend("native", str(path))


CPU: Backend = _load_cpu()
CUDA: Backend = _load_cuda(CPU)


def backend(device_type: str) -> Backend:
    """The backend for tensors on `device_type`, torch's name of it; `"meta"` (shapes only) goes with the CPU."""
    if device_type in ("cpu", "meta"):
        return CPU
    if device_type == "cuda":
        return CUDA
    return Backend("reference", f"no native kernels for {device_type}")


def triton_backend(device_type: str) -> Backend:
    """The backend of lora_linear and of the losses over large vocabularies: C++ on a CPU, Triton on CUDA."""
    if device_type != "cuda" or CPU.implementation == "reference" or not torch.cuda.is_available():
        return backend(device_type)
    if importlib.util.find_spec("triton") is None:
        return Backend("none", "Triton is not installed: pip install triton")
    return Backend("native", f"Triton {importlib.import_module('triton').__version__}")


def check_triton(op: str) -> None:
    """Raises ImportError where there is no Triton, which CUDA tensors need."""
    if importlib.util.find_spec("triton") is None:
        raise ImportError(
            f"{op}: CUDA tensors need Triton, which is not installed: pip install triton (it comes with torch's CUDA "
            "wheels for Linux), or move the tensors to the CPU"
        )


def refinery_backend(device_type: str) -> Backend:
    """The backend of the refinery, which reads bytes in the memory of the CPU."""
    if device_type != "cpu":
        return Backend("none", "reads bytes in the CPU's memory; move its features")
    return CPU if CPU.implementation == "native" else Backend("none", CPU.reason)


_BACKENDS = {
    "linear_cross_entropy": triton_backend,
    "linear_distillation": triton_backend,
    "lora_linear": triton_backend,
    "multi_head_loss": backend,
    "refine": refinery_backend,
}
_DEVICE_TYPES = ("cpu", "cuda")


def backend_info() -> dict[str, dict[str, Backend]]:
    """Which implementation each op uses here, by op name and then device type, and why.

    >>> backend_info()["multi_head_loss"]["cpu"].implementation
    'native'
    """
    return {op: {device_type: of(device_type) for device_type in _DEVICE_TYPES} for op, of in _BACKENDS.items()}
