"""What the processes of a run agree on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.distributed.fsdp import FSDPModule

from jenga.balance import make_balance
from jenga.callbacks import Action, BaseCallback
from jenga.callbacks.chain import Asked, Chain
from jenga.config.training import LearningRates, ResolvedTraining
from jenga.errors import SetupError
from jenga.processes import Processes
from jenga.trainer.together import (
    agree_to_end,
    agreed,
    check_balance,
    check_chain,
    check_shards,
    in_step,
    step_counts,
)


class Beside(Processes):
    """One of two, the other of which has `flags` up and gives `value`."""

    def __init__(self, *flags: bool, value: Any = None) -> None:
        super().__init__(0, 2)
        self.flags, self.value = flags, value

    def any(self, *flags: bool) -> list[bool]:
        return [own or other for own, other in zip(flags, self.flags, strict=True)]

    def gathered(self, value: Any) -> list[Any]:
        return [value, self.value]


class SeesAll(BaseCallback):
    alone = True


def test_alone_a_run_does_what_its_callbacks_ask_for() -> None:
    asked = Asked(Action.ROLLBACK, "Mine")
    assert agreed(Processes(), asked) is asked
    assert agreed(Processes(), None) is None
    check_chain(Chain([SeesAll()]), Processes())


@pytest.mark.parametrize(
    ("asked", "others", "wanted"),
    [
        (None, (False, False, False), None),
        (None, (True, False, False), Action.SKIP),
        (Action.SKIP, (False, True, False), Action.STOP),
        (Action.STOP, (False, False, False), Action.STOP),
    ],
)
def test_what_one_process_asks_for_all_do(
    asked: Action | None, others: tuple[bool, bool, bool], wanted: Action | None
) -> None:
    found = agreed(Beside(*others), None if asked is None else Asked(asked, "Mine"))
    assert (None if found is None else found.action) is wanted


@pytest.mark.parametrize("action", [Action.UNDO, Action.ROLLBACK])
def test_all_go_back_together_or_not_at_all(action: Action) -> None:
    mine = Asked(action, "Mine")
    assert agreed(Beside(False, False, True, value=mine), mine) is mine
    for other in (None, Asked(Action.SKIP, "Mine")):
        with pytest.raises(SetupError, match="Mine asks to go back in one process, and for something else in another"):
            agreed(Beside(False, False, False, value=other), mine)
    with pytest.raises(SetupError, match="a callback of another process asks to go back"):
        agreed(Beside(False, False, True, value=mine), None)


def test_who_must_see_all_rows_is_refused_by_name() -> None:
    with pytest.raises(SetupError, match="callbacks: SeesAll must see all rows of a step, and 2 processes share them"):
        check_chain(Chain([BaseCallback(), SeesAll()]), Beside())
    check_chain(Chain([BaseCallback()]), Beside())


def training_of(**given: Any) -> ResolvedTraining:
    return ResolvedTraining(epochs=1, batch_size=8, learning_rate=LearningRates(backbone=0.1, heads=0.1), **given)


def test_a_balance_of_gradients_that_nobody_has_is_refused_by_name() -> None:
    balance = make_balance("gradnorm", ["a", "b"])
    check_balance(balance, training_of(loss_balance="gradnorm"))
    with pytest.raises(SetupError, match=r"training\.loss_balance: 'gradnorm' needs the gradients of single tasks"):
        check_balance(balance, training_of(loss_balance="gradnorm", fsdp=True))
    check_balance(make_balance("famo", ["a", "b"]), training_of(fsdp=True))


def test_parts_of_one_process_are_refused() -> None:
    check_shards(training_of(fsdp=True), Beside())
    check_shards(training_of(), Processes())
    with pytest.raises(SetupError, match=r"training\.fsdp: one process has nobody to share its encoders with"):
        check_shards(training_of(fsdp=True), Processes())


def test_parts_need_a_torch_that_adds_up_what_some_processes_do_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FSDPModule, "set_reduce_scatter_unused_params")
    check_shards(training_of(), Beside())
    with pytest.raises(SetupError, match=r"training\.fsdp: torch .* install torch 2\.13 or later"):
        check_shards(training_of(fsdp=True), Beside())


def test_processes_keep_in_step_where_they_meet_in_the_model() -> None:
    assert in_step(training_of(fsdp=True), Beside())
    assert in_step(training_of(loss_balance="famo"), Beside())
    assert not in_step(training_of(), Beside())
    assert not in_step(training_of(loss_balance="famo"), Processes())


def test_labels_are_counted_over_all_processes() -> None:
    tasks: Any = {name: SimpleNamespace(count_labels=lambda heads: [float(len(heads))]) for name in ("a", "b")}
    batch: Any = SimpleNamespace(labels={"a": [1, 2, 3]}, idle=False)
    assert step_counts(Processes(), [batch], tasks) is None
    found = step_counts(Beside(value={"a": torch.tensor([4.0]), "b": torch.tensor([2.0])}), [batch], tasks)
    assert found is not None
    assert {name: each.tolist() for name, each in found.items()} == {"a": [7.0], "b": [2.0]}


def test_a_signal_that_arrives_while_processes_wait_for_one_another_is_heard_after_the_next_step() -> None:
    trainer: Any = SimpleNamespace(
        interrupted=False, asked_to_interrupt=False, state=SimpleNamespace(stopped=False), processes=None
    )

    class Waiting(Beside):
        def any(self, *flags: bool) -> list[bool]:
            found = super().any(*flags)
            trainer.asked_to_interrupt = True
            return found

    trainer.processes = Waiting(False, False)
    agree_to_end(trainer)
    assert not trainer.interrupted, "the other one does not know of it yet"
    agree_to_end(trainer)
    assert trainer.interrupted
