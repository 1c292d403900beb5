"""What a turn changes before its step is taken, seen from below the loop."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jenga.callbacks import Action, BaseCallback, GoBack
from jenga.callbacks.chain import Asked, Chain
from jenga.errors import DivergedError
from jenga.files import atomic_folder
from jenga.processes import Processes
from jenga.trainer import checkpoint
from jenga.trainer.undo import BeforeTurn, go_back_to


class Tally(BaseCallback):
    """Remembers how many batches it saw."""

    seen = 0

    def on_batch_begin(self, trainer: Any, batch: Any, **_: Any) -> None:
        self.seen += 1

    def state_dict(self) -> dict[str, int]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]


def test_random_numbers_statistics_and_memories_are_taken_back(make_trainer: Callable[..., Any]) -> None:
    learner = make_trainer("mood").learner
    norm = torch.nn.BatchNorm1d(3)
    learner._lasting = [(norm, name) for name in ("running_mean", "running_var", "num_batches_tracked")]
    tally = Tally()
    kept = BeforeTurn(learner, Chain([tally]))
    found = []
    for _ in range(2):
        norm(torch.rand(5, 3))
        tally.on_batch_begin(None, None)
        found.append((float(torch.rand(1)), np.random.rand(), random.random(), norm.running_mean.tolist(), tally.seen))
        kept.take_back()
    assert found[0] == found[1]
    assert (float(norm.num_batches_tracked), float(norm.running_mean.sum()), tally.seen) == (0, 0, 0)


def test_a_checkpoint_of_a_later_step_is_none_to_go_back_to(make_trainer: Callable[..., Any], tmp_path: Path) -> None:
    asked = Asked(Action.ROLLBACK, "Someone", GoBack(tmp_path / "step-00000009", None, None))
    with pytest.raises(DivergedError, match="step 9: Someone asked to go back to step 9, which is no earlier one"):
        go_back_to(make_trainer("mood").run, asked, 8, Processes())


def test_a_process_that_dies_as_it_goes_back_leaves_no_best_model_of_a_later_step(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_trainer("mood").run
    folders = [checkpoint.checkpoint_folder(run.checkpoints, step) for step in (2, 4)]
    for folder in (*folders, run.best):
        with atomic_folder(folder) as staging:
            (staging / "a.txt").write_text(folder.name)

    def dies(_: Path, step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "forget_after", dies)
    with pytest.raises(KeyboardInterrupt):
        go_back_to(run, Asked(Action.ROLLBACK, "Someone", GoBack(folders[0], None, None)), 4, Processes())
    assert all(folder.exists() for folder in folders)
    assert not run.best.exists(), "that of a later step, which the next evaluation makes anew"
