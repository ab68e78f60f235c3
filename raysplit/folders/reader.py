"""Reads run records, `config.json`, `*.parquet` and `summary.json` of a run directory, without torch."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from raysplit.config import SplitConfig, loads
from raysplit.errors import ConfigError
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord
from raysplit.records.levels import LevelRecord, level_records
from raysplit.records.summary import RunSummary
from raysplit.utils.storage import Folder

NAME_A_RUN = "name the run_dir that a training job printed"
"""The end of the error for a folder that is not a run directory."""
_NO_EPOCHS = "wait for its first epoch to end"


@dataclass(frozen=True)
class RunRecord:
    """The record of a run, finished or not.

    >>> from raysplit.config import DataConfig, ModelConfig
    >>> data, model = DataConfig(name="mnist5k"), ModelConfig(name="vgg11")
    >>> config = SplitConfig(name="demo", data=data, model=model, cut="features.7")
    >>> levels = "c4·b4/b4", "c4·b4/b4", "c8·b4/b4"
    >>> epochs = tuple(EpochRecord(epoch=i, level=level, steps=72) for i, level in enumerate(levels))
    >>> RunRecord("runs/demo", config, epochs, None).phases
    [('c4·b4/b4', 0, 2), ('c8·b4/b4', 2, 3)]
    """

    path: str
    config: SplitConfig
    epochs: tuple[EpochRecord, ...]
    """The finished epochs, at least one."""
    summary: RunSummary | None
    """None for a run that is still in progress or was stopped."""
    devices: tuple[DeviceRecord, ...] = ()
    """Of a run of many devices: a row for each epoch and device that took part."""

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.config.name

    @property
    def planned_epochs(self) -> int:
        """The number of epochs in the config."""
        return self.config.train.epochs

    @cached_property
    def traffic(self) -> list[int]:
        """Cumulative training bytes, both directions, at the end of each epoch."""
        return list(accumulate(record.traffic for record in self.epochs))

    @cached_property
    def phases(self) -> list[tuple[str, int, int]]:
        """Level, first epoch and end (exclusive, from 0) of each run of consecutive epochs at the same level."""
        levels = [record.level for record in self.epochs]
        starts = [i for i, level in enumerate(levels) if i == 0 or level != levels[i - 1]]
        return [(levels[i], i, end) for i, end in zip(starts, [*starts[1:], len(levels)], strict=True)]

    @cached_property
    def levels(self) -> list[LevelRecord]:
        """The finished levels of a prune run, with the model that was kept at the end of each; empty for other runs."""
        return level_records(self.epochs, self.config.train.batch_size)


def read_run(path: str) -> RunRecord:
    """Read the record of a run directory, given by path or URI.

    Raises ConfigError for a folder that is not a run directory, a run without a finished epoch, and damaged files.

    >>> run = read_run("run")
    >>> run.name, [level.level for level in run.levels]
    ('prune', ['all·b4/b4·zstd', 'c2·b4/b4·zstd'])
    """
    folder = Folder.at(path)
    config, metrics, summary = (folder.find(name) for name in ("config.json", "metrics.parquet", "summary.json"))
    if config is None:
        raise ConfigError(f"'{path}' is not a run directory: it has no config.json; {NAME_A_RUN}")
    if metrics is None:
        raise ConfigError(f"run '{path}' has no epochs yet: it has no metrics.parquet; {_NO_EPOCHS}")
    with reading(path, "config.json"):
        parsed = loads(SplitConfig, config.decode(), where=f"config.json in '{path}'")
    records = read_records(metrics, path)
    if not records:
        raise ConfigError(f"run '{path}' has no epochs yet: its metrics.parquet is empty; {_NO_EPOCHS}")
    rows = folder.find("devices.parquet")
    devices = () if rows is None else tuple(read_device_records(rows, path))
    finished = None if summary is None else read_summary(summary, path)
    return RunRecord(folder.path, parsed, tuple(records), finished, devices)


def read_records(data: bytes, path: str) -> list[EpochRecord]:
    """Return the epochs from the content of a `metrics.parquet`; ConfigError, which names `path`, if it is damaged."""
    with reading(path, "metrics.parquet"):
        return [EpochRecord.from_row(row) for row in pq.read_table(pa.BufferReader(data)).to_pylist()]


def read_device_records(data: bytes, path: str) -> list[DeviceRecord]:
    """Return the rows of a `devices.parquet`; ConfigError, which names `path`, if it is damaged."""
    with reading(path, "devices.parquet"):
        return [DeviceRecord.from_row(row) for row in pq.read_table(pa.BufferReader(data)).to_pylist()]


def read_summary(data: bytes, path: str) -> RunSummary:
    """Return the summary from the content of a `summary.json`; ConfigError, which names `path`, if it is damaged."""
    with reading(path, "summary.json"):
        return loads(RunSummary, data.decode(), where=f"summary.json in '{path}'")


@contextmanager
def reading(path: str, name: str) -> Iterator[None]:
    """Turn exceptions from reading a damaged file into a ConfigError that names the file."""
    try:
        yield
    except (ValueError, KeyError, TypeError, OSError, pa.ArrowException) as err:
        raise ConfigError(f"{name} in '{path}' cannot be read: {type(err).__name__}: {err}; restore the file") from None


def labels(runs: Sequence[RunRecord]) -> list[str]:
    """Return a printable label for each run: its name, followed by its folder or path where names are equal."""
    names = [run.name for run in runs]
    for locations in ([posixpath.basename(run.path) for run in runs], [run.path for run in runs]):
        counts = Counter(names)
        names = [
            f"{run.name} ({location})" if counts[name] > 1 else name
            for name, run, location in zip(names, runs, locations, strict=True)
        ]
    return ["".join(c if c.isprintable() else " " for c in name) for name in names]
