"""All callbacks of a run as one: who is told of an event, what they ask for, and what they remember."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch

from jenga.callbacks.base import Action, BaseCallback, GoBack, MakeOptimizer, Outcome, TrainerView
from jenga.errors import ConfigError
from jenga.optimizers.groups import Group

logger = logging.getLogger(__name__)

_ALLOWED: Mapping[str, Sequence[Action]] = {
    "on_before_optimizer_step": (Action.SKIP, Action.UNDO, Action.ROLLBACK, Action.STOP),
    "on_step_end": (Action.ROLLBACK, Action.STOP),
}
"""What an event may ask for; the others, for a stop."""


_OF_A_TURN = ("on_step_begin", "on_batch_begin", "on_batch_end", "on_gradients", "on_before_optimizer_step")


class Asked(NamedTuple):
    """An action, the class of the first callback that asked for it, and how it wants to go back where it says so."""

    action: Action
    by: str
    back: GoBack | None = None


class Chain:
    """Calls callbacks in their order."""

    def __init__(self, callbacks: Sequence[BaseCallback]) -> None:
        self.callbacks = list(callbacks)

    def call(self, event: str, trainer: TrainerView, **details: object) -> Asked | None:
        """Tell every callback of `event`, and return the strongest action asked for. A stop is noted in `trainer`.

        Raises TypeError for an answer that is no action, or one that this event cannot ask for.
        """
        strongest: Asked | None = None
        for callback in self.callbacks:
            answer = getattr(callback, event)(trainer, **details)
            if answer is None:
                continue
            by, back = type(callback).__name__, answer if isinstance(answer, GoBack) else None
            asked = Asked(Action.ROLLBACK if back is not None else answer, by, back)
            _check(asked, event, undoes=callback.undoes)
            if strongest is None or asked.action > strongest.action:
                strongest = asked
        if strongest is not None and strongest.action is Action.STOP:
            trainer.should_stop = True
        return strongest

    def make_optimizer(
        self, groups: Sequence[Group], names: Mapping[torch.nn.Parameter, str], make: MakeOptimizer
    ) -> torch.optim.Optimizer:
        """Return the optimizer that a callback gives, or else ``make(groups)``. Raises ConfigError where several do."""
        made = [(type(each).__name__, each.make_optimizer(groups, names, make)) for each in self.callbacks]
        given = [(by, optimizer) for by, optimizer in made if optimizer is not None]
        if len(given) > 1:
            raise ConfigError(
                f"callbacks: {' and '.join(by for by, _ in given)} each give the run's optimizer, and it has one; "
                "remove all of them but one"
            )
        return given[0][1] if given else make(groups)

    @property
    def gives_optimizer(self) -> str | None:
        """The class of the first callback that may give the run's optimizer; None: there is none such."""
        of_base = BaseCallback.make_optimizer
        return next((type(each).__name__ for each in self.callbacks if type(each).make_optimizer is not of_base), None)

    def result(self, run: Path, evaluation: Mapping[str, Any]) -> None:
        """Tell every callback of the results of a finished run."""
        for callback in self.callbacks:
            callback.on_result(run, evaluation)

    def close(self, outcome: Outcome) -> None:
        """Let every callback give back what it holds, also where one of them fails."""
        with ExitStack() as stack:
            for callback in reversed(self.callbacks):
                stack.callback(callback.on_close, outcome)

    def memories(self) -> list[tuple[str, object]]:
        """Return what each callback remembers, beside the name of its class."""
        return [(type(callback).__name__, callback.state_dict()) for callback in self.callbacks]

    @property
    def undoes(self) -> bool:
        """Whether a callback may ask for UNDO."""
        return any(callback.undoes for callback in self.callbacks)

    def before_turn(self) -> list[tuple[BaseCallback, Any]]:
        """Return copies of what a turn that is undone may have changed in the memory of those that ask for no UNDO."""
        listening = [
            each for each in self.callbacks if not each.undoes and overridden(each, ("state_dict",))
            and overridden(each, _OF_A_TURN)
        ]  # fmt: skip
        return [(each, deepcopy(each.state_dict())) for each in listening]

    def remind(self, memories: Sequence[tuple[str, Any]]) -> None:
        """Give each callback its memory back. The chain may have changed: where a run is tracked is no part of it."""
        left = list(self.callbacks)
        for name, memory in memories:
            callback = next((each for each in left if type(each).__name__ == name), None)
            if callback is not None:
                left.remove(callback)
            if not memory:
                continue
            if callback is not None:
                callback.load_state_dict(memory)
            else:
                logger.warning(
                    "callback %s was there when the checkpoint was made; what it had in memory is dropped", name
                )


def overridden(callback: BaseCallback, events: Sequence[str]) -> bool:
    """Return whether `callback` has one of `events` of its own."""
    return any(
        each in vars(callback) or getattr(type(callback), each) is not getattr(BaseCallback, each) for each in events
    )


def _check(asked: Asked, event: str, *, undoes: bool) -> None:
    allowed = [each for each in _ALLOWED.get(event, (Action.STOP,)) if undoes or each is not Action.UNDO]
    if not isinstance(asked.action, Action) or asked.action not in allowed:
        raise TypeError(
            f"{asked.by}.{event} returned {asked.action!r}; it may return None or "
            + ", ".join(f"Action.{each.name}" for each in allowed)
        )
