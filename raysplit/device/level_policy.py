"""Which level to send at: the loosest that keeps the target, and now and then a looser one that may."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.device.link_estimate import LinkEstimate

_FIRST_WAIT, _LAST_WAIT = 8, 64
"""Requests between two tries of a looser level; each one that was late doubles the wait."""


class LevelPolicy:
    """Picks a level for each request so that it is answered within `target_s` seconds."""

    def __init__(self, target_s: float):
        self._target_s = target_s
        self._wait, self._since = _FIRST_WAIT, 0
        self._trying = False

    def pick(self, sizes: Sequence[int], compute_s: float, link: LinkEstimate) -> int:
        """Return the index of a level, from the bytes of each level's message (loosest first) and seconds of compute.

        It is the loosest whose cautious forecast keeps the target, or the one of fewest bytes where none does. A level
        that was too slow once tells nothing of the link while it is not used: so the next looser one is tried after
        some requests, if it could keep the target on as good a link as can be hoped for.
        """
        left = self._target_s - compute_s
        fitting = [index for index, size in enumerate(sizes) if link.forecast(size).cautious_s <= left]
        index = fitting[0] if fitting else min(range(len(sizes)), key=sizes.__getitem__)
        self._since = self._since + 1 if index else 0
        self._trying = self._since >= self._wait and link.forecast(sizes[index - 1]).hopeful_s <= left
        if self._trying:
            self._since = 0
            return index - 1
        return index

    def told(self, kept: bool) -> None:
        """Note whether the request that was picked for kept the target."""
        if self._trying:
            self._wait = _FIRST_WAIT if kept else min(2 * self._wait, _LAST_WAIT)
