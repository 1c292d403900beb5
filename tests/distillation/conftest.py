"""Language experiments with teachers, small enough to build in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.run import build, experiment

ROWS = [
    {"id": f"r{n}", "prompt": f"is {n} a good number", "completion": "yes it is" if n % 3 else "no never again"}
    for n in range(40)
]


@pytest.fixture(scope="session")
def models(make_gpt2: Callable[..., Path]) -> dict[str, str]:
    """Folders of random models by name, all with one tokenizer: a small one, bigger ones, and padded ones."""
    made = {
        "small": make_gpt2(layers=2, width=16),
        "big": make_gpt2(layers=4, width=24, seed=1),
        "other": make_gpt2(layers=4, width=24, seed=2),
        "padded": make_gpt2(layers=2, width=16, padding=9),
    }
    return {name: str(folder) for name, folder in made.items()}


@pytest.fixture
def language(tmp_path: Path, models: dict[str, str], write_rows: Callable[..., str]) -> Callable[..., dict[str, Any]]:
    """Return a function that makes a language experiment as a mapping; `teacher`: what is said of one."""

    def make(*, student: str = "small", teacher: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
        path = write_rows(tmp_path / "rows.jsonl", ROWS)
        model: dict[str, Any] = {"base_model": models[student]}
        if teacher is not None:
            model["teacher_student_config"] = {"teacher_model": models["big"], **teacher}
        return {
            "project_name": "test",
            "model": model,
            "tasks": [{"name": "lm", "type": "causal_lm", "data_path": path, "generation": {"rows": 0}}],
            "data": {"max_length": 64, "cache_dir": str(tmp_path / "cache")},
            "training": {"max_steps": 3, "batch_size": 8, "log_every_steps": 1, **training},
            "tracking": {"enabled": False},
            "output_dir": str(tmp_path / "runs"),
        }

    return make


@pytest.fixture
def built(tmp_path: Path) -> Callable[[dict[str, Any]], build.Experiment]:
    """Return a function that builds an experiment from its mapping."""

    def make(settings: dict[str, Any]) -> build.Experiment:
        return build.build(experiment.load_config(settings), tmp_path)

    return make
