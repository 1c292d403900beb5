"""What is done to the arguments of a valid call, and arguments drawn from nothing but the type in a schema."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

HUGE = 2**62
INTS = (
    0, 1, -1, 2, 3, 5, 7, 64, 100, -100, 2**31 - 1, 2**31, 2**31 + 1, -(2**31), 2**32, HUGE, HUGE + 1, -HUGE,
    2**63 - 1, -(2**63),
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, 0.5, -1.0, 2.0, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"))
DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.int8,
    torch.bool, torch.complex64, torch.float8_e4m3fn, torch.uint16,
)  # fmt: skip
SIZES = (0, 1, 2, 3, 5, 17, 130, 1000)
FAR_SIZES = (2**31, 2**32 + 1, 2**40, HUGE, 2**63 - 1)


# ------------------------------------------------------------------------------------------------------ from the schema


def draw(kind: str, rng: random.Random) -> Any:
    """A value for an argument of a schema, by the words of its type."""
    if kind.startswith("Optional["):
        return None if rng.random() < 0.3 else draw(kind[len("Optional[") : -1], rng)
    if kind.startswith("List["):
        return [draw(kind[len("List[") : -1], rng) for _ in range(rng.choice((0, 1, 1, 2, 4)))]
    simple: dict[str, Callable[[], Any]] = {
        "Tensor": lambda: _draw_tensor(rng),
        "int": lambda: rng.choice(INTS),
        "float": lambda: rng.choice(FLOATS),
        "bool": lambda: rng.random() < 0.5,
    }
    if kind not in simple:
        raise NotImplementedError(f"a schema has an argument of type {kind}; teach `draw` what to give it")
    return simple[kind]()


def _draw_tensor(rng: random.Random) -> Tensor:
    shape = [rng.choice(SIZES[:7]) for _ in range(rng.choice((0, 1, 1, 2, 2, 3)))]
    return torch.randn(shape).mul(3).to(rng.choice(DTYPES))


# ----------------------------------------------------------------------------------------------------------- of tensors


def _shaped(tensor: Tensor, shape: list[int]) -> Tensor:
    """A tensor of another shape; of a large one, all elements are the same one."""
    numel = 1
    for size in shape:
        numel *= size
    if numel <= 1 << 20:
        values = tensor.reshape(-1)[: 1 << 20]
        if values.numel() == 0:
            return tensor.new_zeros(shape)
        return values[torch.arange(numel) % values.numel()].reshape(shape)
    return tensor.new_ones([1] * len(shape)).expand(shape)


def _resize(tensor: Tensor, rng: random.Random) -> Tensor:
    shape = list(tensor.shape)
    change = rng.randrange(5)
    if change == 0 or not shape:
        shape.insert(rng.randint(0, len(shape)), rng.choice(SIZES))
    elif change == 1:
        del shape[rng.randrange(len(shape))]
    elif change == 2:
        shape[rng.randrange(len(shape))] = rng.choice(FAR_SIZES)
        if rng.random() < 0.7:
            shape[rng.randrange(len(shape))] = 0
    else:
        dim = rng.randrange(len(shape))
        shape[dim] = rng.choice((shape[dim] + 1, max(0, shape[dim] - 1), rng.choice(SIZES)))
    return _shaped(tensor, shape)


def _relayout(tensor: Tensor, rng: random.Random) -> Tensor:
    """The same values, laid out otherwise."""
    if tensor.dim() == 0:
        return tensor
    dim = rng.randrange(tensor.dim())
    if rng.random() < 0.5:
        return tensor.transpose(0, dim).contiguous().transpose(0, dim)
    apart = torch.stack([tensor, tensor], dim=dim + 1).flatten(dim, dim + 1)
    every_other = apart[(slice(None),) * dim + (slice(rng.randrange(2), None, 2),)]
    return every_other


def _expand(tensor: Tensor, rng: random.Random) -> Tensor:
    """The same shape, of which one dimension has one element that is repeated."""
    if tensor.dim() == 0 or tensor.numel() == 0:
        return tensor
    dim = rng.randrange(tensor.dim())
    return tensor.narrow(dim, 0, 1).expand(tensor.shape)


def _revalue(tensor: Tensor, rng: random.Random) -> Tensor:
    changed = tensor.clone()
    flat = changed.view(-1) if changed.is_contiguous() else changed.reshape(-1)
    for _ in range(rng.randint(1, 3)):
        if flat.numel() == 0:
            break
        value: Any = rng.choice(FLOATS)
        if not tensor.dtype.is_floating_point and not tensor.dtype.is_complex:
            low, high = (0, 1) if tensor.dtype == torch.bool else (
                torch.iinfo(tensor.dtype).min, torch.iinfo(tensor.dtype).max)  # fmt: skip
            value = min(high, max(low, rng.choice(INTS)))
        flat[rng.randrange(flat.numel())] = value
    return flat.reshape(tensor.shape)


def _rekind(tensor: Tensor, rng: random.Random) -> Tensor:
    """Tensors that are not what a kernel expects: of another layout, device, or with a wish for a gradient."""
    kind = rng.randrange(4)
    if kind == 0:
        return tensor.to("meta")
    if kind == 1 and tensor.dim() > 0 and tensor.numel() < 1 << 16:
        return tensor.to_sparse()
    if kind == 2 and tensor.dtype.is_floating_point:
        return tensor.detach().clone().requires_grad_()
    return torch._lazy_clone(tensor)


def _redtype(tensor: Tensor, rng: random.Random) -> Tensor:
    dtype = rng.choice(DTYPES)
    if rng.random() < 0.3 and tensor.is_contiguous() and tensor.dim() > 0:
        return tensor.view(dtype)
    return tensor.to(dtype)


_TENSOR_CHANGES: tuple[Callable[[Tensor, random.Random], Tensor], ...] = (
    _resize, _resize, _relayout, _relayout, _expand, _revalue, _revalue, _redtype, _rekind,
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ of one other argument


class _Hostile:
    """Has the methods that a writer of JSON asks for, and answers with what it does not expect."""

    def __init__(self, rng: random.Random) -> None:
        self._answer = rng.choice((7, None, self, [self], "\ud800", b"x"))
        self.dtype = "float32"

    def isoformat(self) -> Any:
        return self._answer

    def tolist(self) -> Any:
        return self._answer

    def __str__(self) -> str:
        return self._answer  # type: ignore[return-value]

    def __repr__(self) -> str:
        return "<hostile>"


class _HostileList(_Hostile):
    isoformat = None  # type: ignore[assignment]


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def _object(rng: random.Random) -> Any:
    return rng.choice((
        None, True, 3, -(10**30), 10**5000, float("nan"), 1e308, "", "é\ud800", "\x00", b"", b"\xff{", [], [[]], (1, 2),
        {}, {1: 2}, {None: {}}, {"a": [1, {"b": None}]}, {"\ud800": 1}, _nested(200), _Hostile(rng), _HostileList(rng),
        object(), memoryview(b"abcd")[::-1], memoryview(bytes(16)).cast("q"), bytearray(b"{}"), range(3), 2j, int,
    ))  # fmt: skip


def _change_bytes(value: bytes, rng: random.Random) -> Any:
    at = rng.randint(0, len(value))
    new = bytes(rng.choices(b'{}[]",:\\\x00\xff0e-. \n', k=rng.randint(0, 4)))
    return rng.choice((value[:at], value[:at] + new + value[at + 1 :], value + new, value * 40, bytearray(value)))


def _change_list(value: list[Any], rng: random.Random, change: Callable[[Any, random.Random], Any]) -> list[Any]:
    changed = list(value)
    kind = rng.randrange(6)
    at = rng.randrange(len(value)) if value else 0
    if kind == 0 or not value:
        return rng.choice(([], changed + changed, changed[:-1]))
    if kind == 1:
        del changed[at]
    elif kind == 2:
        changed.insert(at, changed[rng.randrange(len(changed))])
    elif kind == 3 and all(type(each) is int for each in value):
        # The same sum, were it counted in 64 bits.
        changed[at:at] = [HUGE] * 4
    else:
        changed[at] = change(changed[at], rng)
    return changed


def change_value(value: Any, rng: random.Random) -> Any:
    """Another value, most often of the same type."""
    if isinstance(value, Tensor):
        return rng.choice(_TENSOR_CHANGES)(value, rng)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((rng.choice(INTS), value + 1, value - 1))
    if isinstance(value, float):
        return rng.choice(FLOATS)
    if isinstance(value, list):
        return _change_list(value, rng, change_value)
    if isinstance(value, bytes):
        return _change_bytes(value, rng)
    return _object(rng)


# ------------------------------------------------------------------------------------------------ of several that agree


def _tensors(arguments: list[Any]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, list):
            yield from (each for each in argument if isinstance(each, Tensor))


def _map_tensors(arguments: list[Any], function: Callable[[Tensor], Tensor]) -> list[Any]:
    def mapped(argument: Any) -> Any:
        if isinstance(argument, list):
            return [mapped(each) for each in argument]
        return function(argument) if isinstance(argument, Tensor) else argument

    return [mapped(argument) for argument in arguments]


def _resize_alike(arguments: list[Any], rng: random.Random) -> list[Any]:
    """One size becomes another everywhere, in shapes and in lists of integers, so that they still agree."""
    sizes = sorted({size for tensor in _tensors(arguments) for size in tensor.shape})
    if not sizes:
        return arguments
    old, new = rng.choice(sizes), rng.choice((*SIZES, 129, *FAR_SIZES))

    def resized(tensor: Tensor) -> Tensor:
        shape = [new if size == old else size for size in tensor.shape]
        return _shaped(tensor, shape) if shape != list(tensor.shape) else tensor

    changed = _map_tensors(arguments, resized)
    return [
        [new if type(each) is int and each == old else each for each in argument]
        if isinstance(argument, list)
        else argument
        for argument in changed
    ]


def _lengthen_alike(arguments: list[Any], rng: random.Random) -> list[Any]:
    """All lists of one length lose or repeat the same element; integers that are repeated may be huge."""
    lengths = sorted({len(argument) for argument in arguments if isinstance(argument, list) and argument})
    if not lengths:
        return arguments
    length = rng.choice(lengths)
    at, count = rng.randrange(length), rng.choice((0, 1, 4, 4, 300))
    alike = [place for place, each in enumerate(arguments) if isinstance(each, list) and len(each) == length]
    of_ints = [place for place in alike if all(type(each) is int for each in arguments[place])]
    huge = rng.choice(of_ints) if of_ints and rng.random() < 0.7 else None
    changed = list(arguments)
    for place in alike:
        value = arguments[place]
        copy = rng.choice((HUGE, 2**61, -1, 2**31)) if place == huge else value[at]
        changed[place] = value[:at] + [copy] * count + value[at + (count == 0) :]
    return changed


def _share_memory(arguments: list[Any], rng: random.Random) -> list[Any]:
    """One tensor becomes a view of another's bytes, of its own shape and dtype."""
    strided = [isinstance(each, Tensor) and each.layout == torch.strided for each in arguments]
    places = [place for place, each in enumerate(strided) if each]
    if len(places) < 2:
        return arguments
    into, of = rng.sample(places, 2)
    tensor, other = arguments[into], arguments[of]
    size = tensor.numel() * tensor.element_size()
    if not other.is_contiguous() or other.is_meta or other.numel() * other.element_size() < size:
        return arguments
    changed = list(arguments)
    changed[into] = other.detach().reshape(-1).view(torch.uint8)[:size].view(tensor.dtype).reshape(tensor.shape)
    return changed


_CHANGES_OF_SEVERAL = (_resize_alike, _resize_alike, _lengthen_alike, _share_memory)


def mutate(arguments: list[Any], kinds: list[str] | None, rng: random.Random) -> list[Any]:
    """Arguments of which some differ from the given ones; kinds: the types of a schema."""
    changed = list(arguments)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.3:
            changed = rng.choice(_CHANGES_OF_SEVERAL)(changed, rng)
            continue
        if not changed:
            return [_object(rng)]
        place = rng.randrange(len(changed))
        draws = kinds is not None and rng.random() < 0.15
        changed[place] = draw(kinds[place], rng) if draws and kinds else change_value(changed[place], rng)
    if kinds is None and rng.random() < 0.1:
        changed[rng.randrange(len(changed))] = _object(rng)
    return changed
