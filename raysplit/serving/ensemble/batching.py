"""Putting requests that arrive while others are being computed through the network together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Calls `process` with all items that have arrived, whenever one of `concurrency` calls is free.

    Ray's `serve.batch` closes a batch before its turn comes. With no wait, every request is then a batch of its own,
    however many are queued; with one, a lone request waits in vain. Here a batch is formed when its turn comes: a lone
    request is processed at once, and batches grow by themselves under load.

    A batcher belongs to one event loop. A call that nobody waits for any longer is canceled.

    >>> async def double(items: list[int]) -> list[int]:
    ...     return [2 * item for item in items]
    >>> async def main() -> list[int]:
    ...     batcher = Batcher(double, lambda item: 1, max_size=8, concurrency=2)
    ...     return await asyncio.gather(*(batcher(item) for item in range(4)))
    >>> asyncio.run(main())
    [0, 2, 4, 6]

    Args:
        process: returns a result for each item, in order; if it raises, every item of the batch gets the exception.
        size: how much an item counts.
        max_size: limit for the sum of sizes in a batch; a single item may exceed it.
        concurrency: number of calls of `process` at a time.
        wait_s: how long a batch smaller than `max_size` waits for more items.
    """

    def __init__(
        self,
        process: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        size: Callable[[Item], int],
        max_size: int,
        concurrency: int,
        wait_s: float = 0.0,
    ):
        self._process, self._size, self._max_size, self._wait_s = process, size, max_size, wait_s
        self._free = concurrency
        self._queue: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._runners: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Result:
        """Return the result for an item."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._free:
            self._free -= 1
            # In a context of its own: Serve cancels the calls of a request when its client goes away.
            runner = Context().run(asyncio.create_task, self._run_batches())
            self._runners.add(runner)  # the loop itself holds tasks weakly
            runner.add_done_callback(self._runners.discard)
        return await future

    async def _run_batches(self) -> None:
        try:
            while self._queue:
                if self._wait_s and sum(self._size(item) for item, _ in self._queue) < self._max_size:
                    await asyncio.sleep(self._wait_s)
                if batch := self._take_batch():
                    await self._run_batch(batch)
        finally:
            self._free += 1

    def _take_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Take what fits from the queue, without the items that were abandoned in the meantime."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        total = 0
        while self._queue:
            item, future = self._queue[0]
            if not future.done():
                total += self._size(item)
                if batch and total > self._max_size:
                    break
                batch.append((item, future))
            self._queue.popleft()
        return batch

    async def _run_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        call = asyncio.ensure_future(self._process([item for item, _ in batch]))  # noqa: RUF006 - awaited below

        def abandoned() -> bool:
            return all(future.done() for _, future in batch)

        def cancel_if_abandoned(_: asyncio.Future[Result]) -> None:
            if abandoned():
                call.cancel()

        for _, future in batch:
            future.add_done_callback(cancel_if_abandoned)
        try:
            results = await call
        except asyncio.CancelledError:
            if not abandoned():
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
