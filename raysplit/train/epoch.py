"""One pass over the training data, in whichever mode the schedule decided on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from raysplit.schedules.base import Decision
from raysplit.train.device import Call, Device, LocalScore, Score, Uplink
from raysplit.train.server_side import ServerSide
from raysplit.train.traffic import Traffic
from raysplit.wire.message import Message, parse

T = TypeVar("T")
StepCallback = Callable[[int, int, int, float], None]
"""Called after each step with (epoch, step, steps in the epoch, running loss)."""


class Clock:
    """Where the seconds of one pass went. As a context manager it times the server's own work."""

    def __init__(self) -> None:
        self.device = self.server = self.waiting = 0.0

    def wait(self, call: Call[T]) -> T:
        """Wait for a call's answer."""
        start = time.perf_counter()
        answer = call.result()
        self.waiting += time.perf_counter() - start
        return answer

    def wait_uplink(self, call: Call[Uplink]) -> tuple[Message, Message]:
        """Wait for the activation and the labels of a micro-batch."""
        uplink = self.wait(call)
        return self._read(uplink.activation), self._read(uplink.labels)

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


@dataclass
class TrainingPass:
    """An epoch's training on both sides of the cut."""

    device: Device
    server: ServerSide
    epoch: int
    steps: int
    in_flight: int
    decision: Decision
    traffic: Traffic
    clock: Clock
    on_step: StepCallback | None

    def run(self) -> list[Score]:
        """Train in the decision's mode and return the score of each micro-batch (mode `alone`: of each step).

        A pass in mode `cached` does not call the device at all.
        """
        if self.decision.mode != "cached":
            self.device.begin_epoch(self.epoch, self.decision).result()
        self.server.begin_epoch(self.decision)
        if self.decision.hand_over:
            weights = self.clock.wait_message(self.device.hand_over())
            self.traffic.count(weights, "up")
            self.server.adopt_head(weights)
        return {
            "joint": self._joint,
            "local": self._one_way,
            "frozen": self._one_way,
            "alone": self._alone,
            "cached": self._cached,
        }[self.decision.mode]()

    def _joint(self) -> list[Score]:
        """Activations up, gradients down; forward calls are queued ahead, a step's micro-batches at a time."""
        coming: deque[Call[Uplink]] = deque()
        acks: list[Call[None]] = []
        scores: list[Score] = []

        def request(first: Call[Uplink]) -> None:
            coming.append(first)
            coming.extend(self.device.forward() for _ in range(self.in_flight - 1))

        request(self.device.forward())
        for step in range(self.steps):
            for position in range(self.in_flight):
                number, activation, labels = self._next(coming, step, position)
                with self.clock:
                    down, score = self.server.train_step(number, activation, labels)
                    data = down.to_bytes()
                self.traffic.count(down, "down")
                scores.append(score)
                if position == self.in_flight - 1 and step < self.steps - 1:
                    # The gradient that ends a step also asks for the next step's first micro-batch.
                    request(self.device.exchange(data))
                else:
                    acks.append(self.device.backward(data))
            self._notify(step, score)
            while acks:
                self.clock.wait(acks.pop())
        return scores

    def _one_way(self) -> list[Score]:
        """Activations up only: the device needs no answer, so it stays one micro-batch ahead."""
        keep = self.decision.mode == "frozen"
        total = self.steps * self.in_flight
        coming: deque[Call[Uplink]] = deque([self.device.forward()])
        scores = []
        if keep:
            self.server.cache.new_view()
        for index in range(total):
            if index < total - 1:
                coming.append(self.device.forward())
            step, position = divmod(index, self.in_flight)
            number, activation, labels = self._next(coming, step, position)
            with self.clock:
                if keep:
                    self.server.cache.add(activation, labels)
                scores.append(self.server.train_one_way(number, activation, labels))
            if position == self.in_flight - 1:
                self._notify(step, scores[-1])
        return scores

    def _alone(self) -> list[Score]:
        scores = []
        for step in range(self.steps):
            scores.append(self.clock.wait_score(self.device.train_alone()))
            self._notify(step, scores[-1])
        return scores

    def _cached(self) -> list[Score]:
        with self.clock:
            scores = []
            first = self.epoch * self.steps * self.in_flight
            for index, score in enumerate(self.server.train_from_cache(self.epoch, first)):
                scores.append(score)
                step, position = divmod(index, self.in_flight)
                if position == self.in_flight - 1:
                    self._notify(step, score)
        return scores

    def _next(self, coming: deque[Call[Uplink]], step: int, position: int) -> tuple[int, Message, Message]:
        activation, labels = self.clock.wait_uplink(coming.popleft())
        self.traffic.count(activation, "up")
        self.traffic.count(labels, "up")
        return (self.epoch * self.steps + step) * self.in_flight + position, activation, labels

    def _notify(self, step: int, score: Score) -> None:
        if self.on_step is not None:
            self.on_step(self.epoch, step + 1, self.steps, score.loss / score.count)
