"""One device's part of an epoch: its decision, its costs, and its micro-batches in the order in which they train."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from raysplit.schedules.base import Decision
from raysplit.train.clock import Clock
from raysplit.train.device import Call, Score, TailAnswer, Uplink, require_tail
from raysplit.train.fleet import Member
from raysplit.train.server_side import Received
from raysplit.train.traffic import Traffic
from raysplit.wire.message import Message


@dataclass
class Part:
    """What one device does in an epoch, and what came of it so far."""

    member: Member
    decision: Decision
    traffic: Traffic = field(default_factory=Traffic)
    clock: Clock = field(default_factory=Clock)
    scores: list[Score] = field(default_factory=list)
    """Of its training micro-batches (mode `alone`: of its steps)."""


class Feed:
    """A device's training micro-batches of an epoch.

    In lock-step with the server's answers where the mode is `joint`: forward calls are queued ahead, those of a step at
    a time. In other modes the device needs no answer, so it stays one micro-batch ahead.
    """

    def __init__(self, part: Part, epoch: int, in_flight: int, seed: int):
        self.part = part
        self.steps = part.member.steps
        self._in_flight, self._seed = in_flight, seed
        self._first, self._total = epoch * self.steps * in_flight, self.steps * in_flight
        self._joint = part.decision.mode == "joint"
        self._coming: deque[Call[Uplink]] = deque()
        self._acks: list[Call[None]] = []
        self._passed_on: deque[Call[TailAnswer]] = deque()
        self._received = self._answered = self._asked = 0

    def open(self) -> None:
        """Ask for the first micro-batches."""
        self._ask(self._in_flight if self._joint else 1)

    def receive(self) -> Received:
        """Wait for the next micro-batch."""
        if not self._joint and self._asked < self._total:
            self._ask(1)
        part, number = self.part, self._first + self._received
        activation, labels = part.clock.wait_uplink(self._coming.popleft())
        part.traffic.count(activation, "up")
        if labels is not None:
            part.traffic.count(labels, "up")
        self._received += 1
        level = part.decision.level_at(number // self._in_flight, self._seed)
        return Received(part.member.index, number, level, activation, labels)

    def pass_on(self, features: Message) -> None:
        """Send what the server half made of the micro-batch that was received last, for the device's tail."""
        part = self.part
        with part.clock:
            data = features.to_bytes()
        part.traffic.count(features, "down")
        self._passed_on.append(require_tail(part.member.device, part.member.index).answer(data))

    def take_gradient(self) -> Message:
        """Wait for the tail's gradient of the earliest micro-batch that was passed on; its score becomes the part's."""
        gradient, score = self.part.clock.wait_tail(self._passed_on.popleft())
        self.part.traffic.count(gradient, "up")
        self.part.scores.append(score)
        return gradient

    def answer(self, gradient: Message) -> None:
        """Send the gradient for the earliest micro-batch that has none yet."""
        part = self.part
        with part.clock:
            data = gradient.to_bytes()
        part.traffic.count(gradient, "down")
        self._answered += 1
        if self._answered % self._in_flight == 0 and self._answered < self._total:
            # The gradient that ends a step also asks for the next step's first micro-batch.
            self._coming.append(part.member.device.exchange(data))
            self._asked += 1
            self._ask(self._in_flight - 1)
        else:
            self._acks.append(part.member.device.backward(data))

    def settle(self) -> None:
        """Wait until the device has taken the gradients of the step."""
        while self._acks:
            self.part.clock.wait(self._acks.pop())

    def _ask(self, count: int) -> None:
        self._coming.extend(self.part.member.device.forward() for _ in range(count))
        self._asked += count
