"""Reading run records: `config.json`, `metrics.parquet` and `summary.json` of each run directory."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysplit.errors import ConfigError
from raysplit.members import Member, members
from raysplit.storage import Folder

_RECORD = ("config.json", "metrics.parquet", "summary.json")


@dataclass(frozen=True)
class Run:
    """One run's record; `summary` is None for a run that is still going or was stopped."""

    name: str
    path: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any] | None

    @property
    def planned(self) -> int:
        """Epochs that the config asks for."""
        return self.config["train"]["epochs"]

    @cached_property
    def traffic(self) -> list[int]:
        """Bytes of training traffic, both ways, from the start to the end of each epoch."""
        return list(accumulate(self.moved(row, "up_") + self.moved(row, "down_") for row in self.rows))

    @cached_property
    def phases(self) -> list[tuple[str, int, int]]:
        """Level, first epoch and the epoch after the last (from 0) of each stretch at one level."""
        levels = [row["level"] for row in self.rows]
        starts = [i for i, level in enumerate(levels) if i == 0 or level != levels[i - 1]]
        return [(levels[a], a, b) for a, b in zip(starts, [*starts[1:], len(levels)], strict=True)]

    @cached_property
    def members(self) -> list[Member]:
        """The models that were kept at the end of each level: a prune run's, so far."""
        return members(self.rows, self.config["train"]["batch_size"])

    def total(self, key: str) -> Any:
        """Return a column's sum over the epochs so far."""
        return sum(row[key] for row in self.rows)

    @staticmethod
    def moved(row: dict[str, Any], direction: str) -> int:
        """Return an epoch's bytes of all kinds in one direction, `up_` or `down_`."""
        return sum(value for key, value in row.items() if key.startswith(direction))


def read_run(path: str) -> Run:
    """Read the record under a path or URI.

    Raises ConfigError when the folder is not a run's, when no epoch has ended yet, and for damaged files.
    """
    folder = Folder.at(path)
    config, metrics, summary = (folder.find(name) for name in _RECORD)
    if config is None:
        raise ConfigError(f"'{path}' is not a run directory: it has no config.json")
    if metrics is None:
        raise ConfigError(f"run '{path}' has no epochs yet: it has no metrics.parquet")
    with whole(path, "config.json"):
        tree = json.loads(config)
        name, _ = tree["name"], tree["train"]["epochs"]
    with whole(path, "metrics.parquet"):
        rows = pq.read_table(pa.BufferReader(metrics)).to_pylist()
    with whole(path, "summary.json"):
        done = None if summary is None else json.loads(summary)
    if not rows:
        raise ConfigError(f"run '{path}' has no epochs yet: its metrics.parquet is empty")
    return Run(name, folder.path, tree, rows, done)


@contextmanager
def whole(path: str, name: str) -> Iterator[None]:
    """Turn what a damaged file raises into an error that names it."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as err:
        raise ConfigError(f"{name} in '{path}' cannot be read: {type(err).__name__}: {err}") from None


def labels(runs: Sequence[Run]) -> list[str]:
    """Return a printable name for each run: its recipe's, with the folder (or the path) where two are the same."""
    names = [run.name for run in runs]
    for tail in (lambda run: posixpath.basename(run.path), lambda run: run.path):
        seen = Counter(names)
        names = [f"{run.name} ({tail(run)})" if seen[name] > 1 else name for name, run in zip(names, runs, strict=True)]
    return ["".join(c if c.isprintable() else " " for c in name) for name in names]
