"""A trainer as callbacks see it, without the training."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jenga.run.experiment import load_config


@pytest.fixture
def make_view(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes a `TrainerView` whose run folder is a new folder."""

    def make(directions: Mapping[str, bool] | None = None, **settings: Any) -> Any:
        config = load_config(
            {
                "project_name": "calls",
                "model": {"base_model": "jenga/tiny-text"},
                "tasks": [
                    {
                        "name": "intent",
                        "type": "classification",
                        "data_path": "rows.jsonl",
                        "heads": [{"name": "topic", "labels": ["a", "b"]}],
                    }
                ],
                "output_dir": str(tmp_path),
                "evaluation": {"metric": "eval_loss"},  # a trainer's view has no `auto` any more
                **settings,
            }
        )
        folder = tmp_path / "calls" / "run"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "run.json").exists():
            (folder / "run.json").write_text('{"status": "running"}')
        (folder / "metrics.jsonl").touch()
        state = SimpleNamespace(step=0, epoch=0, best_value=None, best_step=None)
        return SimpleNamespace(
            state=state, config=config, folder=folder, should_stop=False, total_steps=20,
            greater_is_better={"eval_loss": False, **(directions or {})}.__getitem__,
        )  # fmt: skip

    return make
