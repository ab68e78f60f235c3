"""What a request typically costs apart from the link: seconds of compute, and bytes relative to their bound."""

from __future__ import annotations

import statistics
from collections import deque

_WINDOW = 5
"""Values of which the median is taken, so that one request that took much longer than others has no effect."""


class ComputeEstimate:
    """Seconds that one side takes for a number of images; for a new number, scaled from the nearest known one.

    >>> estimate = ComputeEstimate()
    >>> for seconds in (0.02, 0.02, 1.5):
    ...     estimate.observe(2, seconds)
    >>> estimate.forecast(2), estimate.forecast(4)
    (0.02, 0.04)
    """

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = {}

    def observe(self, count: int, seconds: float) -> None:
        """Record that `count` images took `seconds`."""
        self._seconds.setdefault(count, deque(maxlen=_WINDOW)).append(seconds)

    def forecast(self, count: int) -> float:
        """Return the seconds for `count` images; 0 before the first observation."""
        if not self._seconds:
            return 0.0
        nearest = min(self._seconds, key=lambda known: abs(known - count))
        return statistics.median(self._seconds[nearest]) * max(1.0, count / nearest)


class CompressionRatio:
    """Size of messages relative to their bound, which depends on how well the entropy coder does."""

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=_WINDOW)

    @property
    def ratio(self) -> float:
        """The typical ratio; 1 before the first observation."""
        return statistics.median(self._ratios) if self._ratios else 1.0

    def observe(self, size: int, bound: int) -> None:
        """Record that a message had `size` bytes, of at most `bound`."""
        self._ratios.append(size / bound)
