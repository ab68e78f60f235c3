"""The record for TensorBoard: `monitors/tensorboard` of a run's folder. Needs the extra `tensorboard`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raysplit.monitors.base import MonitoredRun, numbers, totals
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord
from raysplit.records.summary import RunSummary

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class TensorBoardMonitor:
    """Writes each number of an epoch's row as a scalar, at the number of the epoch, from 1.

    Those of one of many devices are under `device_N/`, the config and the levels are texts. A run that goes on writes
    the epochs that it has once more and tells TensorBoard to forget what was there, so that none is missing or twice.

    >>> from raysplit import read_run
    >>> monitor = TensorBoardMonitor()
    >>> monitor.begin(MonitoredRun("run", read_run("run").config, read_run("run").epochs))
    >>> monitor.end(None)
    """

    _writer: SummaryWriter
    _last = 0
    """The epoch that was written last."""

    def begin(self, run: MonitoredRun) -> None:
        """Open the file; ConfigError where the run's folder is not local."""
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = run.local_folder("tensorboard") / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=0 if folder.exists() else None)
        self._writer.add_text("config", f"```json\n{run.config.model_dump_json(indent=2)}\n```", 0)
        for record in run.records:
            self._add(record, [row for row in run.device_records if row.epoch.epoch == record.epoch])

    def epoch(self, record: EpochRecord, devices: Sequence[DeviceRecord]) -> None:
        """Write an epoch, and flush."""
        self._add(record, devices)
        self._writer.flush()

    def end(self, summary: RunSummary | None) -> None:
        """Write the test accuracy and the sums of a run that has ended, and close the file."""
        if summary is not None:
            for name, value in totals(summary).items():
                self._writer.add_scalar(name, value, self._last + 1)
        self._writer.close()

    def _add(self, record: EpochRecord, devices: Sequence[DeviceRecord]) -> None:
        self._last = record.epoch
        for prefix, row in [("", record), *((f"device_{one.device}/", one.epoch) for one in devices)]:
            for name, value in numbers(row).items():
                self._writer.add_scalar(f"{prefix}{name}", value, record.epoch + 1)
            self._writer.add_text(f"{prefix}level", f"{row.level}: {row.reason}", record.epoch + 1)
