"""What a monitor is told. Any class with these three methods is a monitor (docs/extending.md#monitors)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord
from raysplit.records.summary import RunSummary
from raysplit.utils.storage import Folder


@dataclass(frozen=True)
class MonitoredRun:
    """A run that begins, or goes on."""

    location: str
    """Its folder, a path or URI."""
    config: SplitConfig
    records: tuple[EpochRecord, ...] = ()
    """Epochs that were trained before, where it goes on from a checkpoint."""
    device_records: tuple[DeviceRecord, ...] = ()
    """The same of each of many devices."""

    def local_folder(self, monitor: str) -> Path:
        """Return the folder for what a monitor of this name writes; ConfigError where the run's folder is not local.

        >>> from raysplit import read_run
        >>> MonitoredRun("run", read_run("run").config).local_folder("csv").name
        'monitors'
        """
        local = Folder.at(self.location).local
        if local is None:
            raise ConfigError(
                f"the monitor {monitor} writes local files, and the run is in {self.location}; leave it out, or set "
                "ray.storage to a path"
            )
        (local / "monitors").mkdir(parents=True, exist_ok=True)
        return local / "monitors"


class Monitor(Protocol):
    """Follows a run: in the process that drives its loop, the caller's own or the Ray Train worker's.

    An epoch is told once, after its checkpoint was saved. A run that goes on from a checkpoint begins anew, with the
    epochs that it has; a process that ended between a checkpoint and the call has told all of them but the last.

    >>> class Best:
    ...     def begin(self, run): self.best = max((record.val_accuracy for record in run.records), default=0.0)
    ...     def epoch(self, record, devices): self.best = max(self.best, record.val_accuracy)
    ...     def end(self, summary): print(summary is not None and self.best >= summary.val_accuracy)
    >>> from raysplit import read_run, train_local
    >>> stopped = read_run("stopped_run")
    >>> _ = train_local(stopped.config.replaced(monitors=[Best()]), "stopped_run")
    True
    """

    def begin(self, run: MonitoredRun) -> None:
        """Called before the first epoch, or the first of those that are left."""
        ...

    def epoch(self, record: EpochRecord, devices: Sequence[DeviceRecord]) -> None:
        """Called after each epoch; `devices` are the rows of those that took part, where there are many."""
        ...

    def end(self, summary: RunSummary | None) -> None:
        """Called once at the end; None: the run was stopped or has failed, and may go on later."""
        ...


def numbers(record: EpochRecord) -> dict[str, float]:
    """Return what is a number in an epoch's row, but its own.

    >>> numbers(EpochRecord(epoch=3, level="c4·b4/b4", steps=72, val_accuracy=0.5))["val_accuracy"]
    0.5
    """
    return {
        name: float(value)
        for name, value in record.to_row().items()
        if isinstance(value, int | float) and name != "epoch"
    }


def totals(summary: RunSummary) -> dict[str, float]:
    """Return the final figures of a run that are worth a place beside other runs'.

    >>> from raysplit import read_run
    >>> sorted(totals(read_run("run").summary))
    ['test_accuracy', 'total_bytes_down', 'total_bytes_up', 'total_seconds']
    """
    return {
        "test_accuracy": summary.accuracy,
        "total_bytes_up": float(summary.bytes_up),
        "total_bytes_down": float(summary.bytes_down),
        "total_seconds": summary.seconds,
    }
