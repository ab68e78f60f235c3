"""The traffic benchmark's table, from run records alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.records.epoch import EpochRecord, total_traffic
from raysplit.records.summary import RunSummary

REFERENCE = "split fp32"
BELOW = 0.01
"""The target of `mb_to_target`: the reference's final validation accuracy (mean of seeds) less this."""

_NO_CUT = ("unsplit", "raw images uploaded once")
"""Rows that are not run: the reference trains the same."""

Row = dict[str, Any]
"""A line of the result file."""


@dataclass(frozen=True)
class Run:
    """A finished run and where it was trained."""

    epochs: tuple[EpochRecord, ...]
    summary: RunSummary
    commit: str
    machine: str

    @property
    def traffic(self) -> int:
        """Training bytes in both directions."""
        return total_traffic(self.epochs)

    @property
    def payload(self) -> int:
        """The same without our headers."""
        return self.traffic - sum(record.bytes.up_headers + record.bytes.down_headers for record in self.epochs)


def rows(run_dirs: dict[str, list[Path]], kept: Sequence[Row] = ()) -> list[Row]:
    """Return the rows of the table; `run_dirs` are the run directories of each row, one for each seed.

    A row without runs is taken from `kept`, an earlier table, unchanged; KeyError where that lacks it too.
    """
    runs = {name: [_read(path) for path in paths] for name, paths in run_dirs.items()}
    reference = _reference(runs[REFERENCE], kept)
    table: list[Row] = []
    for name, group in runs.items():
        lines = _lines(name, group, reference) if group else [row for row in kept if _belongs_to(row, name)]
        if not lines:
            raise KeyError(name)
        table += lines
    return table


@dataclass(frozen=True)
class _Reference:
    """What rows are compared with."""

    frame_bytes: float
    """Training bytes of the reference."""
    raw_bytes: float
    """Bytes of the raw images."""
    val_accuracy: float | None
    """Of the reference, 0..1."""

    @property
    def target(self) -> float:
        if self.val_accuracy is None:
            raise ValueError(
                f"the result file does not say what `{REFERENCE}` had on validation images; train it again"
            )
        return self.val_accuracy - BELOW


def _reference(runs: Sequence[Run], kept: Sequence[Row]) -> _Reference:
    if runs:
        frame_bytes = statistics.mean(run.traffic for run in runs)
        return _Reference(frame_bytes, runs[0].summary.bytes_raw_upload, _val_accuracy(runs))
    row = next(row for row in kept if row["name"] == REFERENCE)
    frame_bytes, val = 1e6 * row["frame_mb"], row.get("val_accuracy_mean")
    raw_bytes = row["times_less_than_upload"] * frame_bytes
    return _Reference(frame_bytes, raw_bytes, None if val is None else val / 100)


def _belongs_to(row: Row, name: str) -> bool:
    """Return whether a row of a table came from the runs of a name; a family has a row for each level."""
    own: str = row["name"]
    return own == name or own.startswith(f"{name}: ") or (name == REFERENCE and own in _NO_CUT)


def _lines(name: str, group: list[Run], reference: _Reference) -> list[Row]:
    """Return the rows of the runs of a name."""
    epochs = group[0].epochs
    if epochs[-1].test_accuracy is None:
        reached = [_megabytes_to_target(run.epochs, reference.target) for run in group]
        own = _line(name, group, [run.summary.accuracy for run in group], reached, reference)
        return [*_without_a_cut(own, reference.raw_bytes, group), own] if name == REFERENCE else [own]
    ends = [i for i, record in enumerate(epochs) if record.test_accuracy is not None]
    lines = []
    for first, last in zip([0, *(i + 1 for i in ends)], ends, strict=False):
        accuracies = [run.epochs[last].test_accuracy or 0.0 for run in group]
        # A level by transfer needs the levels before it: their bytes and epochs count.
        so_far = [replace(run, epochs=run.epochs[: last + 1]) for run in group]
        member = _line(f"{name}: {epochs[last].level}", so_far, accuracies, [None], reference)
        stage = [_train_seconds(run.epochs[first : last + 1]) for run in group]
        lines.append(member | {"stage_epochs": last + 1 - first, "stage_seconds": statistics.mean(stage)})
    return lines


def _line(
    name: str, runs: list[Run], accuracies: list[float], reached: list[float | None], reference: _Reference
) -> Row:
    frame = statistics.mean(run.traffic for run in runs)
    return {
        "name": name,
        "accuracy_mean": 100 * statistics.mean(accuracies),
        "accuracy_std": 100 * statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "val_accuracy_mean": 100 * _val_accuracy(runs),
        "seeds": len(accuracies),
        "payload_mb": statistics.mean(run.payload for run in runs) / 1e6,
        "frame_mb": frame / 1e6,
        "times_less": reference.frame_bytes / frame,
        "times_less_than_upload": reference.raw_bytes / frame,
        "mb_to_target": statistics.mean(x for x in reached if x is not None) if None not in reached else None,
        "seconds": statistics.mean(_train_seconds(run.epochs) for run in runs),
        "epochs": len(runs[0].epochs),
        "levels": list(dict.fromkeys(record.level for record in runs[0].epochs)),
        "commits": sorted({run.commit for run in runs}),
        "machines": sorted({run.machine for run in runs}),
    }


def _train_seconds(epochs: Sequence[EpochRecord]) -> float:
    return sum(record.train_s for record in epochs)


def _val_accuracy(runs: Sequence[Run]) -> float:
    return statistics.mean(run.epochs[-1].val_accuracy for run in runs)


def _without_a_cut(split: Row, raw_bytes: float, group: list[Run]) -> list[Row]:
    """The unsplit network on the device, and on a server that was sent the images: the same training."""
    label_bytes = group[0].epochs[0].bytes.up_labels
    upload = (raw_bytes + label_bytes) / 1e6
    split = split | {"seconds": None, "commits": []}
    nothing = {"payload_mb": 0.0, "frame_mb": 0.0, "times_less": None, "times_less_than_upload": None}
    sent = {
        "payload_mb": upload,
        "frame_mb": upload,
        "times_less": split["frame_mb"] / upload,
        "times_less_than_upload": raw_bytes / (raw_bytes + label_bytes),
    }
    return [
        split | nothing | {"name": _NO_CUT[0], "mb_to_target": None, "levels": []},
        split | sent | {"name": _NO_CUT[1], "mb_to_target": upload, "levels": []},
    ]


def _read(path: Path) -> Run:
    run = RunDir.at(str(path))
    summary = run.summary()
    if summary is None:
        raise ConfigError(f"the run in '{path}' has not ended: it has no summary.json")
    origin = json.loads((path / "meta.json").read_text())
    return Run(tuple(run.records()), summary, origin["commit"], origin["machine"])


def _megabytes_to_target(epochs: Sequence[EpochRecord], target: float) -> float | None:
    """Return the MB sent up to the first epoch whose validation accuracy reaches the target, if one does.

    Epochs in which the device learns alone do not count: it is the accuracy of its own head.
    """
    totals = zip(epochs, accumulate(record.traffic for record in epochs), strict=True)
    reached = (size / 1e6 for record, size in totals if record.mode != "alone" and record.val_accuracy >= target)
    return next(reached, None)
