"""A queue and its thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from jenga.errors import ConfigError
from jenga.inference.serve.batcher import Batcher, QueueFullError, QueueLimits


class Seen:
    """Answers each work by itself, once `open` is set, and notes what it saw."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.batches: list[list[Any]] = []
        self.costs: dict[Any, int] = {}
        self.counted: list[tuple[int, int]] = []
        self.dropped_rows = 0
        self.most_waiting = 0

    def answer(self, works: Sequence[Any]) -> Iterator[Mapping[int, Any]]:
        self.batches.append(list(works))
        self.open.wait(10)
        for at, work in enumerate(works):
            if work == "bug":
                raise ZeroDivisionError
            yield {at: ValueError(work) if work == "wrong" else work}

    def count(self, works: Sequence[Any]) -> list[int]:
        return [self.costs.get(work, 1) for work in works]

    def waiting(self, rows: int) -> None:
        self.most_waiting = max(rows, self.most_waiting)

    def batch(self, rows: int, tokens: int, seconds: float) -> None:
        self.counted.append((rows, tokens))

    def dropped(self, rows: int) -> None:
        self.dropped_rows += rows


def with_batcher(limits: QueueLimits, work: Callable[[Batcher, Seen], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        seen = Seen()
        batcher = Batcher(seen.answer, seen.count, limits, seen, name="test")
        try:
            return await work(batcher, seen)
        finally:
            seen.open.set()
            batcher.close()
            batcher.join(10)

    return asyncio.run(run())


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_batch_is_closed_by_its_tokens_without_waiting_longer() -> None:
    async def work(batcher: Batcher, seen: Seen) -> None:
        seen.costs = dict.fromkeys(range(5), 40)
        futures = [batcher.put(at, rows=1) for at in range(5)]
        async with asyncio.timeout(10):
            assert [*await asyncio.gather(*futures[:4])] == [0, 1, 2, 3]
        assert seen.batches == [[0, 1], [2, 3]]
        assert not futures[4].done()
        futures[4].cancel()

    with_batcher(QueueLimits(batch_tokens=80, wait_s=60.0), work)


def test_a_batch_is_closed_when_its_first_work_has_waited() -> None:
    async def work(batcher: Batcher, seen: Seen) -> None:
        assert [*await asyncio.gather(*[batcher.put(at, rows=2) for at in range(3)])] == [0, 1, 2]
        assert seen.batches == [[0, 1, 2]]
        await until(lambda: seen.counted)
        assert seen.counted == [(6, 3)]
        assert seen.most_waiting == 6

    with_batcher(QueueLimits(wait_s=0.05), work)


def test_work_that_is_larger_than_a_batch_is_one_of_its_own() -> None:
    async def work(batcher: Batcher, seen: Seen) -> None:
        seen.costs = {"a": 500}
        futures = [batcher.put("a", rows=1), batcher.put("b", rows=1)]
        assert [*await asyncio.gather(*futures)] == ["a", "b"]
        assert seen.batches == [["a"], ["b"]]

    with_batcher(QueueLimits(batch_tokens=80, wait_s=0.01), work)


def test_a_full_queue_takes_no_more_and_says_when_to_come_again() -> None:
    async def work(batcher: Batcher, seen: Seen) -> None:
        seen.open.clear()
        first = batcher.put(0, rows=1)
        await until(lambda: seen.batches)
        waiting = batcher.put(1, rows=9)
        with pytest.raises(QueueFullError, match="9 rows wait already") as told:
            batcher.put(2, rows=2)
        assert told.value.retry_s >= 1
        seen.open.set()
        assert [*await asyncio.gather(first, waiting)] == [0, 1]
        assert await batcher.put(3, rows=99) == 3

    with_batcher(QueueLimits(rows=10, wait_s=0.0), work)


def test_cancelled_work_is_dropped_from_the_queue() -> None:
    async def work(batcher: Batcher, seen: Seen) -> None:
        seen.open.clear()
        first = batcher.put("first", rows=1)
        await until(lambda: seen.batches)
        left, kept = batcher.put("left", rows=7), batcher.put("kept", rows=2)
        left.cancel()
        await asyncio.sleep(0)
        assert (batcher.rows, seen.dropped_rows) == (2, 7)
        seen.open.set()
        assert [*await asyncio.gather(first, kept)] == ["first", "kept"]
        assert seen.batches == [["first"], ["kept"]]

    with_batcher(QueueLimits(wait_s=0.0), work)


def test_an_error_is_of_its_work_alone_and_a_mistake_of_ours_of_those_that_are_left() -> None:
    async def work(batcher: Batcher, seen: Seen) -> None:
        works = [batcher.put(each, rows=1) for each in ("a", "wrong", "bug", "b")]
        found = await asyncio.gather(*works, return_exceptions=True)
        assert found[0] == "a"
        assert [type(each) for each in found[1:]] == [ValueError, ZeroDivisionError, ZeroDivisionError]
        assert await batcher.put("later", rows=1) == "later"

    with_batcher(QueueLimits(wait_s=0.02), work)


def test_a_closed_batcher_answers_what_waits_and_ends_its_thread() -> None:
    async def work(batcher: Batcher, seen: Seen) -> None:
        seen.open.clear()
        seen.costs = dict.fromkeys(range(3), 100)
        futures = [batcher.put(at, rows=1) for at in range(3)]
        batcher.close()
        with pytest.raises(RuntimeError, match="closed"):
            batcher.put(9, rows=1)
        seen.open.set()
        assert [*await asyncio.gather(*futures)] == [0, 1, 2]
        await asyncio.to_thread(batcher.join, 10)
        assert not [each for each in threading.enumerate() if each.name == "jenga-serve-test"]

    with_batcher(QueueLimits(batch_tokens=100, wait_s=60.0), work)


def test_work_that_cannot_be_counted_is_answered_all_the_same() -> None:
    async def work(batcher: Batcher, seen: Seen) -> None:
        seen.costs = cast(Any, None)
        assert await batcher.put("a", rows=1) == "a"

    with_batcher(QueueLimits(), work)


@pytest.mark.parametrize("wrong", [{"batch_tokens": 0}, {"rows": 0}, {"wait_s": -1.0}, {"wait_s": float("nan")}])
def test_limits_that_let_nothing_pass_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="allowed: 1 or more"):
        QueueLimits(**wrong)
