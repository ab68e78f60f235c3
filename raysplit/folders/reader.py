"""Reading run records: `config.json`, `metrics.parquet` and `summary.json` of each run's folder, without torch."""

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
from raysplit.records.epoch import EpochRecord
from raysplit.records.levels import LevelRecord, level_records
from raysplit.records.summary import RunSummary
from raysplit.utils.storage import Folder


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind; `summary` is None for a run that is still going or was stopped."""

    path: str
    config: SplitConfig
    epochs: tuple[EpochRecord, ...]
    """Those that have ended; at least one."""
    summary: RunSummary | None

    @property
    def name(self) -> str:
        """Of the recipe."""
        return self.config.name

    @property
    def planned(self) -> int:
        """Epochs that the config asks for."""
        return self.config.train.epochs

    @cached_property
    def traffic(self) -> list[int]:
        """Training bytes, both ways, from the start to the end of each epoch."""
        return list(accumulate(record.traffic for record in self.epochs))

    @cached_property
    def phases(self) -> list[tuple[str, int, int]]:
        """Level, first epoch and the epoch after the last (from 0) of each stretch at one level."""
        levels = [record.level for record in self.epochs]
        starts = [i for i, level in enumerate(levels) if i == 0 or level != levels[i - 1]]
        return [(levels[a], a, b) for a, b in zip(starts, [*starts[1:], len(levels)], strict=True)]

    @cached_property
    def levels(self) -> list[LevelRecord]:
        """The models that were kept at the end of each level: a prune run's, so far."""
        return level_records(self.epochs, self.config.train.batch_size)


def read_run(path: str) -> RunRecord:
    """Read the record under a path or URI.

    Raises ConfigError when the folder is not a run's, when no epoch has ended yet, and for damaged files.
    """
    folder = Folder.at(path)
    config, metrics, summary = (folder.find(name) for name in ("config.json", "metrics.parquet", "summary.json"))
    if config is None:
        raise ConfigError(f"'{path}' is not a run directory: it has no config.json")
    if metrics is None:
        raise ConfigError(f"run '{path}' has no epochs yet: it has no metrics.parquet")
    with reading(path, "config.json"):
        parsed = loads(SplitConfig, config.decode(), where=f"config.json in '{path}'")
    records = read_records(metrics, path)
    if not records:
        raise ConfigError(f"run '{path}' has no epochs yet: its metrics.parquet is empty")
    done = None if summary is None else read_summary(summary, path)
    return RunRecord(folder.path, parsed, tuple(records), done)


def read_records(data: bytes, path: str) -> list[EpochRecord]:
    """Return the epochs in the bytes of a `metrics.parquet`; ConfigError, which names `path`, where it is damaged."""
    with reading(path, "metrics.parquet"):
        return [EpochRecord.from_row(row) for row in pq.read_table(pa.BufferReader(data)).to_pylist()]


def read_summary(data: bytes, path: str) -> RunSummary:
    """Return the summary in the bytes of a `summary.json`; ConfigError, which names `path`, where it is damaged."""
    with reading(path, "summary.json"):
        return loads(RunSummary, data.decode(), where=f"summary.json in '{path}'")


@contextmanager
def reading(path: str, name: str) -> Iterator[None]:
    """Turn what a damaged file raises into an error that names it."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as err:
        raise ConfigError(f"{name} in '{path}' cannot be read: {type(err).__name__}: {err}") from None


def labels(runs: Sequence[RunRecord]) -> list[str]:
    """Return a printable name for each run: its recipe's, with the folder (or the path) where two are the same."""
    names = [run.name for run in runs]
    for tail in (lambda run: posixpath.basename(run.path), lambda run: run.path):
        seen = Counter(names)
        names = [f"{run.name} ({tail(run)})" if seen[name] > 1 else name for name, run in zip(names, runs, strict=True)]
    return ["".join(c if c.isprintable() else " " for c in name) for name in names]
