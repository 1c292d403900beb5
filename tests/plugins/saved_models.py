"""Saved models that differ from those that a run wrote, with checksums that agree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from jenga.files import atomic_folder


def own_model(run: Path, folder: Path, change: Callable[[Path], object]) -> Path:
    """Write the best model of `run` to `folder`, as `change` leaves it, and return `folder`."""
    with atomic_folder(folder) as own:
        shutil.copytree(run / "best", own, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        change(own)
    return folder


def needs_own_code(own: Path) -> None:
    """Let a saved text model need code of its own."""
    said = json.loads((own / "jenga.json").read_text())
    said["config"]["model"]["trust_remote_code"] = True
    (own / "jenga.json").write_text(json.dumps(said))
    config = own / "backbone" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoModel": "own.Model"}}))
