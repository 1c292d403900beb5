"""All callbacks of a run as one."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jenga.callbacks import Action, BaseCallback, GoBack
from jenga.callbacks.chain import Asked, Chain
from jenga.errors import ConfigError


class Asks(BaseCallback):
    """Answers every event with one thing."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def on_before_optimizer_step(self, trainer: Any, **kwargs: Any) -> Any:
        return self.answer

    on_step_end = on_epoch_end = on_before_optimizer_step  # type: ignore[assignment]


class Remembers(BaseCallback[dict[str, int]]):
    def __init__(self) -> None:
        self.given: dict[str, int] | None = None

    def state_dict(self) -> dict[str, int]:
        return {"at": 3}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.given = state


class AlsoRemembers(Remembers):
    pass


class Gives(BaseCallback):
    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def make_optimizer(self, groups: Any, names: Any, make: Any) -> Any:
        return self.optimizer


class AlsoGives(Gives):
    pass


def trainer() -> Any:
    return SimpleNamespace(should_stop=False)


def test_the_optimizer_is_that_of_the_one_callback_that_gives_one_or_the_runs() -> None:
    def make(groups: Any, named: Any = None) -> Any:
        return f"of {groups}"

    chain = Chain([Remembers(), Gives(None)])
    assert chain.make_optimizer("groups", {}, make) == "of groups"  # type: ignore[arg-type,comparison-overlap]
    assert Chain([Gives(None), Gives("own")]).make_optimizer([], {}, make) == "own"  # type: ignore[comparison-overlap]
    assert (chain.gives_optimizer, Chain([Remembers()]).gives_optimizer) == ("Gives", None)
    with pytest.raises(ConfigError, match="callbacks: Gives and AlsoGives each give the run's optimizer"):
        Chain([Gives("a"), Remembers(), AlsoGives("b")]).make_optimizer([], {}, make)


@pytest.mark.parametrize(
    ("answers", "strongest"),
    [
        ([None, None], None),
        ([Action.SKIP, None, Action.ROLLBACK], Action.ROLLBACK),
        ([Action.ROLLBACK, Action.SKIP], Action.ROLLBACK),
        ([Action.SKIP, Action.STOP, Action.ROLLBACK], Action.STOP),
    ],
)
def test_the_strongest_action_wins_and_only_a_stop_is_noted(answers: list[Any], strongest: Action | None) -> None:
    view = trainer()
    asked = Chain([Asks(each) for each in answers]).call("on_before_optimizer_step", view, grad_norm=1)
    assert (asked and asked.action) == strongest
    assert view.should_stop is (strongest is Action.STOP)


def test_who_asked_first_is_named() -> None:
    class Guard(Asks):
        pass

    chain = Chain([Asks(None), Guard(Action.SKIP), Asks(Action.SKIP)])
    assert chain.call("on_before_optimizer_step", trainer(), grad_norm=1) == Asked(Action.SKIP, "Guard")


@pytest.mark.parametrize(
    ("event", "answer", "allowed"),
    [
        ("on_before_optimizer_step", True, "Action.SKIP, Action.ROLLBACK, Action.STOP"),
        ("on_step_end", Action.SKIP, "Action.ROLLBACK, Action.STOP"),
        ("on_epoch_end", Action.ROLLBACK, "Action.STOP"),
        ("on_epoch_end", 3, "Action.STOP"),
    ],
)
def test_what_an_event_cannot_ask_for_is_refused(event: str, answer: Any, allowed: str) -> None:
    with pytest.raises(TypeError, match=rf"Asks\.{event} returned .*; it may return None or {allowed}$"):
        Chain([Asks(answer)]).call(event, trainer())


def test_only_who_undoes_may_ask_for_it() -> None:
    undoes = Asks(Action.UNDO)
    with pytest.raises(TypeError, match=r"Action.SKIP, Action.ROLLBACK, Action.STOP$"):
        Chain([undoes]).call("on_before_optimizer_step", trainer())
    undoes.undoes = True
    asked = Chain([undoes, Asks(Action.SKIP)]).call("on_before_optimizer_step", trainer())
    assert asked == Asked(Action.UNDO, "Asks")


def test_how_to_go_back_is_handed_on() -> None:
    back = GoBack(Path("step-1"), None, (0, 3))
    asked = Chain([Asks(back)]).call("on_step_end", trainer())
    assert asked == Asked(Action.ROLLBACK, "Asks", back)


@pytest.mark.parametrize(
    "event", ["on_step_begin", "on_batch_begin", "on_batch_end", "on_gradients", "on_before_optimizer_step"]
)
def test_what_a_turn_may_change_is_copied_of_those_that_hear_of_it_and_undo_nothing(event: str) -> None:
    class Hears(Remembers):
        def __init__(self) -> None:
            self.seen = [1]

        def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
            return {"seen": self.seen}

    setattr(Hears, event, lambda *_, **__: None)
    hears, undoes = Hears(), Hears()
    undoes.undoes = True
    ((callback, memory),) = Chain([Remembers(), hears, undoes]).before_turn()
    hears.seen.append(2)
    assert (callback, memory) == (hears, {"seen": [1]})


def test_every_callback_hears_although_one_has_asked() -> None:
    heard = []

    class Listens(BaseCallback):
        def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
            heard.append(logs)

    Chain([Asks(Action.STOP), Listens()]).call("on_step_end", trainer(), logs="record")
    assert heard == ["record"]


def test_all_are_closed_in_order_also_where_one_fails() -> None:
    closed = []

    class Closes(BaseCallback):
        def __init__(self, name: str, *, fails: bool = False) -> None:
            self.name, self.fails = name, fails

        def on_close(self, outcome: Any, **kwargs: Any) -> None:
            closed.append((self.name, outcome))
            if self.fails:
                raise OSError(self.name)

    with pytest.raises(OSError, match="a"):
        Chain([Closes("a", fails=True), Closes("b")]).close("failed")
    assert closed == [("a", "failed"), ("b", "failed")]


def test_all_are_told_of_the_results(tmp_path: Path) -> None:
    told: list[Any] = []

    class Tells(BaseCallback):
        def on_result(self, run: Path, evaluation: Any, **kwargs: Any) -> None:
            told.append((run, evaluation))

    Chain([Tells(), Tells()]).result(tmp_path, {"best_step": 1})
    assert told == [(tmp_path, {"best_step": 1})] * 2


def test_memories_find_their_owners_in_a_changed_chain(caplog: pytest.LogCaptureFixture) -> None:
    memories = Chain([BaseCallback(), AlsoRemembers(), Remembers()]).memories()
    assert memories == [("BaseCallback", None), ("AlsoRemembers", {"at": 3}), ("Remembers", {"at": 3})]
    first, second = Remembers(), Remembers()
    with caplog.at_level(logging.WARNING):
        Chain([first, BaseCallback(), second]).remind(memories)
    assert (first.given, second.given) == ({"at": 3}, None)
    assert "callback AlsoRemembers was there when the checkpoint was made" in caplog.text
    assert "BaseCallback" not in caplog.text
