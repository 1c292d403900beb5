"""Code that comes with a checkpoint. Only the caller allows it to run; what a folder says of itself never does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from jenga.errors import SetupError

_NAMED_BY = "auto_map"
_GENERATING = "custom_generate/generate.py"


def named_code(name: str | Path) -> str | None:
    """Return which file of the checkpoint `name`, of the hub or a folder, names code of its own; None: none does."""
    for file in ("config.json", "tokenizer_config.json"):
        content = _content(name, file)
        if isinstance(content, dict) and content.get(_NAMED_BY):
            return f"{_NAMED_BY} in {file}"
    return _GENERATING if _path(name, _GENERATING) else None


def _content(name: str | Path, file: str) -> object:
    path = _path(name, file)
    try:
        return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # What cannot be read is told by the loader of the checkpoint, which says why.
        return None


def _path(name: str | Path, file: str) -> str | None:
    from transformers.utils import cached_file

    try:
        path: str | None = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    except OSError:
        return None
    return path


def refused_code(where: str, by: str) -> SetupError:
    """Return the error for code that is needed and not allowed; where: whose it is; by: what names it."""
    return SetupError(
        f"{where} needs code of its own ({by}), which was not run: such code can do all that you can, read your files "
        "and send them away too. Read it; where you trust its author, allow it with --trust-remote-code, in Python "
        "with trust_remote_code=True, or in an experiment's file with model.trust_remote_code: true"
    )


def refused_kernel(where: str, name: str) -> SetupError:
    """Return the error for a checkpoint that asks for a kernel of the hub; where: which it is."""
    return SetupError(
        f"{where} asks in config.json for the attention '{name}', compiled code of the hub, which was not fetched; "
        "take attn_implementation out of the file"
    )


@contextlib.contextmanager
def never_asked(allowed: bool) -> Iterator[None]:
    """Where code is not allowed, let transformers refuse it at once, wherever it would ask on the terminal.

    It does so for parts of a model, and classes that a tokenizer names, which it loads without the caller's answer.
    """
    from transformers import dynamic_module_utils

    seconds = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    if not allowed:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = seconds
