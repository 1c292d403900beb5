"""Progress, as a checkpoint keeps it."""

import json
from dataclasses import asdict

from jenga.trainer.state import State


def test_the_state_comes_back_from_json() -> None:
    state = State(step=3, epoch=1, turn=2, pending=True, best_value=0.5, best_step=2, metrics={"eval_loss": 0.25})
    assert State(**json.loads(json.dumps(asdict(state)))) == state
    assert State() != state
