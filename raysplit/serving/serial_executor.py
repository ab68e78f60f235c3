"""Running blocking calls one after the other beside an event loop, and noticing one that hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
HUNG_AFTER_S = 60.0
"""A call that takes longer is taken to never return: the replica is replaced."""


class SerialExecutor:
    """One thread that runs calls in the order in which they come.

    >>> async def main() -> list[int]:
    ...     executor = SerialExecutor()
    ...     return await asyncio.gather(executor.run(pow, 2, 3), executor.run(max, 4, 5))
    >>> asyncio.run(main())
    [8, 5]
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._pending = 0
        self._started_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether a call is running or waiting."""
        return self._pending > 0

    @property
    def hung(self) -> bool:
        """Whether the running call has taken longer than `HUNG_AFTER_S`."""
        started_at = self._started_at
        return started_at is not None and time.perf_counter() - started_at > HUNG_AFTER_S

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call returns, or raise what it raises; a call that has started is not canceled."""

        def call() -> T:
            self._started_at = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._started_at = None

        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        finally:
            self._pending -= 1
