"""Makes the calls. What a call does to the process is seen by the parent, `__main__.py`."""

from __future__ import annotations

import json
import random
import re
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import torch
from arenas import Arenas
from calls import FUNCTIONS, OPS
from journal import Journal
from mutate import draw, mutate
from torch import Tensor

import jenga._C
import jenga.kernels

CALL_CPU_S, CALL_S = 20, 300
"""Seconds of the processors that a call may take, and seconds in all: a machine may have others to serve."""
MEMORY = 1 << 30
"""Bytes of address space beyond those of the process: what asks for more gets an exception."""
MAX_TENSORS = 32
ORDINARY = (ValueError, RuntimeError, TypeError, IndexError, MemoryError, OverflowError, BufferError)
NO_SENTENCE = re.compile(r"\b_M_\w+|std::(?!bad_alloc)|INTERNAL ASSERT|API call failed|basic_string|^\s*$")


class Target(NamedTuple):
    """What is called; `kinds`: the types in its schema, None for a function; `written`: arguments that it may write."""

    call: Callable[..., Any]
    valid: Callable[[random.Random], list[Any]] | None
    kinds: list[str] | None
    written: set[int]


def targets() -> dict[str, Target]:
    """Every op by its name, every function of the module as `_C.name`."""
    found = {}
    for schema in torch._C._jit_get_all_schemas():
        space, _, name = schema.name.partition("::")
        if space == "jenga":
            call = getattr(getattr(torch.ops.jenga, name), schema.overload_name or "default")
            kinds = [str(argument.type) for argument in schema.arguments]
            written = {place for place, each in enumerate(schema.arguments) if each.alias_info is not None}
            found[f"{name}.{schema.overload_name}".rstrip(".")] = Target(call, OPS.get(name), kinds, written)
    for name, function in vars(jenga._C).items():
        if callable(function) and not name.startswith("_"):
            found[f"_C.{name}"] = Target(function, FUNCTIONS.get(name), None, set())
    return dict(sorted(found.items()))


def arguments_of(name: str, target: Target, seed: int) -> tuple[list[Any], bool]:
    """The arguments of a call, and whether they are valid."""
    rng = random.Random(f"{name} {seed}")
    torch.manual_seed(rng.getrandbits(40))
    if target.valid is None:
        return [draw(kind, rng) for kind in target.kinds or []], False
    arguments = target.valid(rng)
    if seed % 8 == 0:
        return arguments, True
    for _ in range(20):
        try:
            return mutate(arguments, target.kinds, rng), False
        except (RuntimeError, TypeError, ValueError, IndexError, MemoryError):
            # There is no such tensor.
            continue
    return arguments, True


# ------------------------------------------------------------------------------------------------------------- one call


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _replaced(value: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(value, Tensor):
        return next(tensors)
    return [_replaced(each, tensors) for each in value] if isinstance(value, list) else value


def _contents(tensor: Tensor) -> bytes | None:
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.numel() > 1 << 16 or tensor.is_neg():
        return None
    flat = torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.detach().reshape(-1))
    return flat.view(torch.uint8).numpy().tobytes()


def judge(error: BaseException, is_valid: bool) -> str | None:
    """What is wrong with an exception, if anything."""
    what = f"{type(error).__name__}: {str(error)[:500]}"
    if is_valid:
        return f"a valid call was refused: {what}"
    if not isinstance(error, ORDINARY):
        return f"no ordinary exception: {what}"
    if NO_SENTENCE.search(str(error)):
        return f"no sentence: {what}"
    return None


def attempt(target: Target, arguments: list[Any], is_valid: bool) -> tuple[bool, str | None]:
    """Whether the call succeeded, and what was wrong with it."""
    read = [each for place, each in enumerate(arguments) if place not in target.written]
    before = [_contents(tensor) for tensor in _tensors(read)]
    signal.alarm(CALL_S)
    signal.setitimer(signal.ITIMER_PROF, CALL_CPU_S)
    try:
        result = target.call(*arguments)
        # All of the results is memory.
        for tensor in _tensors(result):
            _contents(tensor)
    except Exception as error:
        return False, judge(error, is_valid)
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    return True, None if before == [_contents(tensor) for tensor in _tensors(read)] else "an argument was written to"


# ------------------------------------------------------------------------------------------------------------ all calls


def _limit_memory() -> None:
    # The threads are started first: their library ends the process where it cannot.
    torch.set_num_threads(2)
    torch.randn(1 << 20).exp_().sum()
    torch.randn(300, 300) @ torch.randn(300, 300)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(only: list[str] | None, begin: int, end: int, journal: Journal) -> None:
    found = {name: target for name, target in targets().items() if only is None or name in only}
    print(json.dumps(list(found)), flush=True)
    arenas = Arenas(MAX_TENSORS)
    _limit_memory()
    for seed in range(begin, end):
        for index, (name, target) in enumerate(found.items()):
            arguments, is_valid = arguments_of(name, target, seed)
            placed = arenas.place(list(_tensors(arguments)), at_the_end=seed % 3 > 0)
            arguments = _replaced(arguments, iter(placed))
            journal.begin(index, seed)
            succeeded, wrong = attempt(target, arguments, is_valid)
            journal.counts[index] += [succeeded, not succeeded, succeeded and is_valid]
            if wrong:
                finding = {"name": name, "seed": seed, "what": wrong, "arguments": described(arguments)}
                print(json.dumps(finding), flush=True)


def described(value: Any) -> str:
    """The arguments in words, tensors by shape, strides and type, with their values where they are few."""
    if isinstance(value, list):
        return f"[{', '.join(described(each) for each in value)}]"
    if not isinstance(value, Tensor):
        text = repr(value)
        return text if len(text) < 400 else f"{text[:400]}... ({len(text)} characters)"
    words = f"{value.device.type} {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if value.layout != torch.strided or value.is_meta:
        return f"<{words} {value.layout}>"
    words += f" strides {value.stride()}" if not value.is_contiguous() else ""
    return f"<{words} {value.tolist()}>" if 0 < value.numel() <= 12 and not value.is_neg() else f"<{words}>"


def main() -> None:
    warnings.simplefilter("ignore")
    plan = json.loads(sys.argv[1])
    if "describe" in plan:
        name, seed = plan["describe"]
        print(described(arguments_of(name, targets()[name], seed)[0]))
    else:
        run(plan["only"], plan["begin"], plan["end"], Journal(Path(plan["journal"])))


if __name__ == "__main__":
    main()
