"""`jenga doctor`: what this installation has to work with."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM", "CUDA_VISIBLE_DEVICES")
_GIB = 1 << 30


@click.command(cls=options.Command)
@options.json_option
def doctor(as_json: bool) -> None:
    """Show versions, devices, threads, native ops and caches."""
    found = _examine()
    if as_json:
        print_json(found)
        return
    rows = [["what", "value"]]
    rows += [["python", found["python"]], ["system", found["system"]]]
    rows += [[name, value] for name, value in found["versions"].items()]
    rows += [[f"device {each['name']}", each["what"]] for each in found["devices"]]
    rows += [[name, str(value)] for name, value in found["threads"].items()]
    rows += [
        [f"{op} on {device}", f"{backend['implementation']}: {backend['reason']}"]
        for op, by_device in found["ops"].items()
        for device, backend in by_device.items()
    ]
    rows += [
        [f"{name} cache", f"{each['folder']}: {each['files']} files, {each['bytes'] / _GIB:.2f} GiB; "
         f"{each['free_bytes'] / _GIB:.1f} GiB free"]
        for name, each in found["caches"].items()
    ]  # fmt: skip
    print_table(rows)


def _examine() -> dict[str, Any]:
    from dataclasses import asdict

    import torch

    from jenga.files import cache_folder
    from jenga.kernels import backend_info
    from jenga.run.describe import environment
    from jenga.threads import spinning

    here = environment(torch.device("cpu"))
    return {
        "python": here["python"],
        "system": here["system"],
        "versions": here["versions"],
        "devices": _devices(here["cpu_capability"]),
        "threads": {
            "cores": len(os.sched_getaffinity(0)),
            "torch threads": torch.get_num_threads(),
            "OpenMP's waiting threads": spinning(),
            **{name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
        },
        "ops": {
            op: {device: asdict(backend) for device, backend in by_device.items()}
            for op, by_device in backend_info().items()
        },
        "caches": {
            "tokens": _cache(cache_folder("tokens")),
            "rows": _cache(cache_folder("rows")),
            "models": _cache(_hub_cache()),
        },
    }


def _devices(capability: str) -> list[dict[str, str]]:
    import torch

    from jenga.run.precision import multiplies_bf16

    able, why = multiplies_bf16()
    bf16 = f"training.precision: {'bf16 or auto' if able else 'fp32'}, {why}"
    devices = [{"name": "cpu", "what": f"{len(os.sched_getaffinity(0))} cores, {capability}; {bf16}"}]
    for at in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(at)
        what = f"{card.name}, {card.total_memory / _GIB:.0f} GiB, CUDA {torch.version.cuda}"
        devices.append({"name": f"cuda:{at}", "what": what})
    if torch.backends.mps.is_available():
        devices.append({"name": "mps", "what": "Apple GPU"})
    return devices


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _cache(folder: Path) -> dict[str, Any]:
    # The hub's cache links each file of a snapshot to its content.
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return {
        "folder": str(folder),
        "files": len(sizes),
        "bytes": sum(sizes),
        "free_bytes": shutil.disk_usage(there).free,
    }
