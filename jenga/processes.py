"""The processes of one run: which of them this is, and what they tell one another."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar, TypeVar

import torch
import torch.distributed as dist

from jenga.errors import LostProcessError
from jenga.launched import number, restarts, size

T = TypeVar("T")

_BUCKET = 1 << 24
"""Numbers of a message that carries gradients."""
_POLL_S, _ANSWER_S = 0.1, 10.0
_WORDS = ("gloo", "NCCL")
"""What torch's errors say where a connection is gone."""


class Processes:
    """All processes that train together, of which this one has the number `rank`, from 0, of `size`.

    Every method that tells or asks is one that all of them call at the same place. They run the same program and trust
    one another. `device`: where tensors of theirs are. By default this one is alone.
    """

    _limit_s: ClassVar[float] = 1800.0
    """How long one of them waits for another; torch's group, of which there is one, has the same number."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size, self.device = rank, size, device or torch.device("cpu")

    @classmethod
    def of_run(cls, device: torch.device) -> Processes:
        """Return those that a launcher has started, once they know one another."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls(device=device)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    def wait_at_most(self, seconds: float) -> None:
        """Let each wait for another no longer than this from now on: then LostProcessError names who did not come."""
        Processes._limit_s = seconds
        if self.size > 1:
            assert dist.group.WORLD is not None
            dist.group.WORLD.set_timeout(timedelta(seconds=seconds))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, rows: Sequence[T]) -> Sequence[T]:
        """Return this process's part of `rows`, which may be none; those of all make up the whole."""
        return rows[self.rank :: self.size]

    def any(self, *flags: bool) -> list[bool]:
        """Return of each flag whether some process has it up."""
        if self.size == 1:
            return list(flags)
        # Without a flag all still wait for one another.
        up = torch.tensor([*flags, False], dtype=torch.int32, device=self.device)
        with self._together():
            dist.all_reduce(up, dist.ReduceOp.MAX)
        return [bool(each) for each in up.tolist()[:-1]]

    def gathered(self, value: T) -> list[T]:
        """Return what each process has given, by their numbers."""
        if self.size == 1:
            return [value]
        found: list[T | None] = [None] * self.size
        with self._together():
            dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def from_first(self, value: T) -> T:
        """Return what the first process has given."""
        if self.size == 1:
            return value
        found = [value]
        with self._together():
            dist.broadcast_object_list(found, src=0, device=self.device)
        return found[0]

    def sums(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the sum of each number ``()`` over the processes that have it."""
        if self.size == 1:
            return dict(values)
        total: dict[str, float] = {}
        for found in self.gathered({name: float(each) for name, each in values.items()}):
            for name, each in found.items():
                total[name] = total.get(name, 0.0) + each
        return {name: torch.tensor(each, device=self.device) for name, each in total.items()}

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes, each of which has one of its shape."""
        if self.size == 1:
            return value
        found = value.detach().clone()
        with self._together():
            dist.all_reduce(found)
        return found

    def sum_rows(self, rows: Mapping[str, torch.Tensor], like: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the sum of each vector, which has the numbers of all of `like`, over the processes that have it."""
        if self.size == 1:
            return dict(rows)
        total: dict[str, torch.Tensor] = {}
        for name in dict.fromkeys(name for found in self.gathered(list(rows)) for name in found):
            own = rows.get(name)
            total[name] = torch.cat([torch.zeros_like(each).flatten() for each in like]) if own is None else own.clone()
            with self._together():
                dist.all_reduce(total[name])
        return total

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Give each parameter the sum of its gradients; one that no process has reached keeps none."""
        for p, grad in zip(parameters, self.summed([p.grad for p in parameters], parameters), strict=True):
            p.grad = grad

    @torch.no_grad()
    def summed(self, tensors: Sequence[torch.Tensor | None], like: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
        """Return the sums of `tensors`, in their place, each of the shape of its one in `like`; None where all are."""
        if self.size == 1:
            return list(tensors)
        there = self.any(*(each is not None for each in tensors))
        found: list[torch.Tensor | None] = [
            (torch.zeros_like(shape) if each is None else each) if some else None
            for each, shape, some in zip(tensors, like, there, strict=True)
        ]
        for bucket in _buckets([each for each in found if each is not None]):
            flat = torch.cat([each.reshape(-1) for each in bucket])
            with self._together():
                dist.all_reduce(flat)
            for each, part in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
                each.copy_(part.view_as(each))
        return found

    @contextmanager
    def same_draws(self, step: int) -> Iterator[None]:
        """Let what draws at random within draw the same in all processes, and leave the states of these as they are."""
        if self.size == 1:
            yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(step)
            yield

    @torch.no_grad()
    def spread(self, tensors: Sequence[torch.Tensor]) -> None:
        """Give all processes the tensors of the first."""
        if self.size > 1:
            with self._together():
                for each in tensors:
                    dist.broadcast(each, src=0)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Tell in our words that another process is gone, which libraries tell in theirs."""
        began = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            raise self._lost(began) from error

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell so too where it is torch that talks to the others within, among other things that may go wrong."""
        began = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            if self.size > 1 and (isinstance(error, dist.DistError) or any(each in str(error) for each in _WORDS)):
                raise self._lost(began) from error
            raise

    def _lost(self, began: float) -> LostProcessError:
        """Return the error of who has waited for the others since `began`, in vain."""
        if time.monotonic() - began >= 0.95 * self._limit_s:
            return _late(self.rank, self.size, within_s=self._limit_s)
        return LostProcessError(
            f"process {self.rank} of {self.size}: another one has ended, or does not answer. It has told why, or who "
            f"started it does. {_UNHARMED}",
            told_here=self.first,
        )


_UNHARMED = "What a run has saved is unharmed: go on with --resume auto"


@contextmanager
def meeting(limit_s: float) -> Iterator[None]:
    """Let LostProcessError name who has not come, where the processes of a run do not meet within `limit_s`."""
    try:
        yield
    except dist.DistStoreError as error:
        raise _late(number(), size(), within_s=limit_s) from error


def _late(rank: int, size: int, *, within_s: float) -> LostProcessError:
    """Return the error that names the processes which did not come to where this one has waited for `within_s`.

    Whoever has waited in vain says so where the launcher keeps what they tell one another. One that began to wait later
    says so later, by as long at most. Who has not by then is named by the first one of those that wait.
    """
    there = [rank]
    try:
        store = dist.TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, wait_for_workers=False,
            timeout=timedelta(seconds=_ANSWER_S),
        )  # fmt: skip
        keys = [f"jenga/{restarts()}/waited/{each}" for each in range(size)]
        store.set(keys[rank], "")
        end = time.monotonic() + within_s
        while len(there) < size - 1 and time.monotonic() < end:
            time.sleep(_POLL_S)
            there = [each for each in range(size) if store.check([keys[each]])]
        names = f"process {_listed(sorted(set(range(size)) - set(there)))} of {size}"
    except (KeyError, ValueError, RuntimeError):
        there, names = [rank], "another process (which one cannot be told, since the launcher is gone)"
    return LostProcessError(
        f"{names} did not come within {within_s:,g} s to where the others waited: stopped, stuck (in reading rows, or "
        f"in a callback), or slower than that; then raise --wait-limit. {_UNHARMED}",
        told_here=rank == min(there),
    )


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield the tensors in groups of one type, each of about `_BUCKET` numbers at most."""
    bucket: list[torch.Tensor] = []
    filled = 0
    for each in tensors:
        if bucket and (bucket[0].dtype != each.dtype or filled + each.numel() > _BUCKET):
            yield bucket
            bucket, filled = [], 0
        bucket.append(each)
        filled += each.numel()
    if bucket:
        yield bucket
