"""Batches are formed when their turn comes: planned arrivals, planned ends."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.serving.ensemble.batching import Batcher


class Work:
    """Doubles numbers once it is released; remembers the batches."""

    def __init__(self, max_size=8, concurrency=1, **kwargs):
        self.batches, self.running, self.peak = [], 0, 0
        self.release = asyncio.Event()
        self.fault = None
        self.batcher = Batcher(self, lambda item: item, max_size, concurrency, **kwargs)

    async def __call__(self, items):
        self.batches.append(list(items))
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await self.release.wait()
            await asyncio.sleep(0)
            if self.fault is not None:
                raise self.fault
            return [2 * item for item in items]
        finally:
            self.running -= 1

    async def submit(self, *items):
        """Return tasks that submit items, each after the one before has been queued."""
        tasks = []
        for item in items:
            tasks.append(asyncio.create_task(self.batcher(item)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return tasks


def test_the_first_item_is_processed_at_once_and_later_ones_together():
    async def play():
        work = Work()
        tasks = await work.submit(1, 2, 3, 1)
        assert work.batches == [[1]]
        work.release.set()
        assert await asyncio.gather(*tasks) == [2, 4, 6, 2]
        assert work.batches == [[1], [2, 3, 1]]

    asyncio.run(play())


def test_only_a_single_item_may_exceed_the_maximum():
    async def play():
        work = Work(max_size=4)
        tasks = await work.submit(1, 2, 2, 1, 9, 3)
        work.release.set()
        assert await asyncio.gather(*tasks) == [2, 4, 4, 2, 18, 6]
        assert work.batches == [[1], [2, 2], [1], [9], [3]]

    asyncio.run(play())


@given(
    items=st.lists(st.integers(1, 6), min_size=1, max_size=30),
    max_size=st.integers(1, 8),
    concurrency=st.integers(1, 3),
)
def test_everything_is_processed_in_order_within_limits(items, max_size, concurrency):
    async def play():
        work = Work(max_size, concurrency)
        work.release.set()
        assert await asyncio.gather(*map(work.batcher, items)) == [2 * item for item in items]
        assert [item for batch in work.batches for item in batch] == items and work.peak <= concurrency
        assert all(sum(batch) <= max_size or len(batch) == 1 for batch in work.batches)

    asyncio.run(play())


def test_concurrent_batches():
    async def play():
        work = Work(concurrency=2)
        tasks = await work.submit(1, 2, 3, 3)
        assert work.batches == [[1], [2]]
        work.release.set()
        await asyncio.gather(*tasks)
        assert work.peak == 2 and work.batches[2] == [3, 3]

    asyncio.run(play())


def test_an_error_reaches_every_item_of_its_batch_only():
    async def play():
        work = Work()
        work.fault = ValueError("injected")
        tasks = await work.submit(1, 2, 3)
        work.release.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found == [work.fault] * 3
        work.fault = None
        assert await work.batcher(4) == 8

    asyncio.run(play())


def test_an_abandoned_item_does_not_affect_others():
    async def play():
        work = Work()
        first, second, third, fourth = await work.submit(1, 2, 3, 4)
        first.cancel()  # in the batch being processed
        third.cancel()  # still in the queue
        await asyncio.sleep(0)
        work.release.set()
        assert await asyncio.gather(second, fourth) == [4, 8]
        assert work.batches == [[1], [2, 4]]
        with pytest.raises(asyncio.CancelledError):
            await third

    asyncio.run(play())


def test_batches_do_not_run_in_the_context_of_a_request():
    request = ContextVar("request", default=None)

    async def work(items):
        return [request.get() for _ in items]

    async def play():
        request.set("the first")
        assert await Batcher(work, lambda item: 1, 8, 1)(0) is None

    asyncio.run(play())


def test_a_batch_waits_for_more_items():
    async def play():
        work = Work(wait_s=0.02)
        work.release.set()
        assert await asyncio.gather(*await work.submit(1, 2)) == [2, 4]
        assert work.batches == [[1, 2]]

    asyncio.run(play())


def test_a_call_that_nobody_waits_for_is_cancelled():
    async def run():
        ended = []

        async def work(items):
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(items)

        batcher = Batcher(work, lambda item: 1, 8, 1)
        first, second = (asyncio.ensure_future(batcher(item)) for item in "ab")
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        taken = list(ended)
        second.cancel()
        await asyncio.sleep(0.01)
        return taken, ended, batcher._free

    taken, ended, free = asyncio.run(run())
    assert taken == [] and ended == [["a", "b"]] and free == 1
