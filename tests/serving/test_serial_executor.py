"""Calls one after the other on a thread of their own."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from raysplit.serving.serial_executor import SerialExecutor


def test_calls_run_one_after_the_other_in_order():
    running, started = [], []

    def work(index: int) -> int:
        started.append(index)
        running.append(index)
        assert running == [index]
        time.sleep(0.002)
        running.remove(index)
        return index

    async def run():
        executor = SerialExecutor()
        assert await asyncio.gather(*(executor.run(work, index) for index in range(5))) == list(range(5))
        return executor

    executor = asyncio.run(run())
    assert started == list(range(5)) and not executor.busy and not executor.hung


def test_an_error_is_raised_and_the_next_call_runs():
    async def run():
        executor = SerialExecutor()
        with pytest.raises(ValueError):
            await executor.run(int, "x")
        assert not executor.busy and not executor.hung
        return await executor.run(int, "3")

    assert asyncio.run(run()) == 3


def test_a_call_that_takes_too_long_hangs(monkeypatch):
    monkeypatch.setattr("raysplit.serving.serial_executor.HUNG_AFTER_S", 0.05)
    release = threading.Event()

    async def run():
        executor = SerialExecutor()
        call = asyncio.ensure_future(executor.run(release.wait, 10))
        await asyncio.sleep(0)
        assert executor.busy and not executor.hung
        await asyncio.sleep(0.1)
        assert executor.hung
        release.set()
        assert await call
        assert not executor.busy and not executor.hung

    asyncio.run(run())
