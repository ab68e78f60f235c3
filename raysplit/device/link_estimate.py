"""Round trip and rate of a link, estimated from the sizes and times of real exchanges.

An exchange of b bytes is modeled as round_trip + b · byte_s plus noise: one equation with two unknowns. A Kalman
filter solves for both as exchanges of different sizes come in. It weighs each by what it reveals (a few bytes reveal
nothing about the rate) and tracks its own uncertainty. A single exchange that contradicts everything before is set
aside as an outlier; a second one like it means that the link has changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_INITIAL_BYTE_S = 8e-6
"""1 Mbit/s: the assumption until bytes have crossed the link."""
_DRIFT = 0.1
"""Fraction of `byte_s` by which it may change from one exchange to the next; for a round trip, a fifth of that."""
_GATE = 3.0
"""Standard deviations from the forecast beyond which an exchange is an outlier: by chance, one in 370 is."""
_NOISE_DECAY = 0.9
"""Weight of the past in the variance of the noise."""
_MIN_NOISE_S = 1e-4
"""Lower bound of the noise's standard deviation."""


@dataclass(frozen=True)
class Forecast:
    """How long an exchange will take."""

    seconds: float
    std_s: float
    """Standard deviation of `seconds`, because the link is not known exactly."""
    noise_s: float
    """Standard deviation of single exchanges around it."""

    @property
    def upper_s(self) -> float:
        """An upper bound that five exchanges in six meet: one standard deviation above."""
        return self.seconds + math.hypot(self.std_s, self.noise_s)

    @property
    def lower_s(self) -> float:
        """The time on a link as good as can still be hoped for: two standard deviations below."""
        return self.seconds - 2 * self.std_s


class LinkEstimate:
    """The estimate of a link, starting from the seconds of one exchange of almost no bytes.

    >>> link = LinkEstimate(round_trip_s=0.01)
    >>> for size in (1_000, 20_000, 1_000, 20_000):
    ...     link.observe(size, 0.01 + 8 * size / 2e6)
    >>> round(link.bit_s / 1e6, 1), round(link.forecast(10_000).seconds, 2)
    (2.0, 0.05)
    """

    def __init__(self, round_trip_s: float):
        self.round_trip_s = round_trip_s
        self.byte_s = _INITIAL_BYTE_S
        # The covariance of round trip and byte_s.
        self._rr, self._rb, self._bb = (round_trip_s / 4 + 1e-3) ** 2, 0.0, _INITIAL_BYTE_S**2
        self._noise = (round_trip_s / 10 + 1e-3) ** 2
        self._outlier: tuple[int, float] | None = None
        """Size of the exchange that was set aside, and its seconds above the forecast."""

    @property
    def bit_s(self) -> float:
        """Rate in bits per second."""
        return 8 / self.byte_s

    def forecast(self, size: int) -> Forecast:
        """Return how long an exchange of `size` bytes will take."""
        variance = self._rr + 2 * size * self._rb + size * size * self._bb
        seconds = self.round_trip_s + size * self.byte_s
        return Forecast(seconds, math.sqrt(max(variance, 0.0)), math.sqrt(self._noise))

    def observe(self, size: int, seconds: float) -> None:
        """Update the estimate by an exchange of `size` bytes that took `seconds`, without the server's own time."""
        self._rr += (_DRIFT / 5 * self.round_trip_s) ** 2
        self._bb += (_DRIFT * self.byte_s) ** 2
        expected = self.forecast(size)
        error_s = seconds - expected.seconds
        if error_s**2 > _GATE**2 * (expected.std_s**2 + self._noise):
            if not self._confirms_outlier(size, error_s):
                return
            # Mostly the rate: a round trip depends on distance, a rate on who else is sending.
            self._rr += (self.round_trip_s / 10) ** 2
            self._rb = 0.0
            self._bb += (error_s / size) ** 2
        else:
            self._noise = max(_MIN_NOISE_S**2, _NOISE_DECAY * self._noise + (1 - _NOISE_DECAY) * error_s**2)
            if self._is_comparable(size):
                self._outlier = None
        self._update(size, error_s)

    def _is_comparable(self, size: int) -> bool:
        """Return whether an exchange of this size can confirm or refute the outlier."""
        return self._outlier is None or size >= self._outlier[0] / 2

    def _confirms_outlier(self, size: int, error_s: float) -> bool:
        """Return whether the outlier missed its forecast in the same direction; if not, set this exchange aside."""
        if self._outlier is not None and self._is_comparable(size) and (error_s > 0) == (self._outlier[1] > 0):
            self._outlier = None
            return True
        if self._is_comparable(size):
            self._outlier = size, error_s
        return False

    def _update(self, size: int, error_s: float) -> None:
        of_trip, of_byte = self._rr + size * self._rb, self._rb + size * self._bb
        total = of_trip + size * of_byte + self._noise
        self.round_trip_s = max(self.round_trip_s + of_trip / total * error_s, 0.0)
        self.byte_s = max(self.byte_s + of_byte / total * error_s, 1e-12)
        self._rr -= of_trip**2 / total
        self._rb -= of_trip * of_byte / total
        self._bb -= of_byte**2 / total
