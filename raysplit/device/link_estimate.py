"""Round trip and rate of a link, from the sizes and times of real exchanges.

An exchange of b bytes is taken to last round_trip + b · byte_s, give or take: one equation for two unknowns. A Kalman
filter solves for both as exchanges of different sizes come in, weighs each by what it can tell (a few bytes say nothing
of the rate), and knows how sure it is. One exchange that fits nothing seen before is put aside; a second one like it
means that the link has changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_BYTE_S = 8e-6
"""1 Mbit/s: what a link is taken for until bytes have crossed it."""
_DRIFT = 0.1
"""Share of `byte_s` by which it may change from one exchange to the next; a round trip changes by a fifth of that."""
_GATE = 3.0
"""Deviations from the forecast beyond which an exchange is put aside: one of 370 is so far off by chance."""
_MEMORY = 0.9
"""Weight of the past in the variance of what no forecast explains."""
_TICK_S = 1e-4
"""Exchanges are never taken to be forecast better than this."""


@dataclass(frozen=True)
class Forecast:
    """How long an exchange will take."""

    seconds: float
    unsure_s: float
    """Standard deviation of `seconds`, from what is not known of the link."""
    noise_s: float
    """Standard deviation of single exchanges around it."""

    @property
    def cautious_s(self) -> float:
        """Seconds that five exchanges of six take at most."""
        return self.seconds + math.hypot(self.unsure_s, self.noise_s)

    @property
    def hopeful_s(self) -> float:
        """Seconds that it takes if the link is as good as can still be hoped."""
        return self.seconds - 2 * self.unsure_s


class LinkEstimate:
    """What is known of a link; starts from the seconds of one exchange of next to no bytes."""

    def __init__(self, round_trip_s: float):
        self.round_trip_s = round_trip_s
        self.byte_s = _BYTE_S
        # The covariance of round trip and byte_s.
        self._rr, self._rb, self._bb = (round_trip_s / 4 + 1e-3) ** 2, 0.0, _BYTE_S**2
        self._noise = (round_trip_s / 10 + 1e-3) ** 2
        self._aside: tuple[int, float] | None = None
        """Size of the exchange that was put aside, and seconds by which it missed its forecast."""

    @property
    def bit_s(self) -> float:
        """Rate in bits per second."""
        return 8 / self.byte_s

    def forecast(self, size: int) -> Forecast:
        """Return how long an exchange of `size` bytes will take."""
        variance = self._rr + 2 * size * self._rb + size * size * self._bb
        seconds = self.round_trip_s + size * self.byte_s
        return Forecast(seconds, math.sqrt(max(variance, 0.0)), math.sqrt(self._noise))

    def saw(self, size: int, seconds: float) -> None:
        """Learn from an exchange of `size` bytes that took `seconds`, without the server's own time."""
        self._rr += (_DRIFT / 5 * self.round_trip_s) ** 2
        self._bb += (_DRIFT * self.byte_s) ** 2
        expected = self.forecast(size)
        missed = seconds - expected.seconds
        if missed**2 > _GATE**2 * (expected.unsure_s**2 + self._noise):
            if not self._confirmed(size, missed):
                return
            # Mostly the rate: a round trip is given by distance, a rate by who else is sending.
            self._rr += (self.round_trip_s / 10) ** 2
            self._rb = 0.0
            self._bb += (missed / size) ** 2
        else:
            self._noise = max(_TICK_S**2, _MEMORY * self._noise + (1 - _MEMORY) * missed**2)
            if self._tells(size):
                self._aside = None
        self._update(size, missed)

    def _tells(self, size: int) -> bool:
        """Whether an exchange of this size says something of the one that was put aside."""
        return self._aside is None or size >= self._aside[0] / 2

    def _confirmed(self, size: int, missed: float) -> bool:
        """Whether the exchange that was put aside missed alike; puts this one aside if not."""
        if self._aside is not None and self._tells(size) and (missed > 0) == (self._aside[1] > 0):
            self._aside = None
            return True
        if self._tells(size):
            self._aside = size, missed
        return False

    def _update(self, size: int, missed: float) -> None:
        of_trip, of_byte = self._rr + size * self._rb, self._rb + size * self._bb
        total = of_trip + size * of_byte + self._noise
        self.round_trip_s = max(self.round_trip_s + of_trip / total * missed, 0.0)
        self.byte_s = max(self.byte_s + of_byte / total * missed, 1e-12)
        self._rr -= of_trip**2 / total
        self._rb -= of_trip * of_byte / total
        self._bb -= of_byte**2 / total
