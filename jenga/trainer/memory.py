"""What a part has to remember, as JSON and tensors: nothing of it is pickled, and all of it comes back as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_TENSOR, _ORDER, _TUPLE, _ITEMS = "$tensor", "$order", "$tuple", "$items"
_TENSORS = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def pack(value: object, name: str, tensors: dict[str, torch.Tensor]) -> Json:
    """Return `value` as JSON that names its tensors, which are put into `tensors` under names that begin with `name`.

    Dicts of any keys, lists, tuples, tensors, numbers, text, true, false and None; subclasses come back as these.
    Raises TypeError for anything else, with its place.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):  # of NumPy and of enums too
        return int(value) if isinstance(value, int) else float(value)
    if type(value) in _TENSORS and isinstance(value, torch.Tensor) and value.layout == torch.strided:
        # The order of the dimensions in memory decides the last bits of products; safetensors only knows one.
        order = sorted(range(value.ndim), key=value.stride, reverse=True)
        if value.is_contiguous() or not value.permute(order).is_contiguous():
            tensors[name] = value
            return {_TENSOR: name}
        tensors[name] = value.permute(order)
        return {_TENSOR: name, _ORDER: [int(each) for each in order]}
    if isinstance(value, (list, tuple)):
        items = [pack(each, f"{name}.{at}", tensors) for at, each in enumerate(value)]
        return items if isinstance(value, list) else {_TUPLE: items}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") and "." not in key for key in value):
            return {key: pack(each, f"{name}.{key}", tensors) for key, each in value.items()}
        # Numbers as keys, and keys that could be taken for ours: each tensor's name is its place.
        pairs: list[Json] = [
            [pack(key, f"{name}.{at}.key", tensors), pack(each, f"{name}.{at}.value", tensors)]
            for at, (key, each) in enumerate(value.items())
        ]
        return {_ITEMS: pairs}
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"{name} is a {kind}; a checkpoint holds numbers, text, tensors, and lists and dicts of them")


def packed_all(memories: Sequence[tuple[str, object]], tensors: dict[str, torch.Tensor]) -> list[tuple[str, Json]]:
    """Return what each of several parts remembers, beside its name, as `pack` makes it."""
    return [(name, pack(memory, f"{number}.{name}", tensors)) for number, (name, memory) in enumerate(memories)]


def unpack(value: Json, tensors: Mapping[str, torch.Tensor]) -> object:
    """Return what `pack` was given."""
    if isinstance(value, list):
        return [unpack(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if isinstance(name := value.get(_TENSOR), str):
        # Where a tensor begins in memory decides the last bits of products too; a file's begin anywhere.
        found, order = tensors[name].clone(), value.get(_ORDER)
        return found.permute(*_inverse(order)) if isinstance(order, list) else found
    if isinstance(items := value.get(_TUPLE), list):
        return tuple(unpack(each, tensors) for each in items)
    if isinstance(pairs := value.get(_ITEMS), list):
        return {unpack(pair[0], tensors): unpack(pair[1], tensors) for pair in pairs if isinstance(pair, list)}
    return {key: unpack(each, tensors) for key, each in value.items()}


def _inverse(order: list[Json]) -> list[int]:
    return [order.index(dimension) for dimension in range(len(order))]
