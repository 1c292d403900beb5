"""Loading of jenga.kernels: what is used, and what is said where the compiled library is missing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jenga import kernels
from jenga.kernels import _native

HIDE_MODULE = """
import importlib.machinery, importlib.util, sys, types, warnings
real_find_spec = importlib.util.find_spec
hidden = {hidden!r}
importlib.util.find_spec = lambda name, package=None: None if name in hidden else real_find_spec(name, package)
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    # -P: the clone in the working directory would shadow the installed package.
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)


def test_backend_info_names_an_implementation_and_a_reason_for_every_op_and_device() -> None:
    info = kernels.backend_info()
    assert info.keys() == {"linear_cross_entropy", "linear_distillation", "lora_linear", "multi_head_loss", "refine"}
    for devices in info.values():
        assert devices.keys() == {"cpu", "cuda"}
        for backend in devices.values():
            assert backend.implementation in ("native", "reference", "none")
            assert backend.reason


def test_the_cpu_uses_the_native_library() -> None:
    assert {devices["cpu"].implementation for devices in kernels.backend_info().values()} == {"native"}


def test_the_refinery_has_no_cuda_backend_and_says_where_it_reads() -> None:
    cuda = kernels.backend_info()["refine"]["cuda"]
    assert cuda.implementation == "none"
    assert "CPU's memory" in cuda.reason


def test_cuda_tensors_without_triton_are_an_error_that_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"lora_linear: CUDA tensors need Triton.*pip install triton"):
        _native.check_triton("lora_linear")


def test_build_info_names_compiler_flags_and_torch_versions() -> None:
    from jenga import _C

    info = _C.build_info()
    assert info.keys() == {
        "version", "compiler", "flags", "cpu_isa", "torch_built_with", "torch_needed", "cuda_library_built",
    }  # fmt: skip
    assert all(value != "" for value in info.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="claims something of a machine without a CUDA device")
def test_without_a_cuda_device_backend_info_says_so() -> None:
    cuda = kernels.backend_info()["multi_head_loss"]["cuda"]
    assert cuda.implementation == "reference"
    assert "no CUDA device" in cuda.reason


def test_a_package_built_without_native_code_warns_once_and_uses_the_reference() -> None:
    code = (
        HIDE_MODULE.format(hidden=["jenga._C"])
        + """
off = types.ModuleType("jenga._C_off")
off.REASON = "built with JENGA_NATIVE=OFF"
off.__spec__ = importlib.machinery.ModuleSpec("jenga._C_off", None)
sys.modules["jenga._C_off"] = off
import torch
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from jenga.kernels import HeadSpec, backend_info, multi_head_loss
messages = [str(item.message) for item in caught if "JENGA_NATIVE=OFF" in str(item.message)]
assert len(messages) == 1, messages
assert "separate pass" in messages[0]
assert backend_info()["multi_head_loss"]["cpu"].implementation == "reference"
hidden = torch.randn(3, 4, requires_grad=True)
loss = multi_head_loss(hidden, torch.randn(2, 4), None, [torch.tensor([0, 1, -100])], heads=[HeadSpec("ce", 2)])
loss.loss_sum.sum().backward()
assert loss.count.tolist() == [2.0]
"""
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_under_the_name_that_transformers_looks_for_no_op_is_registered_again() -> None:
    """The clone's root may be on sys.path: in an editable installation, or of Python started there."""
    code = (
        f"import sys, warnings; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "warnings.simplefilter('error')\n"
        "import kernels, jenga.kernels\n"
        "print(kernels.__file__, sorted(name for name in sys.modules if name.startswith('kernels')))\n"
        "print(jenga.kernels.multi_head_loss.__module__)"
    )
    done = run_python(code)
    assert done.stdout.splitlines() == [
        f"{Path(__file__).parents[2] / 'kernels' / '__init__.py'} ['kernels']",
        "jenga.kernels.multi_head_loss.op",
    ], done.stderr


def test_every_path_that_the_readme_of_the_native_code_names_exists() -> None:
    repository = Path(__file__).parents[2]
    page = (repository / "csrc" / "README.md").read_text(encoding="utf-8")
    # Where `name` stands for any op.
    named = {word.replace("name", "multi_head_loss") for word in re.findall(r"`([\w./-]+)`", page)}
    paths = {word for word in named if re.search(r"/|\.(h|cpp|cuh?|py|sh|txt)$", word)}
    assert len(paths) > 20
    missing = {
        path for path in paths if not any((folder / path).exists() for folder in (repository, repository / "csrc"))
    }
    # Torch's own, the first three of which are named as forbidden.
    assert missing == {"ATen/", "c10/", "torch/extension.h", "torch/csrc/stable", "torch/headeronly"}
