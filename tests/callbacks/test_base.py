import inspect
from typing import Any

from jenga.callbacks import CALLBACK_REGISTRY, Action, BaseCallback
from jenga.callbacks.chain import Chain
from jenga.trainer import Trainer

EVENTS = [name for name in vars(BaseCallback) if name.startswith("on_")]


def test_every_event_has_a_default_that_does_nothing_and_takes_later_details() -> None:
    assert len(EVENTS) == 14
    for name in EVENTS:
        event = getattr(BaseCallback(), name)
        details = {parameter: None for parameter in inspect.signature(event).parameters if parameter != "kwargs"}
        assert event(**details, what_a_later_version_hands_over=1) is None


def test_the_trainer_or_the_chain_fires_every_event() -> None:
    source = inspect.getsource(Trainer) + inspect.getsource(Chain).replace("callback.on_result", '"on_result"')
    source = source.replace("callback.on_close", '"on_close"')
    assert [name for name in EVENTS if f'"{name}"' not in source] == []


def test_callback_without_a_memory_saves_nothing() -> None:
    assert BaseCallback().state_dict() is None
    BaseCallback().load_state_dict({})


def test_actions_are_ordered_by_their_strength() -> None:
    assert Action.SKIP < Action.ROLLBACK < Action.STOP


def test_the_hook_of_the_architecture_page_fits() -> None:
    class MyCallback(BaseCallback):
        def on_epoch_end(self, trainer: Any, epoch: int, metrics: dict[str, float], **kwargs: Any) -> None:
            self.seen = epoch, metrics

    callback = MyCallback()
    callback.on_epoch_end(None, 1, {"eval_loss": 0.5}, more=2)
    assert callback.seen == (1, {"eval_loss": 0.5})
    assert issubclass(MyCallback, BaseCallback)
    assert CALLBACK_REGISTRY.entry_point_group == "jenga.callbacks"
