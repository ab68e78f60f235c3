"""One epoch of one of many devices: a row of the run record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from raysplit.records.epoch import Cell, EpochRecord


@dataclass(frozen=True, kw_only=True)
class DeviceRecord:
    """What one device did in an epoch: a row of `devices.parquet` (docs/run-record.md).

    >>> epoch = EpochRecord(epoch=0, level="c4·b4/b4", steps=3, val_accuracy=0.5)
    >>> record = DeviceRecord(device=1, samples=96, epoch=epoch)
    >>> DeviceRecord.from_row(record.to_row()) == record
    True
    """

    device: int
    """From 0."""
    samples: int
    """On which it trained in the epoch."""
    epoch: EpochRecord
    """Its own level, losses, bytes and seconds; accuracies are those on its own shard."""

    def to_row(self) -> dict[str, Cell]:
        """Return the record as a flat row, its columns in the order they have on disk."""
        return {"device": self.device, "samples": self.samples} | self.epoch.to_row()

    @classmethod
    def from_row(cls, row: Mapping[str, Cell]) -> DeviceRecord:
        """Read a row of `devices.parquet`; raises as `EpochRecord.from_row`."""
        device, samples = row["device"], row["samples"]
        if not isinstance(device, int) or not isinstance(samples, int):
            raise TypeError(f"device {device!r} and samples {samples!r} are not whole numbers")
        return cls(device=device, samples=samples, epoch=EpochRecord.from_row(row))
