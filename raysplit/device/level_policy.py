"""Which level to send at: the loosest that meets the target, and now and then a looser one that might."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.device.link_estimate import LinkEstimate

_MIN_WAIT, _MAX_WAIT = 8, 64
"""Requests between two trials of a looser level; each trial that misses the target doubles the wait."""


class LevelPolicy:
    """Chooses a level for each request so that it is answered within `target_s` seconds.

    >>> policy, link = LevelPolicy(target_s=0.05), LinkEstimate(round_trip_s=0.01)
    >>> for _ in range(10):
    ...     link.observe(10_000, 0.01 + 8 * 10_000 / 5e6)  # 5 Mbit/s
    >>> policy.choose([40_000, 10_000, 1_000], compute_s=0.005, link=link)
    1
    """

    def __init__(self, target_s: float):
        self._target_s = target_s
        self._wait, self._since_trial = _MIN_WAIT, 0
        self._on_trial = False

    def choose(self, sizes: Sequence[int], compute_s: float, link: LinkEstimate) -> int:
        """Return the index of a level, given the size of each level's message (loosest first) and the compute time.

        It is the loosest level whose upper bound of time is within the target, or the smallest message if there is
        none. While a tighter level is in use, nothing is learned about how the link would carry the looser ones; after
        some requests the next looser one is tried, if it could meet the target on a link as good as can be hoped for.
        """
        left_s = self._target_s - compute_s
        fitting = [index for index, size in enumerate(sizes) if link.forecast(size).upper_s <= left_s]
        index = fitting[0] if fitting else min(range(len(sizes)), key=sizes.__getitem__)
        self._since_trial = self._since_trial + 1 if index else 0
        self._on_trial = self._since_trial >= self._wait and link.forecast(sizes[index - 1]).lower_s <= left_s
        if self._on_trial:
            self._since_trial = 0
            return index - 1
        return index

    def record(self, within_target: bool) -> None:
        """Record whether the request for which a level was last chosen met the target."""
        if self._on_trial:
            self._wait = _MIN_WAIT if within_target else min(2 * self._wait, _MAX_WAIT)
