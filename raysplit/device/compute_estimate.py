"""What a request typically costs beside the link: seconds of compute, and bytes against their bound."""

from __future__ import annotations

import statistics
from collections import deque

_KEPT = 5
"""Figures of which the median is taken: one request that took much longer than others changes nothing."""


class ComputeEstimate:
    """Seconds that a side takes for some images; for a number of images not seen yet, scaled from the nearest one."""

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = {}

    def saw(self, count: int, seconds: float) -> None:
        """Note that `count` images took `seconds`."""
        self._seconds.setdefault(count, deque(maxlen=_KEPT)).append(seconds)

    def forecast(self, count: int) -> float:
        """Return the seconds for `count` images; 0 when nothing is known."""
        if not self._seconds:
            return 0.0
        nearest = min(self._seconds, key=lambda known: abs(known - count))
        return statistics.median(self._seconds[nearest]) * max(1.0, count / nearest)


class CompressionRatio:
    """Bytes of messages as a share of what they can be at most; the entropy stage decides."""

    def __init__(self) -> None:
        self._shares: deque[float] = deque(maxlen=_KEPT)

    @property
    def share(self) -> float:
        """The typical share; 1 when nothing is known."""
        return statistics.median(self._shares) if self._shares else 1.0

    def saw(self, size: int, most: int) -> None:
        """Note that a message had `size` bytes of at most `most`."""
        self._shares.append(size / most)
