"""The rows that a sentinel watches, beside the training that tests/callbacks/test_sentinel.py goes through."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import guarded
import pytest
import torch

from jenga.callbacks import sentinel_rows
from jenga.callbacks.sentinel_rows import WatchedRows
from jenga.config.stages import StageConfig
from jenga.config.training import ResolvedTraining
from jenga.processes import Processes
from jenga.sentinel.ledger import Ledger
from jenga.sentinel.suspects import Caps
from jenga.types import Batch, TaskOutput


def watched(told: list[Any], **given: Any) -> WatchedRows:
    options: dict[str, Any] = {"mode": "quarantine", "label_errors": True, "early_epochs": None, "triggers": False,
                               "caps": Caps(0.25, 0.5), "drift_psi": 0.25}  # fmt: skip
    return WatchedRows(**{**options, **given}, tell=lambda _, detector, **more: told.append((detector, more)))


def view() -> Any:
    state = SimpleNamespace(step=15, epoch=0)
    source = guarded.make_source()
    config = SimpleNamespace(stages=[])
    return SimpleNamespace(
        state=state, sources={"calls": source}, model=guarded.Model(), total_steps=150, config=config,
        processes=Processes(),
    )  # fmt: skip


def note(rows: WatchedRows, trainer: Any, *, value: float | None = None, of: range = range(guarded.N_ROWS)) -> None:
    index = list(of)
    logits = torch.stack([guarded.said_of(guarded.tokens_of(row)) for row in index])
    if value is not None:
        logits[0] = value
    labels = {"task": {"first": torch.tensor([guarded.label_of(row) for row in index])}}
    batch = Batch({}, labels, [f"r{row}" for row in index], "calls", index)
    rows.note(trainer, batch, {"task": TaskOutput(None, {"first": logits})})


def test_more_numbers_than_can_be_held_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sentinel_rows, "MOST_CELLS", 3 * guarded.N_ROWS - 1)
    rows = watched([])
    with caplog.at_level(logging.WARNING):
        rows.begin(view())
    assert rows.early == {}
    assert "wrong labels of task.first are not looked for: 120 rows of 3 classes are more than 359" in caplog.text


def test_answers_that_lie_far_from_labels_are_told_but_not_in_the_first_epoch(tmp_path: Path) -> None:
    told: list[Any] = []
    rows, trainer = watched(told, label_errors=False), view()
    rows.begin(trainer)
    for epoch in range(2):
        rows.begin_epoch(trainer, epoch)
        index = list(range(guarded.N_ROWS))
        labels = {"task": {"first": torch.tensor([guarded.label_of(row) for row in index])}}
        always = TaskOutput(None, {"first": torch.eye(3)[[2] * guarded.N_ROWS]})
        rows.note(trainer, Batch({}, labels, [], "calls", index), {"task": always})
        rows.end_epoch(trainer, Ledger(tmp_path / "quarantine.jsonl"), epoch)
        assert len(told) == epoch
    assert told[0][0] == "drift"
    assert told[0][1]["what"] == "answers of task.first, from its labels"


def test_what_is_not_finite_is_not_taken_in() -> None:
    rows, trainer = watched([]), view()
    rows.begin(trainer)
    note(rows, trainer, value=float("nan"))
    state = rows.state()
    ((said, given),) = state["answers"].values()
    assert (int(said.sum()), int(given.sum())) == (guarded.N_ROWS - 1, guarded.N_ROWS - 1)
    (early,) = rows.early.values()
    assert (early.weights == 0).nonzero().flatten().tolist() == [0]


def test_what_is_restored_finds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("cleanlab")
    found = []
    for through in (False, True):
        rows, trainer = watched([], early_epochs=1), view()
        rows.begin(trainer)
        note(rows, trainer)
        if through:
            state = rows.state()
            rows = watched([], early_epochs=1)
            rows.restore(trainer, state)
        ledger = Ledger(tmp_path / f"{through}.jsonl")
        assert rows.end_epoch(trainer, ledger, 0) == []
        found.append(ledger.entries)
    assert found[0] == found[1] != []


def test_each_stage_has_early_epochs_of_its_own(tmp_path: Path) -> None:
    """Rows of a later stage are not said anything of in the first one."""
    pytest.importorskip("cleanlab")
    rows, trainer = watched([]), view()
    stages = [StageConfig(name="one", epochs=1), StageConfig(name="two")]
    trainer.config = SimpleNamespace(stages=stages, training=ResolvedTraining.model_construct(epochs=2))
    rows.begin(trainer)
    ledger = Ledger(tmp_path / "quarantine.jsonl")
    half = guarded.N_ROWS // 2
    for epoch, of in enumerate((range(half), range(half, guarded.N_ROWS))):
        rows.begin_epoch(trainer, epoch)
        note(rows, trainer, of=of)
        if epoch:
            state = rows.state()
            rows = watched([])
            rows.restore(trainer, state)
        before = len(ledger.entries)
        rows.end_epoch(trainer, ledger, epoch)
        found = {int(each.id[1:]) for each in ledger.entries[before:]}
        assert found
        assert found <= set(of)
        assert rows.seen["calls"].nonzero().flatten().tolist() == list(of)
    rows.begin_epoch(trainer, 2)
    assert (rows.stage, rows.early) == (1, {}), "it is still the second stage, whose early epochs are over"


class Beside(Processes):
    """One of two; `theirs` is what the other one gives, and `given` what this one does."""

    def __init__(self, *theirs: Any) -> None:
        super().__init__(0, 2)
        self.theirs, self.given = list(theirs), None

    def gathered(self, value: Any) -> list[Any]:
        self.given = value
        return [value, *self.theirs]


def test_what_another_process_has_noted_counts_too() -> None:
    half, states = guarded.N_ROWS // 2, []
    beside = Beside()
    for processes, of in (
        (beside, range(half, guarded.N_ROWS)), (None, range(half)), (Processes(), range(guarded.N_ROWS))
    ):  # fmt: skip
        rows, trainer = watched([]), view()
        trainer.processes = processes or Beside(beside.given)
        rows.begin(trainer)
        note(rows, trainer, of=of)
        states.append(rows.state())
    _, joined, whole = states
    assert torch.equal(joined["seen"]["calls"], whole["seen"]["calls"])
    assert joined["seen"]["calls"].all()
    assert {name: [each.tolist() for each in counts] for name, counts in joined["answers"].items()} == {
        name: [each.tolist() for each in counts] for name, counts in whole["answers"].items()
    }
    for name, early in whole["early"].items():
        torch.testing.assert_close(joined["early"][name], early)
