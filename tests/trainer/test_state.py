"""Progress, as a checkpoint keeps it."""

import json
from dataclasses import asdict

from jenga.trainer.state import State


def test_the_state_comes_back_from_json() -> None:
    state = State(step=3, epoch=1, turn=2, pending=True, best_value=0.5, best_step=2, metrics={"eval_loss": 0.25})
    assert State(**json.loads(json.dumps(asdict(state)))) == state
    assert State() != state


def test_of_equal_models_the_one_of_the_lower_loss_is_better_where_losses_are_given() -> None:
    assert State().is_surpassed(0.5, None, greater=True)
    best = State(best_value=0.5, best_loss=1.0)
    assert best.is_surpassed(0.6, 2.0, greater=True)
    assert not best.is_surpassed(0.6, 0.5, greater=False)
    assert best.is_surpassed(0.5, 0.9, greater=True)
    assert not best.is_surpassed(0.5, 1.0, greater=True)
    assert not best.is_surpassed(0.5, None, greater=True)
    assert not State(best_value=0.5).is_surpassed(0.5, 0.9, greater=True)
