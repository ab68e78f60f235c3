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
    machine: str = ""
    """Of a virtual device."""
    link: str = ""
    """Of a virtual device."""
    virtual_s: float = 0.0
    """Seconds that the round would have taken a virtual device on its machine and link; 0: it is real."""
    epoch: EpochRecord
    """Its own level, losses, bytes and seconds; accuracies are those on its own shard."""

    def to_row(self) -> dict[str, Cell]:
        """Return the record as a flat row, its columns in the order they have on disk."""
        where: dict[str, Cell] = {"machine": self.machine, "link": self.link} if self.machine else {}
        row = {"device": self.device, "samples": self.samples} | where | self.epoch.to_row()
        return row | {"virtual_s": self.virtual_s}

    @classmethod
    def from_row(cls, row: Mapping[str, Cell]) -> DeviceRecord:
        """Read a row of `devices.parquet`; raises as `EpochRecord.from_row`."""
        device, samples = row["device"], row["samples"]
        if not isinstance(device, int) or not isinstance(samples, int):
            raise TypeError(f"device {device!r} and samples {samples!r} are not whole numbers")
        return cls(
            device=device,
            samples=samples,
            machine=str(row.get("machine") or ""),
            link=str(row.get("link") or ""),
            virtual_s=float(row.get("virtual_s") or 0.0),
            epoch=EpochRecord.from_row({key: cell for key, cell in row.items() if key != "virtual_s"}),
        )
