"""Optimizers and schedules that are tried before they train."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from jenga.callbacks import BaseCallback, NestedLearning
from jenga.callbacks.base import MakeOptimizer
from jenga.callbacks.chain import Chain
from jenga.config.training import LearningRates, ResolvedTraining
from jenga.errors import ConfigError
from jenga.optimizers import OPTIMIZER_REGISTRY, OPTIMIZERS, SCHEDULER_REGISTRY
from jenga.optimizers.groups import Group
from jenga.trainer.optim import Maker
from jenga.trainer.rehearse import rehearse

CPU = torch.device("cpu")


class Forgetful(torch.optim.SGD):
    """Slows down by what only the object knows."""

    steps = 0

    def step(self, closure: Any = None) -> None:
        self.steps += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.data.sub_(p.grad / self.steps)


class Queueing(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            self.state[p]["queue"] = deque([1])


class Halved(torch.optim.Optimizer):
    """Keeps its mean in bfloat16, which torch would load as float32; and a step of its own, in a tuple."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                mean = state.setdefault("mean", torch.zeros_like(p, dtype=torch.bfloat16))
                state["seen"] = (state.get("seen", (0, None))[0] + 1, None)
                mean.mul_(0.9).add_(p.grad.bfloat16())
                p.sub_(mean.float() * group["lr"] / state["seen"][0])


class Fussy(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        raise RuntimeError("only on Sundays")


class Counting(LambdaLR):
    """Remembers a queue, which no checkpoint can hold."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.queue = deque([1])
        super().__init__(optimizer, lambda step: 1.0)


class Swapping(torch.optim.SGD):
    """Has other weights for evaluations, and forgets that it has been asked for them."""

    trace = 0.0

    def train(self) -> None: ...

    def eval(self) -> None:
        self.param_groups[0]["lr"] += self.trace


class Tracing(Swapping):
    trace = 0.1


class NotYet(Swapping):
    def eval(self) -> None:
        raise KeyError(self.param_groups[0]["step"])


@pytest.fixture
def registered() -> Iterator[None]:
    parts = {
        "swapping": Swapping,
        "tracing": Tracing,
        "not_yet": NotYet,
        "forgetful": Forgetful,
        "queueing": Queueing,
        "halved": Halved,
        "fussy": Fussy,
    }
    for name, part in parts.items():
        OPTIMIZER_REGISTRY[name] = part
    SCHEDULER_REGISTRY["counting"] = Counting
    yield
    for name in parts:
        del OPTIMIZER_REGISTRY[name]
    del SCHEDULER_REGISTRY["counting"]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """What has matrices and vectors, as a model's parts do."""
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 6))


def attempt(
    model: torch.nn.Module, rate: float = 1e-2, callbacks: Sequence[BaseCallback] = (), **training: Any
) -> None:
    rates = LearningRates(backbone=rate, fusion=rate, heads=rate)
    resolved = ResolvedTraining(epochs=1, batch_size=8, learning_rate=rates, **training)
    groups: list[Group] = [
        {"params": [p for p in model.parameters() if (p.dim() > 1) == wide], "lr": rate, "weight_decay": decay,
         "name": "heads", **({} if callbacks else {"use_muon": wide})}
        for wide, decay in ((True, 0.01), (False, 0.0))
    ]  # fmt: skip
    names = {p: name for name, p in model.named_parameters()}
    rehearse(groups, names, resolved, CPU, make=Maker(resolved, Chain(callbacks)), total_steps=20)


@pytest.mark.parametrize(
    "name",
    ["muon", "adamw", "adam", "sgd", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam", "adafactor", "asgd"],
)
def test_what_torch_has_can_be_resumed(model: Any, name: str) -> None:
    attempt(model, optimizer=name)


@pytest.mark.parametrize(
    "name", ["adamw", "adam", "sgd", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam", "halved"]
)
@pytest.mark.usefixtures("registered")
def test_what_treats_each_number_by_itself_trains_parts(model: Any, name: str) -> None:
    attempt(model, optimizer=name, fsdp=True)


@pytest.mark.parametrize("name", ["muon", "adafactor"])
def test_what_looks_at_whole_matrices_trains_no_parts(model: Any, name: str) -> None:
    attempt(model, optimizer=name)
    with pytest.raises(ConfigError, match=rf"training\.optimizer: '{name}' trains a part of a matrix otherwise than"):
        attempt(model, optimizer=name, fsdp=True)


@pytest.mark.skipif(importlib.util.find_spec("pytorch_optimizer") is None, reason="jenga[optimizers] is not there")
@pytest.mark.parametrize(
    ("name", "parts"),
    [("lion", True), ("schedulefreeadamw", True), ("soap", False), ("lamb", False), ("shampoo", False),
     ("prodigy", False)],
)  # fmt: skip
def test_those_of_pytorch_optimizer_are_told_apart(model: Any, name: str, parts: bool) -> None:
    if parts:
        attempt(model, optimizer=name, fsdp=True)
        return
    with pytest.raises(ConfigError, match=rf"training\.optimizer: '{name}' trains a part of a matrix otherwise than"):
        attempt(model, optimizer=name, fsdp=True)


@pytest.mark.usefixtures("registered")
def test_levels_train_parts_where_their_optimizers_do(model: Any) -> None:
    slow = {"match": "*.weight", "period": 1000}
    attempt(model, callbacks=[NestedLearning(levels=[{**slow, "optimizer": "halved"}])], fsdp=True)
    with pytest.raises(ConfigError, match="NestedLearning gives trains a part of a matrix otherwise than the whole"):
        attempt(model, callbacks=[NestedLearning(levels=[{**slow, "optimizer": "m3"}])], fsdp=True)


@pytest.mark.usefixtures("registered")
def test_state_of_another_dtype_and_beside_tensors_can_be_resumed(model: Any) -> None:
    attempt(model, optimizer="halved")


@pytest.mark.usefixtures("registered")
def test_weights_for_evaluations_may_be_swapped_and_any_others_averaged(model: Any) -> None:
    attempt(model, optimizer="swapping")
    attempt(model, optimizer="adam", ema=0.9)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("training", "words"),
    [
        (
            {"optimizer": {"name": "muon", "adamw": {"eps": -1.0}}},
            r"training.optimizer: 'muon' cannot train this model: Invalid epsilon value: -1.0; choose",
        ),
        ({"optimizer": "forgetful"}, "'forgetful' would go on differently after a resume .*keep that in self.state"),
        ({"optimizer": "queueing"}, r"cannot be put into a checkpoint: .*queue is a collections\.deque"),
        ({"optimizer": "fussy"}, "'fussy' cannot take a step on this model: only on Sundays; choose another"),
        ({"optimizer": {"name": "sgd", "nesterov": True}}, "'sgd' cannot train this model: Nesterov momentum requires"),
        ({"optimizer": "tracing"}, "'tracing' would go on differently after a resume"),
        ({"optimizer": "not_yet"}, "'not_yet' cannot show its weights for evaluations: 'step'; choose another"),
        (
            {"optimizer": "swapping", "ema": 0.9},
            "training.ema: optimizer 'Swapping' has an average of its own, .*; remove the key",
        ),
        ({"scheduler": "counting"}, r"cannot be put into a checkpoint: .*scheduler\.queue is a collections\.deque"),
        (
            {"scheduler": {"name": "cosine_with_min_lr"}},
            "training.scheduler: 'cosine_with_min_lr' cannot be made for 20",
        ),
    ],
)
def test_what_could_not_train_or_be_resumed_is_refused_at_the_start(
    model: Any, training: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        attempt(model, **training)


class Gives(BaseCallback):
    """Gives the optimizer that `part` makes of the groups, and keeps the names it was asked with."""

    def __init__(self, part: Any) -> None:
        self.part = part
        self.asked: list[list[tuple[str, torch.Size]]] = []

    def make_optimizer(
        self, groups: Sequence[Group], names: Mapping[torch.nn.Parameter, str], make: MakeOptimizer
    ) -> torch.optim.Optimizer:
        self.asked.append([(names[p], p.shape) for group in groups for p in group["params"]])
        made: torch.optim.Optimizer = self.part(groups)
        return made


def test_the_optimizer_of_a_callback_is_tried_and_every_parameter_by_its_name(model: Any) -> None:
    gives = Gives(torch.optim.SGD)
    attempt(model, callbacks=[gives])
    assert len(gives.asked) == 2
    four = torch.Size([4])
    assert sorted(gives.asked[0]) == [
        ("0.bias", four), ("0.weight", torch.Size([4, 4])), ("1.bias", four), ("1.weight", torch.Size([4, 4])),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="callbacks: the optimizer that Gives gives would go on differently"):
        attempt(model, callbacks=[Gives(Forgetful)])


@pytest.mark.usefixtures("registered")
def test_the_optimizer_of_a_slow_level_is_tried_over_its_period(model: Any) -> None:
    """Which would come after the few steps that are tried; m3 has one of its own."""
    slow = {"match": "*.weight", "period": 1000}
    attempt(model, callbacks=[NestedLearning(levels=[{**slow, "optimizer": {"name": "m3", "period": 500}}])])
    attempt(model, callbacks=[NestedLearning(levels=[{**slow, "optimizer": "halved"}])])
    with pytest.raises(ConfigError, match="NestedLearning gives would go on differently"):
        attempt(model, callbacks=[NestedLearning(levels=[{**slow, "optimizer": "forgetful"}])])


def test_a_rate_that_will_diverge_is_not_judged_here(model: Any) -> None:
    attempt(model, rate=1e30)


def test_random_states_and_the_model_stay_as_they_were(model: Any) -> None:
    before = torch.get_rng_state(), [p.detach().clone() for p in model.parameters()]
    attempt(model, optimizer="adam")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(map(torch.equal, model.parameters(), before[1]))


@pytest.mark.skipif(importlib.util.find_spec("pytorch_optimizer") is None, reason="jenga[optimizers] is not there")
def test_of_the_library_some_can_be_resumed_and_some_are_refused(model: Any) -> None:
    """As lion most; of soap the order of tensors in memory counts; schedule-free ones swap weights for evaluations.

    adashift keeps a queue, ftrl divides by the rate, and splus has nothing to show before its first step.
    """
    assert len(OPTIMIZERS.library()) > 100
    for name in ("lion", "prodigy", "soap", "schedulefreeadamw", "schedulefreesgd", "schedulefreeradam", "adamuon"):
        attempt(model, optimizer=name)
    for name, words in (
        ("adashift", "grad_queue is a collections.deque"),
        ("ftrl", "weights that are not finite"),
        ("splus", "'splus' cannot show its weights for evaluations: "),
    ):
        with pytest.raises(ConfigError, match=words):
            attempt(model, optimizer=name)
