"""Which optimizers and schedules there are by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR

from jenga.errors import ConfigError
from jenga.optimizers import OPTIMIZER_REGISTRY, OPTIMIZERS, SCHEDULER_REGISTRY, SCHEDULERS
from jenga.optimizers.registries import LIBRARY

REFUSED = {"lbfgs", "sparseadam"}
needs_library = pytest.mark.skipif(importlib.util.find_spec(LIBRARY) is None, reason="jenga[optimizers] is not there")


class NoRate(torch.optim.Optimizer):
    def __init__(self, params: Any) -> None:
        super().__init__(params, {})


@pytest.fixture
def registered() -> Iterator[None]:
    OPTIMIZER_REGISTRY["no_rate"] = NoRate
    SCHEDULER_REGISTRY["exponential"] = ExponentialLR
    SCHEDULER_REGISTRY["plateau"] = torch.optim.lr_scheduler.ReduceLROnPlateau
    yield
    del OPTIMIZER_REGISTRY["no_rate"]
    for name in ("exponential", "plateau"):
        del SCHEDULER_REGISTRY[name]


def test_every_optimizer_of_torch_that_a_step_can_drive_has_its_name() -> None:
    classes = {
        name.lower() for name, each in vars(torch.optim).items()
        if isinstance(each, type) and issubclass(each, torch.optim.Optimizer)
    } - {"optimizer"}  # fmt: skip
    assert len(classes) > 10
    assert {"adam", "adamw", "sgd", "rmsprop", "adagrad", "nadam", "radam", "adafactor", "muon"} <= classes
    for name in classes - REFUSED:
        assert OPTIMIZERS.named(name).__name__.lower() == name  # type: ignore[attr-defined]
    assert OPTIMIZER_REGISTRY.entry_point_group == "jenga.optimizers"


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adamww", r"unknown optimizer 'adamww'; did you mean 'adamw'\? Known: .*rmsprop, rprop, sgd"),
        ("AdamW", r"did you mean 'adamw'\?"),
        ("lbfgs", "optimizer 'lbfgs' needs a closure in each step, to compute the loss again; .*; choose another"),
        ("sparseadam", "takes sparse gradients only"),
        ("no_rate", "takes no lr, which every optimizer here is handed"),
    ],
)
def test_an_optimizer_that_cannot_be_used_is_refused_with_the_reason(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        OPTIMIZERS.named(name)


def test_those_that_are_refused_are_not_offered() -> None:
    with pytest.raises(ConfigError) as caught:
        OPTIMIZERS.named("nothing_like_it")
    assert not REFUSED & set(str(caught.value).replace(",", "").split())


def test_without_the_library_its_names_are_unknown_and_the_message_says_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"unknown optimizer 'lion'.*and more with pip install 'jenga\[optimizers\]'"):
        OPTIMIZERS.named("lion")


@needs_library
def test_the_library_is_asked_for_names_that_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    import pytorch_optimizer

    assert OPTIMIZERS.named("lion") is pytorch_optimizer.Lion
    assert OPTIMIZERS.named("adamw") is torch.optim.AdamW
    assert {"betas", "weight_decouple"} <= OPTIMIZERS.settings("lion").model_fields.keys()
    assert not {"params", "lr", "weight_decay"} & OPTIMIZERS.settings("lion").model_fields.keys()
    with pytest.raises(ConfigError, match=r"did you mean 'lion'\? Known: .* and the \d+ of pytorch-optimizer"):
        OPTIMIZERS.named("lionn")
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imports {name}"))
    OPTIMIZERS.named("adamw")


class OfMatrices(torch.optim.SGD):
    matrices_only = True

    def train(self) -> None: ...

    def eval(self) -> None: ...


def test_beside_an_optimizer_of_matrices_adamw_has_a_block_and_a_rate() -> None:
    settings = OPTIMIZERS.settings("muon")
    assert {"momentum", "adjust_lr_fn", "adamw"} <= settings.model_fields.keys()
    made = settings.model_validate({"adamw": {"betas": (0.5, 0.6)}})
    assert made.adamw.model_fields_set == {"betas"}  # type: ignore[attr-defined]
    assert OPTIMIZERS.rates("muon") == {"rest"}
    assert OPTIMIZERS.rates("adamw") == frozenset()
    assert "adamw" not in OPTIMIZERS.settings("adam").model_fields
    with pytest.raises(ConfigError, match="unknown optimizer 'muom'; did you mean 'muon'"):
        OPTIMIZERS.rates("muom")


@pytest.mark.usefixtures("registries_as_before")
def test_an_optimizer_of_matrices_with_weights_for_evaluations_is_refused() -> None:
    OPTIMIZER_REGISTRY["of_matrices"] = OfMatrices
    with pytest.raises(ConfigError, match="takes hidden matrices only and has other weights for evaluations"):
        OPTIMIZERS.named("of_matrices")


@needs_library
def test_rates_and_decays_of_groups_are_no_settings() -> None:
    assert not {"adamw_lr", "adamw_wd", "lr", "weight_decay"} & OPTIMIZERS.settings("adamuon").model_fields.keys()
    assert {"adamw_betas", "ns_steps"} <= OPTIMIZERS.settings("adamuon").model_fields.keys()


@pytest.mark.usefixtures("registered")
def test_schedules_are_those_of_transformers_and_those_registered() -> None:
    assert list(SCHEDULERS.settings("cosine_with_restarts").model_fields) == ["num_cycles"]
    assert list(SCHEDULERS.settings("polynomial").model_fields) == ["lr_end", "power"]
    assert SCHEDULERS.settings("linear").model_fields == {}
    assert list(SCHEDULERS.settings("exponential").model_fields) == ["gamma"]
    assert SCHEDULER_REGISTRY.entry_point_group == "jenga.schedulers"
    with pytest.raises(
        ConfigError, match=r"unknown scheduler 'cosin'; did you mean 'cosine'\? Known: .*constant, .*lin"
    ):
        SCHEDULERS.named("cosin")
    with pytest.raises(ConfigError, match="scheduler 'plateau' follows a metric"):
        SCHEDULERS.named("plateau")
    for name in ("greedy", "reduce_lr_on_plateau"):
        with pytest.raises(ConfigError, match="unknown scheduler"):
            SCHEDULERS.named(name)


@pytest.mark.usefixtures("registered")
def test_a_part_is_handed_what_its_signature_names() -> None:
    optimizer = OPTIMIZERS.make("sgd", {"momentum": 0.5}, {"params": [torch.nn.Parameter(torch.ones(2))]})
    assert optimizer.defaults["momentum"] == 0.5
    handed = {"optimizer": optimizer, "num_warmup_steps": 1, "num_training_steps": 9}
    assert isinstance(SCHEDULERS.make("exponential", {"gamma": 0.5}, handed), ExponentialLR)


def test_a_registered_block_takes_the_place_of_the_signature() -> None:
    from jenga.config.strict import Strict

    class Own(Strict):
        heat: float = 1.0

    OPTIMIZER_REGISTRY.register("own", config=Own)(torch.optim.SGD)
    try:
        assert OPTIMIZERS.settings("own") is Own
    finally:
        del OPTIMIZER_REGISTRY["own"]
