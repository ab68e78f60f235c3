"""The training loop: plain PyTorch, one device behind a transport."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import torch

from raysplit.compress.adaptive import Past
from raysplit.compress.message import parse
from raysplit.compress.schedule import Course, Decision, Mode, decide
from raysplit.config import Level, SplitConfig
from raysplit.errors import DataError
from raysplit.fit.checkpoint import unpack_state
from raysplit.train.costs import step_bytes
from raysplit.train.parts import build_parts
from raysplit.train.passes import Clock, Pass, Watch
from raysplit.train.predict import predictions
from raysplit.train.server import Score, ServerSide
from raysplit.train.traffic import DOWN, UP, Traffic
from raysplit.train.transport import Transport

Row = dict[str, Any]
Split = Literal["val", "test"]


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
        self.classes = len(self.about["classes"])
        parts = build_parts(config, self.classes, self.about["shape"])
        self.cut = parts.cut
        self._server = ServerSide(config, parts, self.classes, self._steps * config.train.epochs)

        def most(level: Level) -> int:
            up, down, _ = step_bytes(config, level, parts.code_shape, parts.cut.channel_dim, self.classes)
            return up if config.train.local_loss else up + down

        self._course = Course(config.train.epochs, self._steps, most, config.train.local_loss is not None)

    def epochs(self) -> Iterator[Row]:
        """Train the epochs that are left, validate after each, test after the last."""
        while len(self.rows) < self.config.train.epochs:
            row = self._epoch(len(self.rows))
            self.rows.append(row)
            if len(self.rows) == self.config.train.epochs:
                self.test = self._test(row["mode"])
            yield row

    def _test(self, mode: Mode) -> Row:
        traffic = Traffic()
        return self._evaluate("test", traffic, Clock(), mode) | {"evaluation": traffic.bytes["evaluation"]}

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
        decision = decide(self.config.schedule, epoch, self._course, [past(row) for row in self.rows])
        traffic, clock = Traffic(), Clock()
        trained = self.train_epoch(epoch, decision, traffic, clock)
        train_s, train_compute_s = time.perf_counter() - start, clock.device + clock.server
        checked = self._evaluate("val", traffic, clock, decision.mode)
        seconds = time.perf_counter() - start
        tested = self._test(decision.mode) if decision.ends_level else {"accuracy": None, "evaluation": 0}
        row = {
            "epoch": epoch,
            "level": str(decision.level),
            "mode": decision.mode,
            "reason": decision.reason,
            "lr": self._server.lr((epoch + 1) * self._steps - 1),
            "train_loss": trained["loss"],
            "train_accuracy": trained["accuracy"],
            "val_loss": checked["loss"],
            "val_accuracy": checked["accuracy"],
            "steps": self._steps,
            "val_batches": self._batches("val"),
            **traffic.bytes,
            "test_accuracy": tested["accuracy"],
            "evaluation_test": tested["evaluation"],
            "train_s": train_s,
            "train_compute_s": train_compute_s,
            "seconds": seconds,
            "device_s": clock.device,
            "server_s": clock.server,
            # Neither side computes: exact in lock-step, a lower bound where micro-batches overlap.
            "link_s": max(0.0, seconds - clock.device - clock.server),
            "wait_s": clock.waiting,
            "threads_device": self.about["threads"],
            "threads_server": torch.get_num_threads(),
        }
        return row | predictions(row, self.config.train.in_flight)

    def train_epoch(self, epoch: int, decision: Decision, traffic: Traffic, clock: Clock) -> Row:
        """Pass over the training part once; return mean loss and accuracy."""
        if decision.mode != "cached":
            self._packed = None
        k = self.config.train.in_flight
        one = Pass(self._device, self._server, epoch, self._steps, k, decision, traffic, clock, self._watch)
        return _mean(one.run())

    def _evaluate(self, split: Split, traffic: Traffic, clock: Clock, mode: Mode) -> Row:
        """Score a split by the server, or by the device's local head where the device learns alone.

        While the device half is frozen the validation messages cross once and are kept.
        """
        if mode == "alone":
            scores = [
                clock.wait_score(self._device.call("evaluate_alone", split, i)) for i in range(self._batches(split))
            ]
            return _mean(scores)
        frozen, kept = mode in ("frozen", "cached") and split == "val", self._server.kept.validation
        scores = []
        for index in range(self._batches(split)):
            if frozen and index < len(kept):
                activation, labels = (parse(data) for data in kept[index])
            else:
                activation, labels = clock.wait(self._device.call("evaluate", split, index))
                traffic.count_evaluation(activation)
                traffic.count_evaluation(labels)
                if frozen:
                    kept.append((activation.to_bytes(), labels.to_bytes()))
            with clock:
                scores.append(self._server.score(index, activation, labels))
        return _mean(scores)

    def _batches(self, split: str) -> int:
        return -(-self.about[f"{split}_rows"] // self.config.train.batch_size)


def _mean(scores: list[Score]) -> Row:
    count = sum(score.count for score in scores)
    return {
        "loss": sum(score.loss for score in scores) / count,
        "accuracy": sum(score.correct for score in scores) / count,
    }


def past(row: Row) -> Past:
    """Return what a schedule sees of a row of the record."""
    return Past(
        row["level"],
        row["val_accuracy"],
        sum(row[kind] for kind in (*UP, *DOWN)),
        max(0.0, row["train_s"] - row["train_compute_s"]),
        row["train_compute_s"],
    )
