"""Batches are what is there when a turn comes: planned arrivals, planned ends."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.serving.ensemble.batching import Batcher


class Work:
    """Doubles numbers when it is let go; remembers what went together."""

    def __init__(self, most=8, at_once=1, **kwargs):
        self.batches, self.running, self.peak = [], 0, 0
        self.go = asyncio.Event()
        self.fault = None
        self.batcher = Batcher(self, lambda item: item, most, at_once, **kwargs)

    async def __call__(self, items):
        self.batches.append(list(items))
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await self.go.wait()
            await asyncio.sleep(0)
            if self.fault is not None:
                raise self.fault
            return [2 * item for item in items]
        finally:
            self.running -= 1

    async def ask(self, *items):
        """Return tasks that ask for items, each after the one before has been queued."""
        tasks = []
        for item in items:
            tasks.append(asyncio.create_task(self.batcher(item)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return tasks


def test_the_first_goes_at_once_and_what_comes_meanwhile_goes_together():
    async def play():
        work = Work()
        asked = await work.ask(1, 2, 3, 1)
        assert work.batches == [[1]]
        work.go.set()
        assert await asyncio.gather(*asked) == [2, 4, 6, 2]
        assert work.batches == [[1], [2, 3, 1]]

    asyncio.run(play())


def test_a_batch_is_no_larger_than_the_most_and_one_item_may_be():
    async def play():
        work = Work(most=4)
        asked = await work.ask(1, 2, 2, 1, 9, 3)
        work.go.set()
        assert await asyncio.gather(*asked) == [2, 4, 4, 2, 18, 6]
        assert work.batches == [[1], [2, 2], [1], [9], [3]]

    asyncio.run(play())


@given(items=st.lists(st.integers(1, 6), min_size=1, max_size=30), most=st.integers(1, 8), at_once=st.integers(1, 3))
def test_everything_is_answered_in_order_and_limits_hold(items, most, at_once):
    async def play():
        work = Work(most, at_once)
        work.go.set()
        assert await asyncio.gather(*map(work.batcher, items)) == [2 * item for item in items]
        assert [item for batch in work.batches for item in batch] == items and work.peak <= at_once
        assert all(sum(batch) <= most or len(batch) == 1 for batch in work.batches)

    asyncio.run(play())


def test_so_many_at_once_as_was_said():
    async def play():
        work = Work(at_once=2)
        asked = await work.ask(1, 2, 3, 3)
        assert work.batches == [[1], [2]]
        work.go.set()
        await asyncio.gather(*asked)
        assert work.peak == 2 and work.batches[2] == [3, 3]

    asyncio.run(play())


def test_a_fault_reaches_each_of_its_batch_and_the_next_one_is_answered():
    async def play():
        work = Work()
        work.fault = ValueError("planted")
        asked = await work.ask(1, 2, 3)
        work.go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert found == [work.fault] * 3
        work.fault = None
        assert await work.batcher(4) == 8

    asyncio.run(play())


def test_who_gives_up_takes_nobody_along():
    async def play():
        work = Work()
        first, second, third, fourth = await work.ask(1, 2, 3, 4)
        first.cancel()  # in the batch that is computed
        third.cancel()  # still in the queue
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(second, fourth) == [4, 8]
        assert work.batches == [[1], [2, 4]]
        with pytest.raises(asyncio.CancelledError):
            await third

    asyncio.run(play())


def test_batches_know_nothing_of_the_request_that_began_them():
    request = ContextVar("request", default=None)

    async def work(items):
        return [request.get() for _ in items]

    async def play():
        request.set("the first")
        assert await Batcher(work, lambda item: 1, 8, 1)(0) is None

    asyncio.run(play())


def test_a_wait_lets_others_come():
    async def play():
        work = Work(wait_s=0.02)
        work.go.set()
        assert await asyncio.gather(*await work.ask(1, 2)) == [2, 4]
        assert work.batches == [[1, 2]]

    asyncio.run(play())


def test_work_that_nobody_waits_for_any_more_ends():
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
