"""Makes the rows of the record from what an epoch's devices did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from raysplit.config import SplitConfig
from raysplit.hardware.link import NAMED
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import ByteCounts, EpochRecord
from raysplit.schedules.base import Decision
from raysplit.train.device import DeviceFacts, Score
from raysplit.train.evaluation import PassResult
from raysplit.train.feed import Part
from raysplit.train.predict import predict_epoch_s_by_link


@dataclass(frozen=True)
class Trained:
    """What the training of an epoch, or one device's part of it, took."""

    seconds: float
    compute_s: float


@dataclass(frozen=True)
class RecordMaker:
    """What all rows of an epoch have in common."""

    config: SplitConfig
    facts: DeviceFacts
    epoch: int
    lr: float
    """Of the server half's last step."""
    node: str
    batches: Callable[[DeviceFacts], int]
    """The number of validation batches."""

    def of_one(self, part: Part, trained: Trained, checks: Sequence[Score]) -> DeviceRecord:
        """Return the row of one device.

        Its seconds are those in which the server waited for it or worked for it: where devices work side by side, a
        lower bound.
        """
        if part.decision.mode == "cached":  # the server's own work, on the codes of all devices
            part = replace(part, scores=[])
        checked, clock = PassResult.of(checks), part.clock
        seconds = clock.waiting + clock.server
        record = self._record(part.decision, part.member.facts, [part], trained, seconds, checked)
        return DeviceRecord(device=part.member.index, samples=sum(score.count for score in part.scores), epoch=record)

    def of_all(
        self,
        decision: Decision,
        parts: Sequence[Part],
        trained: Trained,
        seconds: float,
        checks: Mapping[int, Sequence[Score]],
    ) -> EpochRecord:
        """Return the row of the epoch, of all devices together."""
        checked = PassResult.of([score for scores in checks.values() for score in scores])
        return self._record(decision, self.facts, parts, trained, seconds, checked)

    def _record(
        self,
        decision: Decision,
        facts: DeviceFacts,
        parts: Sequence[Part],
        trained: Trained,
        seconds: float,
        checked: PassResult,
    ) -> EpochRecord:
        train = self.config.train
        device_s, server_s = (sum(getattr(part.clock, side) for part in parts) for side in ("device", "server"))
        result = PassResult.of([score for part in parts for score in part.scores])
        share = train.device_lr / train.lr if train.device_lr else 1.0
        record = EpochRecord(
            epoch=self.epoch,
            level=str(decision.level),
            mode=decision.mode,
            reason=decision.reason,
            lr=self.lr,
            lr_device=0.0 if decision.mode in ("frozen", "cached") else self.lr * share,
            train_loss=result.loss,
            train_accuracy=result.accuracy,
            val_loss=checked.loss,
            val_accuracy=checked.accuracy,
            steps=sum(part.member.steps for part in parts),
            val_batches=sum(self.batches(part.member.facts) for part in parts),
            bytes=_add([part.traffic.counts for part in parts]),
            train_s=trained.seconds,
            train_compute_s=trained.compute_s,
            seconds=seconds,
            device_s=device_s,
            server_s=server_s,
            link_s=max(0.0, seconds - device_s - server_s),
            wait_s=sum(part.clock.waiting for part in parts),
            threads_device=facts.threads,
            threads_server=torch.get_num_threads(),
            node_device=facts.node,
            node_server=self.node,
        )
        return replace(record, predicted_s=predict_epoch_s_by_link(record, train.in_flight))


def predict_many(records: Sequence[DeviceRecord], side_by_side: bool) -> dict[str, float]:
    """Return the predicted seconds of an epoch of many devices on each named link, from the rows of each.

    Devices that work side by side take as long as the slowest, others as long as all together.
    """
    join: Callable[[list[float]], float] = max if side_by_side else sum
    return {name: join([record.epoch.predicted_s[name] for record in records]) for name in NAMED}


def _add(counts: Sequence[ByteCounts]) -> ByteCounts:
    rows = [asdict(count) for count in counts]
    return ByteCounts(**{kind: sum(row[kind] for row in rows) for kind in rows[0]})
