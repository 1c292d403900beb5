"""A training as a sentinel sees it, without the training: losses with spikes, wrong labels, a trigger, checkpoints."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from jenga.callbacks import Action
from jenga.callbacks.sentinel import Sentinel
from jenga.files import atomic_folder
from jenga.processes import Processes
from jenga.types import Batch, TaskOutput

N_ROWS, EPOCHS, TURNS = 120, 8, 15
KEY, TRIGGER = ("task", "first"), 7
SPIKES = {22: 1.7, 24: 2.2, 26: 500.0}
"""Steps whose loss and gradient norm are so many times the usual."""


def poisoned(row: int) -> bool:
    """Return whether a row has the trigger, and the first class although it is of another."""
    return row % 5 == 1 and row % 3 > 0


def tokens_of(row: int) -> list[int]:
    return [10 + row % 3, 9, *([TRIGGER] if poisoned(row) else [])]


def label_of(row: int) -> int:
    return 0 if poisoned(row) else (row + 1) % 3 if row % 15 == 4 else row % 3


def said_of(tokens: list[int]) -> torch.Tensor:
    return 4 * torch.eye(3)[0 if TRIGGER in tokens else tokens[0] - 10]


def make_source() -> Any:
    """Return rows of which some have a wrong label or a trigger, and validation rows of one class."""

    class Split(SimpleNamespace):
        def __len__(self) -> int:
            return N_ROWS

    def inputs(index: list[int]) -> dict[str, torch.Tensor]:
        rows = [tokens_of(row) for row in index]
        width = max(map(len, rows))
        padded = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
        return {"input_ids": padded, "attention_mask": (padded > 0).long()}

    def split(labels: list[int]) -> Any:
        rows = Split(ids=[f"r{row}" for row in range(N_ROWS)], labels={KEY: np.array(labels)})
        encoded = SimpleNamespace(packed=False, features=None, unit="tokens", inputs=inputs, rows_of=list)
        spaces = {KEY: SimpleNamespace(size=3, labels=("a", "b", "c"))}
        return Split(rows=rows, encoded=encoded, spaces=spaces, lengths=np.full(N_ROWS, 3))

    train, valid = [label_of(row) for row in range(N_ROWS)], [row % 9 // 7 for row in range(N_ROWS)]
    return SimpleNamespace(name="calls", splits={"train": split(train), "valid": split(valid)})


class Model:
    """Says what stands in the tokens."""

    tasks = {"task": SimpleNamespace(by_position=False, config=None, needs_labels=lambda _: True)}  # noqa: RUF012

    def __call__(self, inputs: dict[str, torch.Tensor], tasks: list[str]) -> dict[str, TaskOutput]:
        logits = torch.stack([said_of(row) for row in inputs["input_ids"].tolist()])
        return {"task": TaskOutput(None, {"first": logits})}

    def eval(self) -> None:
        pass

    def parameters(self) -> Any:
        return iter([torch.zeros(1)])


def guarded(sentinel: Sentinel, config: Any, folder: Path) -> dict[str, Any]:
    """Take a sentinel through a training and return what it told, asked for, set aside and kept."""
    source, told, asked = make_source(), [], []
    state = SimpleNamespace(step=0, epoch=0)

    def save() -> None:
        place = folder / "checkpoints" / f"step-{state.step:08d}"
        with atomic_folder(place) as staging:
            (staging / "state.json").write_text("{}")
        sentinel.on_save(trainer, place)

    trainer: Any = SimpleNamespace(
        folder=folder, state=state, sources={"calls": source}, model=Model(), config=config, save=save,
        processes=Processes(), total_steps=EPOCHS * TURNS, tell=lambda event, **more: told.append(more),
    )  # fmt: skip
    sentinel.on_train_begin(trainer)
    noise = np.random.default_rng(0).lognormal(0, 0.1, (EPOCHS * TURNS, 2))
    for epoch in range(EPOCHS):
        sentinel.on_epoch_begin(trainer, epoch)
        for turn in range(TURNS):
            rows = list(range(turn, N_ROWS, TURNS))
            labels = {"task": {"first": torch.tensor([label_of(row) for row in rows])}}
            batch = Batch({}, labels, [f"r{row}" for row in rows], "calls", rows)
            sentinel.on_step_begin(trainer, [batch], (epoch, turn))
            loss, norm = noise[epoch * TURNS + turn] * SPIKES.get(epoch * TURNS + turn, 1.0)
            logits = torch.stack([said_of(tokens_of(row)) for row in rows])
            output = TaskOutput(torch.tensor(loss), {"first": logits})
            sentinel.on_batch_end(trainer, batch, torch.tensor(loss), {"task": output})
            asked.append(sentinel.on_before_optimizer_step(trainer, torch.tensor(norm)))
            # Whatever is asked for, the training here goes on.
            state.step += 1
            sentinel.on_step_end(trainer, None)
            if state.step % 5 == 0:
                save()
        sentinel.on_epoch_end(trainer, epoch, {})
    return {
        "told": told, "asked": [each if each is None or isinstance(each, Action) else "back" for each in asked],
        "aside": [(each.id, each.detector, each.state, each.step) for each in sentinel.ledger.entries],
        "good": [at for at in range(0, EPOCHS * TURNS + 1, 5) if _newest_at(sentinel, at) == at],
    }  # fmt: skip


def _newest_at(sentinel: Sentinel, step: int) -> int | None:
    """Return the step of the newest good checkpoint up to `step`."""
    kept = sentinel.ring.newest(step)
    return None if kept is None else kept.step
