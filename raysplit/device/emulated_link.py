"""An emulated link whose rate changes over time, put between a client and its transport for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable

from raysplit.device.http import Clock, Reply, Request, Transport

_HEADERS_BYTES = 300
"""HTTP headers of a request or an answer."""


class VirtualClock:
    """A clock that only sleeping advances."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds


def step_rate(*steps: tuple[float, float]) -> Callable[[float], float]:
    """Return a rate over time, in bits per second, from `(end_s, bit_s)` pairs; the last one has no end.

    >>> rate = step_rate((20, 20e6), (40, 2e6), (60, 20e6))
    >>> rate(10), rate(30), rate(1000)
    (20000000.0, 2000000.0, 20000000.0)
    """

    def rate(seconds: float) -> float:
        return next((bit_s for end_s, bit_s in steps if seconds < end_s), steps[-1][1])

    return rate


class EmulatedLink:
    """A transport as slow as a link: `inner` carries the requests, and `clock` sleeps for each direction.

    `rate` is the number of bits per second, by the seconds since this object was created; a body is sent at the rate
    of the moment in which it starts. `inner` should take no longer than the server itself does.
    """

    def __init__(self, inner: Transport, rate: Callable[[float], float], round_trip_s: float, clock: Clock):
        self.clock = clock
        self._inner, self._rate, self._delay_s = inner, rate, round_trip_s / 2
        self._start = clock.now()

    def open(self) -> None:
        self._inner.open()

    def send(self, request: Request) -> Reply:
        self._sleep_for(len(request.body))
        reply = self._inner.send(request)
        self._sleep_for(len(reply.body))
        return reply

    def close(self) -> None:
        self._inner.close()

    def _sleep_for(self, size: int) -> None:
        rate = self._rate(self.clock.now() - self._start)
        self.clock.sleep(self._delay_s + 8 * (size + _HEADERS_BYTES) / rate)
