"""A link whose rate changes with time, put between a client and its transport: for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable

from raysplit.device.http import Clock, Reply, Request, Transport

_HEADERS_BYTES = 300
"""Around a body, in requests and answers alike."""


class VirtualClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds


def stepped(*steps: tuple[float, float]) -> Callable[[float], float]:
    """Return a rate over time, in bits per second, from `(seconds, bit_s)` pairs: each holds until its second.

    The last one holds for ever. `stepped((20, 20e6), (40, 2e6), (60, 20e6))` is 20 → 2 → 20 Mbit/s.
    """

    def rate(seconds: float) -> float:
        return next((bit_s for until, bit_s in steps if seconds < until), steps[-1][1])

    return rate


class EmulatedLink:
    """A transport that is as slow as a link: `inner` carries requests, `clock` is slept on for each direction.

    `rate` says how many bits cross in a second, by the seconds since this was made; a body crosses at the rate of the
    moment in which it is sent. `inner` should take no longer on its own than the server does.
    """

    def __init__(self, inner: Transport, rate: Callable[[float], float], round_trip_s: float, clock: Clock):
        self.clock = clock
        self._inner, self._rate, self._delay_s = inner, rate, round_trip_s / 2
        self._start = clock.now()

    def open(self) -> None:
        self._inner.open()

    def send(self, request: Request) -> Reply:
        self._cross(len(request.body))
        reply = self._inner.send(request)
        self._cross(len(reply.body))
        return reply

    def close(self) -> None:
        self._inner.close()

    def _cross(self, size: int) -> None:
        rate = self._rate(self.clock.now() - self._start)
        self.clock.sleep(self._delay_s + 8 * (size + _HEADERS_BYTES) / rate)
