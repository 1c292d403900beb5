"""Small experiments on events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.run.build import Experiment, build
from jenga.run.experiment import load_config


@pytest.fixture
def built(event_settings: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Experiment]:
    def make(rows: Any = None, task: Any = None, **blocks: Any) -> Experiment:
        return build(load_config(event_settings(rows, task, **blocks)), tmp_path / "work")

    return make
