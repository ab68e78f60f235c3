"""Where the seconds of one pass over the data went."""

from __future__ import annotations

import time
from typing import TypeVar

from raysplit.train.device import Call, LocalScore, Score, TailAnswer, Uplink
from raysplit.wire.message import Message, parse

T = TypeVar("T")


class Clock:
    """Where the seconds of one device's pass went. As a context manager it times the server's own work.

    With `limit_s`, the server waits for the device no longer than that, all its calls together.
    """

    def __init__(self, limit_s: float | None = None):
        self._limit = limit_s
        self.device = self.server = self.waiting = 0.0

    def wait(self, call: Call[T]) -> T:
        """Wait for a call's answer."""
        start = time.perf_counter()
        answer = call.result(None if self._limit is None else max(0.0, self._limit - self.waiting))
        self.waiting += time.perf_counter() - start
        return answer

    def wait_uplink(self, call: Call[Uplink]) -> tuple[Message, Message | None]:
        """Wait for the activation and the labels of a micro-batch; None where they stay on the device."""
        uplink = self.wait(call)
        return self._read(uplink.activation), self._read(uplink.labels) if uplink.labels else None

    def wait_tail(self, call: Call[TailAnswer]) -> tuple[Message, Score]:
        """Wait for the gradient at the second cut, and the score that comes with it."""
        answer = self.wait(call)
        return self._read(answer.gradient), answer.score

    def wait_message(self, call: Call[bytes]) -> Message:
        """Wait for one packed message."""
        return self._read(self.wait(call))

    def wait_score(self, call: Call[LocalScore]) -> Score:
        """Wait for a score by the device's local loss; it comes with the seconds that the device worked."""
        score = self.wait(call)
        self.device += score.seconds
        return score

    def _read(self, data: bytes) -> Message:
        """Parse a message; its header says how long the device worked for it."""
        with self:
            message = parse(data)
        self.device += message.micros / 1e6
        return message

    def __enter__(self) -> Clock:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.server += time.perf_counter() - self._start
