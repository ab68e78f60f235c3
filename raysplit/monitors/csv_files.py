"""The record as CSV files: `monitors/epochs.csv` of a run's folder and, of many devices, `monitors/devices.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from raysplit.monitors.base import MonitoredRun
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import Cell, EpochRecord
from raysplit.records.summary import RunSummary
from raysplit.utils.storage import Folder


class CsvMonitor:
    """Writes both files anew after each epoch, whole or not at all: of a run that goes on, no row is there twice.

    >>> from raysplit import read_run
    >>> run = read_run("run")
    >>> monitor = CsvMonitor()
    >>> monitor.begin(MonitoredRun("run", run.config))
    >>> monitor.epoch(run.epochs[0], ())
    >>> len(open("run/monitors/epochs.csv").readlines())
    2
    """

    def begin(self, run: MonitoredRun) -> None:
        """Write the epochs that the run has."""
        self._folder = Folder.at(run.location)
        self._epochs, self._devices = list(run.records), list(run.device_records)
        if self._epochs:
            self._write()

    def epoch(self, record: EpochRecord, devices: Sequence[DeviceRecord]) -> None:
        """Add an epoch."""
        self._epochs.append(record)
        self._devices += devices
        self._write()

    def end(self, summary: RunSummary | None) -> None:
        """Nothing to do: the files are whole after each epoch."""

    def _write(self) -> None:
        files = {"monitors/epochs.csv": _to_csv([record.to_row() for record in self._epochs])}
        if self._devices:
            files["monitors/devices.csv"] = _to_csv([record.to_row() for record in self._devices])
        self._folder.write_all(files)


def _to_csv(rows: Sequence[dict[str, Cell]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
