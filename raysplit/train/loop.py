"""The training loop: plain PyTorch, one device behind a transport."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch

from raysplit.compress.message import Message, parse
from raysplit.compress.schedule import Decision, decide
from raysplit.config import SplitConfig
from raysplit.errors import DataError
from raysplit.train.checkpoint import unpack_state
from raysplit.train.optim import lr_at
from raysplit.train.parts import build_parts
from raysplit.train.server import Score, ServerSide
from raysplit.train.traffic import Traffic
from raysplit.train.transport import Pending, Transport

Row = dict[str, Any]
Watch = Callable[[int, int, int, float], None]
"""Called after each step with (epoch, step, steps in the epoch, running loss)."""


class Loop:
    """Trains the two halves of a recipe.

    `for row in loop.epochs()` yields a row of the run record after each epoch; `state` and `restore`
    between epochs are a checkpoint. A device and a server that start from the same state go the same way.
    """

    def __init__(self, config: SplitConfig, device: Transport, watch: Watch | None = None):
        self.config = config
        self.rows: list[Row] = []
        self.test: Row | None = None
        self.checkpoint_bytes = 0
        """Bytes of the device half's state that checkpoints have brought up and restores taken down."""
        self._packed: bytes | None = None
        self._device = device
        self._watch = watch
        self.about = device.call("describe").result()
        self._steps = self.about["train_rows"] // config.train.batch_size
        if not self._steps:
            raise DataError(
                f"{config.data.name}: {self.about['train_rows']} training rows do not fill a batch of "
                f"{config.train.batch_size}; lower train.batch_size"
            )
        self._total = self._steps * config.train.epochs
        self.classes = len(self.about["classes"])
        parts = build_parts(config, self.classes, self.about["shape"])
        self.cut = parts.cut
        self._server = ServerSide(config, parts, self.classes, self._total)

    def epochs(self) -> Iterator[Row]:
        """Train the epochs that are left, validate after each, test after the last."""
        while len(self.rows) < self.config.train.epochs:
            row = self._epoch(len(self.rows))
            self.rows.append(row)
            if len(self.rows) == self.config.train.epochs:
                self.test = self._evaluate("test", Traffic())
            yield row

    def state(self) -> dict[str, Any]:
        """Return a checkpoint of both halves, their optimisers and the record so far."""
        device = self._device_state()
        return {
            "rows": self.rows,
            "test": self.test,
            "checkpoint_bytes": self.checkpoint_bytes,
            "device": device,
            "server": self._server.state(),
        }

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the state dict of each half."""
        device = unpack_state(self._device_state())
        return {"device": device["half"], "server": self._server.state()["half"]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint."""
        self._device.call("restore", state["device"]).result()
        self._packed = state["device"]
        self._server.restore(state["server"])
        self.rows, self.test = list(state["rows"]), state["test"]
        self.checkpoint_bytes = state["checkpoint_bytes"] + len(state["device"])

    def _device_state(self) -> bytes:
        """Bring the device half's state up, unless nothing was trained since the last time."""
        if self._packed is None:
            self._packed = self._device.call("state").result()
            self.checkpoint_bytes += len(self._packed)
        return self._packed

    def _epoch(self, epoch: int) -> Row:
        start = time.perf_counter()
        decision = decide(self.config.schedule, epoch, self.config.train.epochs)
        traffic, clock = Traffic(), Clock()
        trained = self.train_epoch(epoch, decision, traffic, clock)
        checked = self._evaluate("val", traffic, clock)
        seconds = time.perf_counter() - start
        return {
            "epoch": epoch,
            "level": str(decision.level),
            "reason": decision.reason,
            "lr": lr_at(self.config.train, (epoch + 1) * self._steps - 1, self._total),
            "train_loss": trained["loss"],
            "train_accuracy": trained["accuracy"],
            "val_loss": checked["loss"],
            "val_accuracy": checked["accuracy"],
            **traffic.bytes,
            "seconds": seconds,
            "device_s": clock.device,
            "server_s": clock.server,
            # Neither side computes: exact in lock-step, a lower bound where micro-batches overlap.
            "link_s": max(0.0, seconds - clock.device - clock.server),
            "wait_s": clock.waiting,
            "threads_device": self.about["threads"],
            "threads_server": torch.get_num_threads(),
        }

    def train_epoch(self, epoch: int, decision: Decision, traffic: Traffic, clock: Clock) -> Row:
        """Pass over the training part once; return mean loss and accuracy.

        Forward calls are queued ahead, a step's micro-batches at a time.
        """
        self._packed = None
        self._device.call("begin_epoch", epoch, decision).result()
        self._server.begin_epoch(decision)
        k = self.config.train.in_flight
        coming: deque[Pending] = deque()
        acks: list[Pending] = []
        scores: list[Score] = []

        def ask(down: bytes | None) -> None:
            coming.append(self._device.call("exchange", down, True))
            coming.extend(self._device.call("exchange", None, True) for _ in range(k - 1))

        ask(None)
        for step in range(self._steps):
            for position in range(k):
                activation, labels = clock.wait(coming.popleft())
                number = (epoch * self._steps + step) * k + position
                traffic.count(activation, "up")
                traffic.count(labels, "up")
                with clock:
                    down, score = self._server.learn(number, activation, labels)
                    data = down.to_bytes()
                traffic.count(down, "down")
                scores.append(score)
                if position == k - 1 and step < self._steps - 1:
                    # The gradient that ends a step also asks for the next step's first micro-batch.
                    ask(data)
                else:
                    acks.append(self._device.call("exchange", data, False))
            if self._watch is not None:
                self._watch(epoch, step + 1, self._steps, score.loss / score.count)
            while acks:
                clock.wait(acks.pop())
        return _mean(scores)

    def _evaluate(self, split: str, traffic: Traffic, clock: Clock | None = None) -> Row:
        clock = clock or Clock()
        rows, size = self.about[f"{split}_rows"], self.config.train.batch_size
        scores = []
        for index in range(-(-rows // size)):
            activation, labels = clock.wait(self._device.call("evaluate", split, index))
            traffic.count_evaluation(activation)
            traffic.count_evaluation(labels)
            with clock:
                scores.append(self._server.score(index, activation, labels))
        return _mean(scores) | {"evaluation": traffic.bytes["evaluation"]}


class Clock:
    """Seconds of one epoch, by where they went."""

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

    def __enter__(self) -> Clock:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.server += time.perf_counter() - self._start


def _mean(scores: list[Score]) -> Row:
    count = sum(score.count for score in scores)
    return {
        "loss": sum(score.loss for score in scores) / count,
        "accuracy": sum(score.correct for score in scores) / count,
    }
