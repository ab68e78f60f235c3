"""Requests that come while others are computed go through the network together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Calls `work` with what has come since, as soon as one of `at_once` calls is free: `await batcher(item)`.

    Ray's `serve.batch` closes a batch before it waits for its turn. Without a wait each request is then a batch of its
    own, however many are queued; with one, a lone request waits for nobody. Here a batch is what is there when its
    turn comes: a lone request goes at once, and under load batches grow by themselves.

    `work` returns a result for each item, in order; what it raises, each of them gets. It is cancelled when nobody
    waits for it any more. `size` counts an item, `most` is what a batch may come to, where an item alone may be more.
    `wait_s` is how long a turn that finds less than that waits for others. For one event loop.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        size: Callable[[Item], int],
        most: int,
        at_once: int,
        wait_s: float = 0.0,
    ):
        self._work, self._size, self._most, self._wait = work, size, most, wait_s
        self._free = at_once
        self._queue: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._turns: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._free:
            self._free -= 1
            # In a context of its own: Serve cancels what a request has asked for when its client goes away.
            turn = Context().run(asyncio.create_task, self._take_turns())
            self._turns.add(turn)  # the loop itself holds tasks weakly
            turn.add_done_callback(self._turns.discard)
        return await future

    async def _take_turns(self) -> None:
        try:
            while self._queue:
                if self._wait and sum(self._size(item) for item, _ in self._queue) < self._most:
                    await asyncio.sleep(self._wait)
                if batch := self._next():
                    await self._answer(batch)
        finally:
            self._free += 1

    def _next(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Take from the queue what fits; requests that were given up meanwhile are left out."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        total = 0
        while self._queue:
            item, future = self._queue[0]
            if not future.done():
                total += self._size(item)
                if batch and total > self._most:
                    break
                batch.append((item, future))
            self._queue.popleft()
        return batch

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        work = asyncio.ensure_future(self._work([item for item, _ in batch]))  # noqa: RUF006 - awaited below

        def given_up() -> bool:
            return all(future.done() for _, future in batch)

        def end(_: asyncio.Future[Result]) -> None:
            if given_up():
                work.cancel()

        for _, future in batch:
            future.add_done_callback(end)
        try:
            results = await work
        except asyncio.CancelledError:
            if not given_up():
                raise
            return
        except Exception as err:
            for _, future in batch:
                if not future.done():
                    future.set_exception(err)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
