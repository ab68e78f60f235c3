"""Who may connect, and how often: names, keys, and a limit on attempts."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from raysplit.errors import RequestError
from raysplit.serving.gateway.keys import Keys
from raysplit.wire.gateway_api import KEY_HEADER, KEY_SCHEME, NAME_HEADER, NAME_PATTERN

_MOST_ADDRESSES = 10_000
"""Whose attempts are remembered; beyond, the oldest are forgotten."""


class Attempts:
    """Counts attempts per address: `per_minute` of them, and as many at once.

    >>> attempts = Attempts(per_minute=2, clock=lambda: 0.0)
    >>> [attempts.allow("10.0.0.7") for _ in range(3)]
    [True, True, False]
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self._per_minute, self._clock = per_minute, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Count an attempt; return whether it is within the limit."""
        now = self._clock()
        left, last = self._left.pop(address, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - last) * self._per_minute / 60)
        self._left[address] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _MOST_ADDRESSES:
            self._left.popitem(last=False)
        return left >= 1


class Door:
    """Admits devices by the headers of their handshake."""

    def __init__(self, keys: Keys, attempts: Attempts):
        self._keys, self._attempts = keys, attempts

    def admit(self, headers: Mapping[str, str], address: str) -> tuple[str, str]:
        """Return the name of a device and its key.

        Raises RequestError: 429 for too many attempts from an address, 401 without a key that fits the name.
        """
        if not self._attempts.allow(address):
            raise RequestError("too many attempts to join from this address (limits.joins_per_minute); wait", 429)
        name = headers.get(NAME_HEADER, "")
        scheme, _, key = headers.get(KEY_HEADER, "").partition(" ")
        if not re.fullmatch(NAME_PATTERN, name):
            raise RequestError(
                f"{NAME_HEADER} is not a device's name: letters, digits, '.', '_' and '-', up to 64", 401
            )
        if not key or scheme != KEY_SCHEME:
            raise RequestError(f"a key is required; send it as '{KEY_HEADER}: {KEY_SCHEME} KEY' (--key-env)", 401)
        self._keys.check(name, key)
        return name, key
