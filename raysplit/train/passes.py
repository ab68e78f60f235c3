"""One pass over the training data, in each of the ways that a schedule may ask for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from raysplit.compress.message import Message, parse
from raysplit.compress.schedule import Decision
from raysplit.train.server import Score, ServerSide
from raysplit.train.traffic import Traffic
from raysplit.train.transport import Pending, Transport

Watch = Callable[[int, int, int, float], None]
"""Called after each step with (epoch, step, steps in the epoch, running loss)."""


class Clock:
    """Seconds of one pass, by where they went."""

    def __init__(self) -> None:
        self.device = self.server = self.waiting = 0.0

    def wait(self, pending: Pending) -> list[Message]:
        """Wait for a call's messages; their headers say how long the device worked for them."""
        start = time.perf_counter()
        answer = pending.result()
        self.waiting += time.perf_counter() - start
        with self:
            messages = [parse(data) for data in answer]
        self.device += sum(message.micros for message in messages) / 1e6
        return messages

    def wait_score(self, pending: Pending) -> Score:
        """Wait for what the device's local loss says; it comes with the seconds that the device worked."""
        start = time.perf_counter()
        loss, correct, count, seconds = pending.result()
        self.waiting += time.perf_counter() - start
        self.device += seconds
        return Score(loss, correct, count)

    def __enter__(self) -> Clock:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.server += time.perf_counter() - self._start


@dataclass
class Pass:
    """An epoch's training on either side of the cut; `run` returns the score of each micro-batch or step."""

    device: Transport
    server: ServerSide
    epoch: int
    steps: int
    in_flight: int
    decision: Decision
    traffic: Traffic
    clock: Clock
    watch: Watch | None

    def run(self) -> list[Score]:
        """Train in the decision's mode. A pass of mode `cached` does not call the device at all."""
        if self.decision.mode != "cached":
            self.device.call("begin_epoch", self.epoch, self.decision).result()
        self.server.begin_epoch(self.decision)
        if self.decision.hand_over:
            [weights] = self.clock.wait(self.device.call("hand_over"))
            self.traffic.count(weights, "up")
            self.server.take_over(weights)
        return {
            "joint": self._joint,
            "local": self._one_way,
            "frozen": self._one_way,
            "alone": self._alone,
            "cached": self._cached,
        }[self.decision.mode]()

    def _joint(self) -> list[Score]:
        """Activations up, gradients down; forward calls are queued ahead, a step's micro-batches at a time."""
        coming: deque[Pending] = deque()
        acks: list[Pending] = []
        scores: list[Score] = []

        def ask(down: bytes | None) -> None:
            coming.append(self.device.call("exchange", down, True))
            coming.extend(self.device.call("exchange", None, True) for _ in range(self.in_flight - 1))

        ask(None)
        for step in range(self.steps):
            for position in range(self.in_flight):
                number, activation, labels = self._next(coming, step, position)
                with self.clock:
                    down, score = self.server.learn(number, activation, labels)
                    data = down.to_bytes()
                self.traffic.count(down, "down")
                scores.append(score)
                if position == self.in_flight - 1 and step < self.steps - 1:
                    # The gradient that ends a step also asks for the next step's first micro-batch.
                    ask(data)
                else:
                    acks.append(self.device.call("exchange", data, False))
            self._tell(step, score)
            while acks:
                self.clock.wait(acks.pop())
        return scores

    def _one_way(self) -> list[Score]:
        """Activations up only: the device needs no answer, so it is always one micro-batch ahead."""
        keep = self.decision.mode == "frozen"
        total = self.steps * self.in_flight
        coming: deque[Pending] = deque([self.device.call("exchange", None, True)])
        scores = []
        if keep:
            self.server.kept.new_view()
        for index in range(total):
            if index < total - 1:
                coming.append(self.device.call("exchange", None, True))
            step, position = divmod(index, self.in_flight)
            number, activation, labels = self._next(coming, step, position)
            with self.clock:
                if keep:
                    self.server.kept.add(activation, labels)
                scores.append(self.server.learn_one_way(number, activation, labels))
            if position == self.in_flight - 1:
                self._tell(step, scores[-1])
        return scores

    def _alone(self) -> list[Score]:
        scores = []
        for step in range(self.steps):
            scores.append(self.clock.wait_score(self.device.call("learn_alone")))
            self._tell(step, scores[-1])
        return scores

    def _cached(self) -> list[Score]:
        with self.clock:
            scores = []
            first = self.epoch * self.steps * self.in_flight
            for index, score in enumerate(self.server.learn_again(self.epoch, first)):
                scores.append(score)
                step, position = divmod(index, self.in_flight)
                if position == self.in_flight - 1:
                    self._tell(step, score)
        return scores

    def _next(self, coming: deque[Pending], step: int, position: int) -> tuple[int, Message, Message]:
        activation, labels = self.clock.wait(coming.popleft())
        self.traffic.count(activation, "up")
        self.traffic.count(labels, "up")
        return (self.epoch * self.steps + step) * self.in_flight + position, activation, labels

    def _tell(self, step: int, score: Score) -> None:
        if self.watch is not None:
            self.watch(self.epoch, step + 1, self.steps, score.loss / score.count)
