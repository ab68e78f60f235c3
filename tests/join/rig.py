"""A gateway and devices that train, in one process: no Ray, no sockets."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from raysplit.config import SplitConfig
from raysplit.join.link import Link
from raysplit.join.progress import Progress
from raysplit.join.setup import build_side
from raysplit.join.store import StateStore
from raysplit.join.worker import Reply, Worker
from raysplit.train.joined_device import JoinedDevice
from raysplit.wire.gateway_api import Letter
from tests.serving.gateway.fakes import WAIT_S, DirectWaiting, FakeGateway, FakeSocket

_ONE_AT_A_TIME = threading.Lock()
"""Devices are threads here, and tracing and the random numbers of torch are the process's: the test's own thread holds
this lock unless it waits for a device."""


class OneAtATime(Worker):
    """A device that computes while no other does."""

    def _answer(self, letter: Letter) -> Reply:
        with _ONE_AT_A_TIME:
            return super()._answer(letter)


class Rig(FakeGateway):
    """A gateway whose devices train."""

    def __init__(self, folder: Path, *names: str, **limits: Any):
        super().__init__(folder, names or ("attic", "kitchen"), **limits)
        self.threads: list[threading.Thread] = []
        self.ended: dict[str, str | Exception] = {}

    def join(self, name: str, dial: Callable[[], FakeSocket] | None = None) -> Link:
        """Start a device; `ended` has the reason or the error with which it ends."""
        link = Link(dial or partial(self.dial, name), 1 << 30, pause_s=0.01)
        build = partial(build_side, data="digits", code=self.folder)
        worker = OneAtATime(build, StateStore(self.folder / name), Progress(name, io.StringIO()))

        def work() -> None:
            try:
                self.ended[name] = worker.work(link)
            except Exception as err:
                self.ended[name] = err

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)
        return link

    def stand_ins(self, config: SplitConfig) -> list[JoinedDevice]:
        """Claim the devices of a run, and have them build their halves."""
        names = self.claim(config.devices.count)
        devices = [self.stand_in(config, index, name) for index, name in enumerate(names)]
        for device in devices:
            device.ready()
        return devices

    def stand_in(self, config: SplitConfig, index: int, name: str) -> JoinedDevice:
        return JoinedDevice(YieldingPost(self, name, index), config, index, name)

    def close(self) -> None:
        self.release()
        for thread in self.threads:
            thread.join(WAIT_S)
        super().close()


class YieldingPost:
    """Calls to a device, which lets devices compute while the test waits for one."""

    def __init__(self, rig: Rig, name: str, index: int):
        self._post = rig.post(name, index)

    def send(self, content: str, parts: tuple[bytes, ...]) -> YieldingWaiting:
        return YieldingWaiting(self._post.send(content, parts))


class YieldingWaiting:
    """A call under way."""

    def __init__(self, waiting: DirectWaiting):
        self._waiting = waiting
        self.is_there = waiting.is_there

    def result(self, timeout_s: float | None) -> Letter:
        _ONE_AT_A_TIME.release()
        try:
            return self._waiting.result(timeout_s)
        finally:
            _ONE_AT_A_TIME.acquire()


@contextmanager
def gateway(folder: Path, *names: str, **limits: Any) -> Iterator[Rig]:
    """Run a gateway that knows some devices."""
    rig = Rig(folder, *names, **limits)
    try:
        with _ONE_AT_A_TIME:
            yield rig
    finally:
        rig.close()
