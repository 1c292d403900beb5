"""Settings that name files, made absolute: a part marks its own, and nobody lists them."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

Block = TypeVar("Block", bound=BaseModel)
Plain = str | list[str] | dict[str, Any] | None

NO_FILES = "jenga/"
"""How names of built-in rows begin, which are no files."""
_ADDRESS = "://"


class PathMark(Enum):
    """What a marked setting is relative to.

    ROWS: `data_root`, but for names that stand for no file. NAMED: the configuration's folder, where it begins like a
    path; else it is a name. FILE: the configuration's folder.
    """

    ROWS = "rows"
    NAMED = "named"
    FILE = "file"


def resolved_paths(block: Block, *, folder: Path, data_root: Path) -> Block:
    """Return `block` with every marked path in it absolute. folder: of the configuration."""
    update = {}
    for name, info in type(block).model_fields.items():
        value = getattr(block, name)
        mark = next((each for each in info.metadata if isinstance(each, PathMark)), None)
        found = _resolved(value, mark, folder, data_root)
        if found != value:
            update[name] = found
    return block.model_copy(update=update) if update else block


def absolute(path: str, folder: Path) -> str:
    """Return `path` as an absolute one, relative to `folder`; ``~`` is the user's home."""
    return os.path.abspath(folder / os.path.expanduser(path))


def _resolved(value: Any, mark: PathMark | None, folder: Path, data_root: Path) -> Any:
    if isinstance(value, BaseModel):
        return resolved_paths(value, folder=folder, data_root=data_root)
    if isinstance(value, list):
        return [_resolved(each, mark, folder, data_root) for each in value]
    if isinstance(value, dict):
        # Blocks by names of a user's own; what a mapping in place of a path says is no path.
        return {key: _resolved(each, None, folder, data_root) for key, each in value.items()}
    if mark is None or not isinstance(value, str):
        return value
    if mark is PathMark.ROWS:
        return value if value.startswith(NO_FILES) or _ADDRESS in value else absolute(value, data_root)
    if mark is PathMark.NAMED and not value.startswith(("./", "../", "~/", "/")):
        return value
    return absolute(value, folder)
