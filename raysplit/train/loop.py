"""The training loop: plain PyTorch, one device behind an interface."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError, DataError, DivergenceError
from raysplit.models.checkpoint_file import hash_file
from raysplit.records.epoch import EpochRecord, Mode
from raysplit.schedules.base import Decision, next_decision
from raysplit.torch_utils.checkpoint import unpack_state
from raysplit.train.clip_votes import ClipVotes
from raysplit.train.costs import run_context
from raysplit.train.device import Device, Score, Split
from raysplit.train.divergence import diverged, warn_of_huge_loss
from raysplit.train.epoch import Clock, StepCallback, TrainingPass
from raysplit.train.halves import build_server_half
from raysplit.train.predict import predict_epoch_s_by_link
from raysplit.train.server_side import ServerSide
from raysplit.train.start import without_start
from raysplit.train.traffic import Traffic
from raysplit.wire.message import Message, parse


@dataclass(frozen=True)
class PassResult:
    """Means over one pass."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class TestResult(PassResult):
    """A test pass, and the bytes that crossed for it."""

    __test__ = False  # not a test of pytest's
    evaluation: int


class Loop:
    """Trains the two halves of a recipe.

    `for record in loop.epochs()` yields a record after each epoch; between epochs, `state` and `restore` make and
    load a checkpoint. From equal states, training goes on identically. `node` is where this process runs, for the
    record; None: the host's name. A loop that is `resumed` is restored before it trains, and needs no weights to start
    from.
    """

    def __init__(
        self,
        config: SplitConfig,
        device: Device,
        on_step: StepCallback | None = None,
        node: str | None = None,
        *,
        resumed: bool = False,
    ):
        self.config = config
        self._node = node or platform.node()
        self.records: list[EpochRecord] = []
        self.test: TestResult | None = None
        self.checkpoint_bytes = 0
        """Bytes of the device half's state that checkpoints fetched and restores sent."""
        self._packed: bytes | None = None
        self._device = device
        self._on_step = on_step
        self.facts = device.describe().result()
        self.steps = self.facts.train_rows // config.train.batch_size
        """Optimizer steps in an epoch."""
        if not self.steps:
            raise DataError(
                f"{config.data.name}: {self.facts.train_rows} training rows do not fill a batch of "
                f"{config.train.batch_size}; lower train.batch_size"
            )
        classes = len(self.facts.classes)
        built = build_server_half(without_start(config) if resumed else config, classes, self.facts.shape)
        if not resumed and built.weights != self.facts.weights:
            raise ConfigError(
                f"the device starts from other weights than the server: '{config.model.weights or config.model.name}' "
                "differs between the two machines; copy the same file to both"
            )
        self.cut = built.cut
        self.code_shape = built.code_shape
        self._server = ServerSide(config, built, classes, self.steps * config.train.epochs)
        self._context = run_context(config, built.code_shape, built.cut.channel_dim, classes, self.steps)

    def epochs(self) -> Iterator[EpochRecord]:
        """Train the epochs that are left, validate after each, test after the last.

        Raises DivergenceError, which names the epoch and the step, as soon as a loss or a weight is NaN or infinite;
        the epoch has no record then.
        """
        while len(self.records) < self.config.train.epochs:
            record = self._epoch(len(self.records))
            if record.epoch == self.config.train.epochs - 1:
                self.test = self._test(record.mode)
            self.records.append(record)
            warn_of_huge_loss(record, self.config.train, len(self.facts.classes))
            yield record

    def _test(self, mode: Mode) -> TestResult:
        traffic = Traffic()
        result = self._evaluate("test", traffic, Clock(), mode)
        return TestResult(result.loss, result.accuracy, traffic.counts.evaluation)

    def state(self) -> dict[str, Any]:
        """Return a checkpoint of both halves, their optimizers and the record so far."""
        device = self._device_state()
        return {
            "rows": [record.to_row() for record in self.records],
            "test": None if self.test is None else asdict(self.test),
            "checkpoint_bytes": self.checkpoint_bytes,
            "device": device,
            "server": self._server.state(),
        }

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the state dict of each half, and of the device's own head where it has one."""
        device = unpack_state(self._device_state())
        halves = {"device": device["half"], "server": self._server.state()["half"]}
        return halves if device["head"] is None else halves | {"head": device["head"]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint."""
        self._device.restore(state["device"]).result()
        self._packed = state["device"]
        self._server.restore(state["server"])
        self.facts = self._device.describe().result()
        self._check_start()
        self.records = [EpochRecord.from_row(row) for row in state["rows"]]
        self.test = None if state["test"] is None else TestResult(**state["test"])
        self.checkpoint_bytes = state["checkpoint_bytes"] + len(state["device"])

    def _check_start(self) -> None:
        """Raise ConfigError where the weights file is no longer the one that the run started from; it may be gone."""
        file, started = self.config.model.weights, self.facts.weights
        if file is None or started is None or not Path(file).expanduser().is_file():
            return
        if (now := hash_file(Path(file).expanduser())) != started:
            raise ConfigError(
                f"model.weights: '{file}' is no longer the file that this run started from (sha256 {now[:12]}, was "
                f"{started[:12]}); put the old one back, or begin a new run"
            )

    def _device_state(self) -> bytes:
        """Fetch the device half's state, unless the device has not trained since the last time."""
        if self._packed is None:
            self._packed = self._device.state().result()
            self.checkpoint_bytes += len(self._packed)
        return self._packed

    def _epoch(self, epoch: int) -> EpochRecord:
        start, train = time.perf_counter(), self.config.train
        decision = next_decision(self.config.schedule, self._context, self.records)
        traffic, clock = Traffic(), Clock()
        trained = self.train_epoch(epoch, decision, traffic, clock)
        train_s, train_compute_s = time.perf_counter() - start, clock.device + clock.server
        checked = self._evaluate("val", traffic, clock, decision.mode)
        seconds = time.perf_counter() - start
        lr = self._server.lr((epoch + 1) * self.steps - 1)
        device_share = train.device_lr / train.lr if train.device_lr else 1.0
        tested = self._test(decision.mode) if decision.ends_level else None
        record = EpochRecord(
            epoch=epoch,
            level=str(decision.level),
            mode=decision.mode,
            reason=decision.reason,
            lr=lr,
            lr_device=0.0 if decision.mode in ("frozen", "cached") else lr * device_share,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            val_loss=checked.loss,
            val_accuracy=checked.accuracy,
            steps=self.steps,
            val_batches=self._batches("val"),
            bytes=traffic.counts,
            test_accuracy=None if tested is None else tested.accuracy,
            evaluation_test=0 if tested is None else tested.evaluation,
            train_s=train_s,
            train_compute_s=train_compute_s,
            seconds=seconds,
            device_s=clock.device,
            server_s=clock.server,
            link_s=max(0.0, seconds - clock.device - clock.server),
            wait_s=clock.waiting,
            threads_device=self.facts.threads,
            threads_server=torch.get_num_threads(),
            node_device=self.facts.node,
            node_server=self._node,
        )
        return replace(record, predicted_s=predict_epoch_s_by_link(record, train.in_flight))

    def train_epoch(self, epoch: int, decision: Decision, traffic: Traffic, clock: Clock) -> PassResult:
        """Pass over the training split once."""
        if decision.mode != "cached":
            self._packed = None
        k = self.config.train.in_flight
        one = TrainingPass(self._device, self._server, epoch, self.steps, k, decision, traffic, clock, self._on_step)
        return _mean(one.run())

    def _evaluate(self, split: Split, traffic: Traffic, clock: Clock, mode: Mode) -> PassResult:
        """Score a split by the server, or by the device's local head where the device learns alone.

        While the device half is frozen, the validation messages cross once and are cached.
        """
        try:
            return _mean(self._score(split, traffic, clock, mode))
        except DivergenceError as err:
            name = {"val": "validation", "test": "test"}[split]
            where = f"the {name} after epoch {len(self.records) + 1}/{self.config.train.epochs}"
            raise diverged(self.config.train, where, err) from None

    def _score(self, split: Split, traffic: Traffic, clock: Clock, mode: Mode) -> list[Score]:
        batches = range(self._batches(split))
        if mode == "alone":
            return [clock.wait_score(self._device.evaluate_alone(split, index)) for index in batches]
        frozen, cached = mode in ("frozen", "cached") and split == "val", self._server.cache.validation
        scores: list[Score] = []
        votes = ClipVotes(self.facts.val_chunks if split == "val" else self.facts.test_chunks)
        for index in batches:
            if frozen and index < len(cached):
                activation, labels = (parse(data) for data in cached[index])
            else:
                activation, labels = self._fetch(split, index, traffic, clock)
                if frozen:
                    cached.append((activation.to_bytes(), labels.to_bytes()))
            with clock:
                scores.append(self._server.score(index, activation, labels, votes))
        return scores

    def _fetch(self, split: Split, index: int, traffic: Traffic, clock: Clock) -> tuple[Message, Message]:
        activation, labels = clock.wait_uplink(self._device.evaluate(split, index))
        traffic.count_evaluation(activation)
        traffic.count_evaluation(labels)
        return activation, labels

    def _batches(self, split: Split) -> int:
        rows = self.facts.val_rows if split == "val" else self.facts.test_rows
        return -(-rows // self.config.train.batch_size)


def _mean(scores: Sequence[Score]) -> PassResult:
    count = sum(score.count for score in scores)
    answers = sum(score.count if score.answers is None else score.answers for score in scores)
    return PassResult(sum(score.loss for score in scores) / count, sum(score.correct for score in scores) / answers)
