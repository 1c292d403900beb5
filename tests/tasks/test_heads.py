"""The packed weights of the heads of one task."""

from __future__ import annotations

import pytest
import seeds
import torch
from torch import nn
from torch.nn import functional as F

from jenga.tasks.heads import HeadBank

SIZES = {"mood": 2, "topic": 3, "weight": 1, "bias": 2}


@pytest.fixture
def bank() -> HeadBank:
    torch.manual_seed(seeds.derived(0))
    made = HeadBank(SIZES, 5)
    nn.init.normal_(made.bias)
    return made


def test_state_dict_shows_each_head_by_name(bank: HeadBank) -> None:
    holder = nn.ModuleDict({"tasks": nn.ModuleDict({"QA": nn.ModuleDict({"heads": bank})})})
    state = holder.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        f"tasks.QA.heads.{head}.{part}": (size, 5) if part == "weight" else (size,)
        for head, size in SIZES.items()
        for part in ("weight", "bias")
    }
    assert torch.equal(state["tasks.QA.heads.topic.weight"], bank.weight[2:5])
    assert torch.equal(state["tasks.QA.heads.bias.bias"], bank.bias[6:8])


def test_state_dict_round_trips(bank: HeadBank) -> None:
    other = HeadBank(SIZES, 5)
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.weight, bank.weight)
    assert torch.equal(other.bias, bank.bias)


def test_a_missing_head_in_a_state_dict_is_refused_by_name(bank: HeadBank) -> None:
    state = bank.state_dict()
    del state["topic.weight"]
    before = bank.weight.clone()
    with pytest.raises(RuntimeError, match="weight"):
        HeadBank(SIZES, 5).load_state_dict(state)
    assert torch.equal(bank.weight, before)


def test_forward_is_each_heads_own_linear_layer(bank: HeadBank) -> None:
    hidden = torch.randn(2, 4, 5)
    state, logits = bank.state_dict(), bank(hidden)
    assert list(logits) == list(SIZES)
    for head in SIZES:
        torch.testing.assert_close(logits[head], F.linear(hidden, state[f"{head}.weight"], state[f"{head}.bias"]))


@pytest.mark.parametrize("head", SIZES)
def test_a_view_is_one_head_and_trains_only_its_rows(bank: HeadBank, head: str) -> None:
    hidden = torch.randn(3, 5)
    view = bank.view(head)
    torch.testing.assert_close(view(hidden), bank(hidden)[head])
    view(hidden).sum().backward()
    assert bank.weight.grad is not None
    touched = bank.weight.grad.abs().sum(1) > 0
    start = sum(list(SIZES.values())[: list(SIZES).index(head)])
    assert touched.nonzero().flatten().tolist() == list(range(start, start + SIZES[head]))


def test_a_view_follows_the_weights(bank: HeadBank) -> None:
    view, hidden = bank.view("mood"), torch.randn(3, 5)
    before = view(hidden)
    bank.load_state_dict({name: value + 1 for name, value in bank.state_dict().items()})
    assert not torch.allclose(view(hidden), before)
