"""The training loop: plain PyTorch, one device or many behind an interface."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError, DeviceLostError, DivergenceError
from raysplit.models.checkpoint_file import hash_file
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord, Mode
from raysplit.schedules.base import Decision
from raysplit.split import Cut
from raysplit.torch_utils.checkpoint import unpack_state
from raysplit.train.body_side import make_server_sides
from raysplit.train.decisions import Decisions
from raysplit.train.device import Device, DeviceFacts, Score, Split, require_tail
from raysplit.train.device_network import device_weights
from raysplit.train.divergence import diverged, warn_of_huge_loss
from raysplit.train.epoch import StepCallback, TrainingPass
from raysplit.train.evaluation import Evaluation, PassResult
from raysplit.train.feed import Part
from raysplit.train.halves import build_server_half
from raysplit.train.own_states import StateReference
from raysplit.train.record_maker import RecordMaker, Trained, predict_many
from raysplit.train.recovery import Recovery, Replace
from raysplit.train.start import without_start
from raysplit.train.traffic import Traffic
from raysplit.train.virtual_fleet import make_fleet


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
        devices: Device | Sequence[Device],
        on_step: StepCallback | None = None,
        node: str | None = None,
        *,
        resumed: bool = False,
        replace_device: Replace | None = None,
    ):
        self.config = config
        self._node = node or platform.node()
        self.records: list[EpochRecord] = []
        self.device_records: list[DeviceRecord] = []
        """A row for each epoch and device, where there are many."""
        self.test: TestResult | None = None
        self._on_step = on_step
        self._fleet = make_fleet(config, devices)
        classes = len(self.facts.classes)
        built = build_server_half(without_start(config) if resumed else config, classes, self.facts.shape)
        if not resumed and built.weights != self.facts.weights:
            raise ConfigError(
                f"the device starts from other weights than the server: '{config.model.weights or config.model.name}' "
                "differs between the two machines; copy the same file to both"
            )
        self.cut = built.cut
        self.code_shape = built.code_shape
        self.back: Cut | None = built.back
        """The second cut, where there is one."""
        if built.back is not None:
            for member in self._fleet.members:
                require_tail(member.device, member.index)
        self._servers = make_server_sides(config, built, self._fleet)
        self._server = self._servers[0]
        self._decisions = Decisions(config, self._fleet, built.code_shape, built.cut.channel_dim, built.back)
        self._evaluation = Evaluation(config.train, self._fleet, self._server)
        replace_device = None if config.devices.kind == "virtual" else replace_device  # none of those is ever lost
        self._recovery = Recovery(config, self._fleet, self._servers, replace_device)

    @property
    def facts(self) -> DeviceFacts:
        """What is known of the data, of all devices together, and of the devices' machines."""
        return self._fleet.facts

    @property
    def steps(self) -> int:
        """Optimizer steps of the devices in an epoch."""
        return self._fleet.steps

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of the device halves' states that checkpoints fetched and restores sent."""
        return self._fleet.checkpoint_bytes

    @property
    def exchanges(self) -> bool:
        """Whether device halves are averaged or handed on, so that their weights cross."""
        return self._fleet.many and self._fleet.shares

    def epochs(self) -> Iterator[EpochRecord]:
        """Train the epochs that are left, validate after each, test after the last.

        Raises DivergenceError, which names the epoch and the step, as soon as a loss or a weight is NaN or infinite;
        the epoch has no record then.
        """
        while len(self.records) < self.config.train.epochs:
            record = self._epoch(len(self.records))
            self.records.append(record)
            warn_of_huge_loss(record, self.config.train, len(self.facts.classes))
            yield record

    def _test(self, mode: Mode) -> TestResult:
        traffic = Traffic()
        parts = [Part(member, self._decisions.last(member), traffic) for member in self._fleet.present]
        checks = self._evaluate("test", parts, mode)
        result = PassResult.of([score for scores in checks.values() for score in scores])
        return TestResult(result.loss, result.accuracy, traffic.counts.evaluation)

    def state(self) -> dict[str, Any]:
        """Return a checkpoint of both halves, their optimizers and the record so far."""
        first, *others = self._fleet.states()
        state = {
            "rows": [record.to_row() for record in self.records],
            "test": None if self.test is None else asdict(self.test),
            "checkpoint_bytes": self.checkpoint_bytes,
            "device": first,
            "server": self._server.state(),
        }
        if not self._fleet.many:
            return state
        return state | {
            "devices": others,
            "servers": [server.state() for server in self._servers[1:]],
            "device_rows": [record.to_row() for record in self.device_records],
            "fleet": self._fleet.state(),
        }

    def reference(self) -> StateReference | None:
        """Return where the device half is, where it stays on its device; None where `weights` has it."""
        if self.config.checkpoint.device == "server":
            return None
        return StateReference.parse(self._fleet.state_of(self._fleet.current()))

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the state dict of each half, and of the device's own head or tail where it has one.

        Of many devices, it is that of the first which holds the common weights; none where they stay on the devices.
        """
        if self.config.checkpoint.device == "local":
            return {} if self.config.devices.mode == "fedavg" else {"server": self._server.state()["half"]}
        device = unpack_state(self._fleet.state_of(self._fleet.current()))
        own = device_weights(self.config, device)
        return own if "server" in own else {"server": self._server.state()["half"]} | own

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint."""
        packed = [state["device"], *state.get("devices", [])]
        self._fleet.restore(packed, state.get("fleet"), state["checkpoint_bytes"])
        for server, own in zip(self._servers, [state["server"], *state.get("servers", [])], strict=True):
            server.restore(own)
        self._check_start()
        self.records = [EpochRecord.from_row(row) for row in state["rows"]]
        self.device_records = [DeviceRecord.from_row(row) for row in state.get("device_rows", [])]
        self._fleet.pass_time(sum(record.virtual_s for record in self.records))
        self.test = None if state["test"] is None else TestResult(**state["test"])

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

    def _epoch(self, epoch: int) -> EpochRecord:
        """Train and validate an epoch; anew, where a device is lost and the run shall go on."""
        self._recovery.begin()
        known = len(self.device_records)
        while True:
            try:
                record = self._try_epoch(epoch)
                if epoch == self.config.train.epochs - 1:
                    self._recovery.take_back()
                    self.test = self._test(record.mode)
                self._recovery.end()
                return record
            except DeviceLostError as err:
                del self.device_records[known:]
                self._recovery.recover(err)

    def _try_epoch(self, epoch: int) -> EpochRecord:
        start = time.perf_counter()
        decision, parts = self._decisions.decide(epoch, self.records, self.device_records)
        self.train_epoch(epoch, decision, parts)
        trained = Trained(time.perf_counter() - start, sum(part.clock.device + part.clock.server for part in parts))
        each = [
            Trained(part.clock.waiting + part.clock.server, part.clock.device + part.clock.server) for part in parts
        ]
        checks = self._evaluate("val", parts, decision.mode)
        seconds = time.perf_counter() - start
        lr = self._server.lr((epoch + 1) * self._server.epoch_steps - 1)
        batches = partial(self._evaluation.batches, split="val")
        rows = RecordMaker(self.config, self.facts, epoch, lr, self._node, batches)
        record = rows.of_all(decision, parts, trained, seconds, checks)
        if len(self._fleet.present) < len(self._fleet.members):
            away = ", ".join(str(member.index) for member in self._fleet.members if member.away)
            record = replace(record, reason=f"{record.reason}; without device {away}")
        if self._fleet.many:
            own = [rows.of_one(part, one, checks[part.member.index]) for part, one in zip(parts, each, strict=True)]
            record = replace(record, predicted_s=predict_many(own, self.config.devices.side_by_side))
            own, record = self._fleet.stamp(own, record)
            self.device_records += own
        if decision.ends_level:
            tested = self._test(decision.mode)
            record = replace(record, test_accuracy=tested.accuracy, evaluation_test=tested.evaluation)
        return record

    def train_epoch(self, epoch: int, decision: Decision, parts: Sequence[Part] | None = None) -> None:
        """Let devices pass over their training split once: each part's, or all of the epoch's by one decision."""
        if parts is None:
            parts = [Part(member, decision) for member in self._fleet.draw(epoch)]
        TrainingPass(self.config, self._fleet, self._servers, epoch, decision, parts, self._on_step).run()

    def _evaluate(self, split: Split, parts: Sequence[Part], mode: Mode) -> dict[int, list[Score]]:
        try:
            return self._evaluation.run(split, parts, mode)
        except DivergenceError as err:
            name = {"val": "validation", "test": "test"}[split]
            where = f"the {name} after epoch {len(self.records) + 1}/{self.config.train.epochs}"
            raise diverged(self.config.train, where, err) from None
