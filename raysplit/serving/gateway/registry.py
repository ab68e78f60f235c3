"""The devices that have joined, and the runs that have claimed some of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from raysplit.errors import RequestError
from raysplit.serving.gateway.mailbox import Connection, Mailbox
from raysplit.wire.gateway_api import ENDED, REPLACED, End, Hello, Letter, Lost, Welcome


class Registry:
    """All mailboxes of a gateway; everything here runs on one event loop.

    A run keeps its devices as long as it is heard of at least every `lease_s` seconds.
    """

    def __init__(self, most_devices: int, lease_s: float, clock: Callable[[], float] = time.monotonic):
        self._most, self._lease_s, self._clock = most_devices, lease_s, clock
        self._boxes: dict[str, Mailbox] = {}
        self._heard: dict[str, float] = {}
        self._changed = asyncio.Event()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the devices that are connected or claimed, sorted."""
        return tuple(sorted(self._boxes))

    def connect(self, name: str, connection: Connection, hello: Hello) -> Mailbox:
        """Take up a device's connection; RequestError (503) with more devices than there may be."""
        if name not in self._boxes and len(self._boxes) >= self._most:
            raise RequestError(f"{self._most} devices have joined, and limits.devices takes no more; try later", 503)
        box = self._boxes.setdefault(name, Mailbox(name))
        old = box.connection
        try:
            box.connect(connection, hello)
        finally:
            self._drop_if_idle(box)
        if old is not None:
            old.end(End(code=REPLACED, reason=f"another connection came under the name '{name}'"))
        self._changed.set()
        return box

    def disconnect(self, box: Mailbox, connection: Connection) -> None:
        """A connection is gone."""
        box.disconnect(connection)
        self._drop_if_idle(box)

    def expel(self, name: str, end: End) -> None:
        """Close a device's connection for good: its calls are lost."""
        box = self._boxes.get(name)
        if box is None:
            return
        box.forget(f"'{name}' is no longer admitted: {end.reason}")
        if box.connection is not None:
            box.connection.end(end)

    async def claim(self, run: str, count: int, names: Sequence[str], timeout_s: float) -> tuple[str, ...]:
        """Wait until there are `count` devices for a run, those of `names` if they are given; return their names.

        Where there are more, it takes the first by name. Devices that the run has claimed before stay its own. Raises
        RequestError (408), which says which are there, when they do not come in time.
        """
        try:
            return await asyncio.wait_for(self._wait_for(run, count, names), timeout_s)
        except asyncio.TimeoutError:
            raise RequestError(self._describe(run, count, names, timeout_s), 408) from None

    async def begin(self, name: str, run: str, first: Letter) -> Letter | Lost:
        """Begin a session with a device of a run as soon as it is connected: send the first call, return its answer."""
        box = self._boxes.get(name)
        if box is None or box.run != run:
            return Lost(f"'{name}' is not a device of run '{run}'")
        return await box.begin(first)

    async def call(self, name: str, letter: Letter) -> Letter | Lost:
        """Send a device a call, and return its answer."""
        box = self._boxes.get(name)
        return Lost(f"'{name}' has left") if box is None else await box.call(letter)

    def hear(self, run: str) -> None:
        """A run is still there."""
        self._heard[run] = self._clock()

    def release(self, run: str, reason: str, *, ended: bool = True) -> None:
        """Give up a run's devices. With `ended` they leave; else they wait for the next run."""
        self._heard.pop(run, None)
        for box in [box for box in self._boxes.values() if box.run == run]:
            box.run = None
            box.forget(reason)
            if box.connection is not None and ended:
                box.connection.end(End(code=ENDED, reason=reason))
            elif box.connection is not None:
                box.connection.begin(Welcome(), 0)
            self._drop_if_idle(box)
        self._changed.set()

    def expire(self) -> None:
        """Give up the devices of runs that have not been heard of for too long."""
        now = self._clock()
        for run in [run for run, heard in self._heard.items() if now - heard > self._lease_s]:
            self.release(run, f"run '{run}' has gone", ended=False)

    async def _wait_for(self, run: str, count: int, names: Sequence[str]) -> tuple[str, ...]:
        while not (found := self._find(run, count, names)):
            self._changed.clear()
            await self._changed.wait()
        self._heard[run] = self._clock()
        for name in found:
            self._boxes[name].run = run
        return found

    def _find(self, run: str, count: int, names: Sequence[str]) -> tuple[str, ...]:
        """Return the devices for a run, in order; empty while there are too few."""
        own = [name for name in self.names if self._boxes[name].run == run]
        free = [name for name in self.names if self._boxes[name].run is None and self._boxes[name].connection]
        there = sorted(own + free)
        if names:
            return tuple(names) if set(names) <= set(there) else ()
        chosen = sorted((own + free)[:count])
        return tuple(chosen) if len(chosen) == count else ()

    def _describe(self, run: str, count: int, names: Sequence[str], waited: float) -> str:
        there = [name for name in self.names if self._boxes[name].run in (None, run)]
        busy = [name for name in self.names if self._boxes[name].run not in (None, run)]
        missing = [name for name in names if name not in there]
        wanted = f"{', '.join(missing)} of devices.names" if missing else f"{count} device{'s' * (count > 1)}"
        taken = f"; {', '.join(busy)} train in another run" if busy else ""
        return (
            f"{wanted} did not join within {waited:g} s; {', '.join(there) or 'none'} did{taken}. Start them with "
            "`raysplit join`, or raise devices.join_timeout_s"
        )

    def _drop_if_idle(self, box: Mailbox) -> None:
        if box.connection is None and box.run is None:
            self._boxes.pop(box.name, None)
