"""Many virtual devices on one data set: each answers like a device of its own, and few of them are there at a time."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import torch

from raysplit.config import SplitConfig
from raysplit.data import ShardTable, mean_std
from raysplit.models import read_normalization
from raysplit.schedules.base import Decision
from raysplit.train.device import Device, DeviceFacts, Finished, LocalScore, Split, Uplink
from raysplit.train.device_parts import build_parts
from raysplit.train.virtual_worker import VirtualWorker


class VirtualDevice:
    """A device that a worker in this process takes the place of when it is called."""

    __slots__ = ("_facts", "_index", "_worker")

    def __init__(self, worker: VirtualWorker, index: int, facts: DeviceFacts):
        self._worker, self._index, self._facts = worker, index, facts

    def describe(self) -> Finished[DeviceFacts]:
        return Finished(self._facts)

    def begin_epoch(self, epoch: int, decision: Decision) -> Finished[None]:
        self._worker.begin_epoch(epoch, decision, {self._index: decision})
        return Finished(None)

    def forward(self) -> Finished[Uplink]:
        return Finished(self._worker.side(self._index).forward())

    def backward(self, gradient: bytes) -> Finished[None]:
        self._worker.side(self._index).backward(gradient)
        return Finished(None)

    def exchange(self, gradient: bytes) -> Finished[Uplink]:
        return Finished(self._worker.side(self._index).exchange(gradient))

    def train_alone(self) -> Finished[LocalScore]:
        return Finished(self._worker.side(self._index).train_alone())

    def hand_over(self) -> Finished[bytes]:
        return Finished(self._worker.side(self._index).hand_over())

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Finished[None]:
        self._worker.normalization = (self._worker.normalization[0], mean, std)
        return Finished(None)

    def weights(self) -> Finished[bytes]:
        return Finished(self._worker.weights(self._index))

    def adopt(self, weights: bytes) -> Finished[None]:
        self._worker.adopt(self._index, weights)
        return Finished(None)

    def evaluate(self, split: Split, index: int) -> Finished[Uplink]:
        return Finished(self._worker.side(self._index).evaluate(split, index))

    def evaluate_alone(self, split: Split, index: int) -> Finished[LocalScore]:
        return Finished(self._worker.side(self._index).evaluate_alone(split, index))

    def state(self) -> Finished[bytes]:
        return Finished(self._worker.side(self._index).state())

    def restore(self, state: bytes) -> Finished[None]:
        self._worker.side(self._index).restore(state)
        return Finished(None)

    def is_ready(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to release."""


class VirtualDevices(Sequence[Device]):
    """All virtual devices of a run, and what is said to all of them at once. Raises what dealing the data raises."""

    def __init__(self, config: SplitConfig):
        self.worker_count = config.devices.workers
        """Of workers; device i is that of worker i modulo the count."""
        first = make_worker(config)
        self.workers = [first, *(first.another() for _ in range(self.worker_count - 1))]
        self._devices: list[Device] = [
            VirtualDevice(self.workers[index % self.worker_count], index, facts)
            for index, facts in enumerate(describe_all(config, first))
        ]

    def of_worker(self, indices: Iterable[int], worker: int) -> list[int]:
        """Return which of some devices are those of a worker."""
        return [index for index in indices if index % self.worker_count == worker]

    @overload
    def __getitem__(self, index: int) -> Device: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Device]: ...

    def __getitem__(self, index: int | slice) -> Device | Sequence[Device]:
        return self._devices[index]

    def __len__(self) -> int:
        return len(self._devices)

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Let all normalize images by what they agreed on."""
        for worker in self.workers:
            worker.normalization = (worker.normalization[0], mean, std)

    def begin_epoch(self, epoch: int, decision: Decision, own: Mapping[int, Decision]) -> None:
        """Begin an epoch on all devices; those that take part have a decision of their own."""
        for number, worker in enumerate(self.workers):
            worker.begin_epoch(epoch, decision, {index: own[index] for index in self.of_worker(own, number)})

    def snapshot(self) -> dict[str, Any]:
        """Return what a checkpoint holds of all devices."""
        return join_snapshots([worker.snapshot() for worker in self.workers])

    def restore(self, snapshot: dict[str, Any], holders: Sequence[int], common: bytes) -> None:
        """Go back to a snapshot in which some devices held the `common` weights."""
        for number, worker in enumerate(self.workers):
            own = {index: snapshot["own"][index] for index in self.of_worker(snapshot["own"], number)}
            worker.restore(snapshot | {"own": own}, self.of_worker(holders, number), common)


def join_snapshots(snapshots: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the snapshot of all devices from those of their workers."""
    joined = dict(snapshots[0])
    for part in ("own", "levels"):
        joined[part] = {index: one for snapshot in snapshots for index, one in snapshot[part].items()}
    return joined


def make_worker(config: SplitConfig) -> VirtualWorker:
    """Build a worker of a run; raises what loading the data and building the network raises."""
    table = ShardTable(config.data, config.devices, config.train.batch_size)
    train = table.source("train")
    channels, height, width = train.images.shape[1:]
    parts = build_parts(config, len(train.classes), (channels, height, width))
    expected = read_normalization(config.model, channels)
    return VirtualWorker(config, table, ("data", (), ()) if expected is None else ("weights", *expected), parts)


def describe_all(config: SplitConfig, worker: VirtualWorker) -> list[DeviceFacts]:
    """Return what each device would tell of its data."""
    table, start = worker.table, worker.normalization
    train, test = table.source("train"), table.source("test")
    channels, height, width = train.images.shape[1:]
    shared_bytes, weights = worker.shared_bytes(), worker.start_weights
    found = []
    for index in range(config.devices.count):
        rows = table.rows(index, "train")
        normalized_by, mean, std = start
        if normalized_by == "data":
            mean, std = mean_std(table.load(index, "train").images) if rows else ((0.0,) * channels, (1.0,) * channels)
        found.append(
            DeviceFacts(
                train_rows=rows,
                val_rows=table.rows(index, "val"),
                test_rows=table.rows(index, "test"),
                skipped_rows=train.skipped + test.skipped,
                raw_bytes=rows * channels * height * width,
                mean=mean,
                std=std,
                normalized_by=normalized_by,
                classes=train.classes,
                shape=(channels, height, width),
                threads=torch.get_num_threads(),
                weights=weights,
                test_from=test.taken_from,
                node=platform.node(),
                val_chunks=table.chunks(index, "val"),
                test_chunks=table.chunks(index, "test"),
                shared_bytes=shared_bytes,
            )
        )
    return found
