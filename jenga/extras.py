"""Packages that Jenga can use and does not bring: which extra of pip has them, and how their absence is told."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from types import ModuleType

from jenga.errors import SetupError
from jenga.imports import collector_at_rest

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "audio": ("soundfile", "soxr"),
    "audit": ("cleanlab",),
    "conflicts": ("torchjd",),
    "gguf": ("gguf",),
    "hub": ("datasets",),
    "onnx": ("onnx", "onnx_ir", "onnxruntime", "onnxscript"),
    "optimizers": ("pytorch_optimizer",),
    "ray": ("ray",),
    "report": ("matplotlib",),
    "serve": ("fastapi", "starlette", "uvicorn", "prometheus_client"),
    "track": ("mlflow", "sqlalchemy", "pandas"),
    "tune": ("optuna",),
    "vision": ("PIL", "timm"),
}
"""By extra, as pyproject.toml has it, the modules that are imported here of what it brings."""


def is_here(module: str) -> bool:
    """Return whether `module` is installed, without importing it."""
    return importlib.util.find_spec(module) is not None


def command(extra: str) -> str:
    """Return the command that installs what `extra` brings."""
    return f"pip install 'jenga[{extra}]'"


def missing(extra: str, need: str) -> SetupError:
    """Return the error for something of `extra` that is not installed; need: who needs what, as a clause."""
    return SetupError(f"{need}, which is not installed here: {command(extra)}")


def pinned(extras: Iterable[str]) -> list[str]:
    """Return, as pip reads it, what this installation has of what Jenga with `extras` asks for, and Jenga itself.

    Each stands in the version that is here, without the part of it that names a build (``+cpu``). What is not here, as
    a library of an extra that this model does without, is left out.
    """
    asked = {None, *extras}
    found = {"jenga": f"jenga=={_public('jenga')}"}
    for each in requires("jenga") or ():
        # As pip writes it: name>=1.2; extra == "audio"
        name, of = re.match(r"[\w.-]+", each), re.search(r"extra == ['\"]([\w-]+)", each)
        if name is None or (of[1] if of else None) not in asked:
            continue
        with contextlib.suppress(PackageNotFoundError):
            found.setdefault(name[0], f"{name[0]}=={_public(name[0])}")
    return list(found.values())


def _public(name: str) -> str:
    return version(name).partition("+")[0]


def required(module: str, *, extra: str, need: str) -> ModuleType:
    """Return `module`, imported. Raises SetupError where it is not installed, or is there and cannot be imported.

    extra, need: as `missing` has them, such as "audio" and "sound needs soxr".
    """
    library = module.partition(".")[0]
    if (known := _imported(module)) is not None and _imported(library) is not None:
        return known  # asked for with every picture, and the collector's rest looks at all objects that there are
    try:
        with collector_at_rest():
            importlib.import_module(library)
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise _broken(error, extra, need) from error
        raise missing(extra, need) from None
    except ImportError as error:
        raise _broken(error, extra, need) from error


def _imported(module: str) -> ModuleType | None:
    """Return a module that is there already, and whole: another thread may be importing it."""
    found = sys.modules.get(module)
    return None if found is None or getattr(getattr(found, "__spec__", None), "_initializing", False) else found


def _broken(error: ImportError, extra: str, need: str) -> SetupError:
    return SetupError(f"{need}, which is installed but cannot be imported ({error}); install it anew: {command(extra)}")
