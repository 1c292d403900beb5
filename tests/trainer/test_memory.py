"""JSON and tensors of nested state."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from jenga.trainer.memory import pack, unpack


def through_files(value: object) -> Any:
    tensors: dict[str, torch.Tensor] = {}
    state = json.loads(json.dumps(pack(value, "part", tensors)))
    assert all(name.startswith("part") for name in tensors)
    return unpack(state, load(save({name: each.contiguous() for name, each in tensors.items()})))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        strides = one.stride() == other.stride()
        return type(other) is torch.Tensor and one.dtype == other.dtype and strides and torch.equal(one, other)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"a": [1, 2.5, True, None, "é"], "b": (1, (2, [3]))},
        {0: {"x": torch.arange(3)}, 1: {"x": torch.ones((), dtype=torch.bfloat16)}},
        {"a.b": {"c": torch.zeros(1)}, "a": {"b.c": torch.ones(1)}},
        {"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1)},
        {"$tensor": "no tensor", "$tuple": [1]},
        {(1, "x"): 1, 2: {None: 3}},
        [torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1), torch.rand(0, 3), torch.tensor(True)],
        {"big": 2**70, "inf": float("inf")},
    ],
)
def test_what_is_packed_comes_back_as_it_was(value: object) -> None:
    assert same(value, through_files(value))


def test_subclasses_come_back_as_what_they_are_of() -> None:
    value = {"o": OrderedDict(a=1), "n": np.float64(0.5), "p": torch.nn.Parameter(torch.ones(2))}
    found = through_files(value)
    assert (type(found["o"]), type(found["n"]), type(found["p"])) == (dict, float, torch.Tensor)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": {"queue": deque([1])}}, r"part\.a\.queue is a collections\.deque; a checkpoint holds numbers, text"),
        ([1, {2}], r"part\.1 is a builtins\.set"),
        (torch.eye(2).to_sparse(), r"part is a torch\.Tensor"),
        ({"x": np.ones(2)}, r"part\.x is a numpy\.ndarray"),
    ],
)
def test_what_no_checkpoint_can_hold_is_told_with_its_place(value: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        pack(value, "part", {})


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_comes_back_begins_in_memory_where_torch_begins_tensors(order: tuple[int, int]) -> None:
    """As tensors of a file do not; products of those differ in their last bits."""
    whole = torch.arange(13.0)
    made = whole[:12].reshape(3, 4).permute(*order)
    tensors: dict[str, torch.Tensor] = {}
    packed = pack(made, "x", tensors)
    odd = {name: torch.cat([whole[:1], each.flatten()])[1:].reshape(each.shape) for name, each in tensors.items()}
    found = unpack(packed, odd)
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found, made)
    assert found.stride() == made.stride()
    assert found.data_ptr() % 64 == 0
    assert next(iter(odd.values())).data_ptr() % 64 != 0
