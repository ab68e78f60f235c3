"""The table of a traffic benchmark, from the results of its runs alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from traffic.rows import ALONE
from traffic.runs import EpochResult, RunResult

BELOW = 0.01
"""The target of `mb_to_target`: the reference's final validation accuracy (mean of seeds) less this."""

Row = dict[str, Any]
"""A line of the result file."""


def rows(runs: Iterable[RunResult], names: Sequence[str], reference: str, uploads: Mapping[str, int]) -> list[Row]:
    """Return the lines of the table: those of each name that has runs, in this order; none without the reference's.

    The unsplit network and the upload of the data are lines too, without runs of their own: split training at fp32
    is equal to them. `uploads` are the bytes of the training images, labels left out, for each way to store them.
    """
    groups: dict[str, list[RunResult]] = {name: [] for name in names}
    for run in runs:
        if run.row in groups:
            groups[run.row].append(run)
    if not groups[reference]:
        return []
    table = _Table(groups[reference])
    lines = [line for name, group in groups.items() if group for line in table.lines(name, group)]
    return [table.unsplit(), *_alone_first(lines), *(table.upload(name, size) for name, size in uploads.items())]


def _alone_first(lines: list[Row]) -> list[Row]:
    return sorted(lines, key=lambda line: line["name"] != ALONE)


class _Table:
    """The lines, and what they are compared with."""

    def __init__(self, reference: list[RunResult]):
        self._reference = reference
        self._bytes = statistics.mean(run.traffic for run in reference)
        self._raw = reference[0].raw_bytes
        self._target = _val_accuracy(reference) - BELOW

    def lines(self, name: str, group: list[RunResult]) -> list[Row]:
        """Return the line of a row; of a family, a line for each level."""
        epochs = group[0].epochs
        ends = [index for index, epoch in enumerate(epochs) if epoch.test_accuracy is not None]
        if not ends:
            line = self._line(name, group, [run.accuracy for run in group])
            return [line | _nothing_crosses() if name == ALONE else line]
        found = []
        for first, last in zip([0, *(end + 1 for end in ends)], ends, strict=False):
            accuracies = [run.epochs[last].test_accuracy or 0.0 for run in group]
            # A level by transfer needs the levels before it: their bytes and epochs count.
            so_far = [run.replaced(epochs=run.epochs[: last + 1]) for run in group]
            stage = [_train_seconds(run.epochs[first : last + 1]) for run in group]
            line = self._line(f"{name}: {epochs[last].level}", so_far, accuracies) | {"mb_to_target": None}
            found.append(line | {"stage_epochs": last + 1 - first, "stage_seconds": statistics.mean(stage)})
        return found

    def unsplit(self) -> Row:
        """Return the line of the network in one piece, where nothing crosses."""
        return self._same_training("unsplit") | _nothing_crosses()

    def upload(self, name: str, size: int) -> Row:
        """Return the line of a server that was sent the training images, of `size` bytes, and their labels."""
        labels = self._reference[0].epochs[0].label_bytes
        sent = size + labels
        return self._same_training(name) | {
            "payload_mb": sent / 1e6,
            "frame_mb": sent / 1e6,
            "times_less": self._bytes / sent,
            "times_less_than_upload": self._raw / sent,
            "mb_to_target": sent / 1e6,
        }

    def _same_training(self, name: str) -> Row:
        line = self._line(name, self._reference, [run.accuracy for run in self._reference])
        return line | {"seconds": None, "levels": [], "commits": [], "machines": []}

    def _line(self, name: str, runs: list[RunResult], accuracies: list[float]) -> Row:
        frame = statistics.mean(run.traffic for run in runs)
        reached = [_megabytes_to(run.epochs, self._target) for run in runs]
        return {
            "name": name,
            "accuracy_mean": 100 * statistics.mean(accuracies),
            "accuracy_std": 100 * statistics.stdev(accuracies) if len(accuracies) > 1 else None,
            "val_accuracy_mean": 100 * _val_accuracy(runs),
            "seeds": len(accuracies),
            "payload_mb": statistics.mean(run.payload for run in runs) / 1e6,
            "frame_mb": frame / 1e6,
            "times_less": self._bytes / frame,
            "times_less_than_upload": self._raw / frame,
            "mb_to_target": statistics.mean(x for x in reached if x is not None) if None not in reached else None,
            "seconds": statistics.mean(_train_seconds(run.epochs) for run in runs),
            "epochs": len(runs[0].epochs),
            "levels": list(dict.fromkeys(epoch.level for epoch in runs[0].epochs)),
            "commits": sorted({commit for run in runs for commit in run.commits}),
            "machines": sorted({machine for run in runs for machine in run.machines}),
        }


def _nothing_crosses() -> Row:
    nothing = {"times_less": None, "times_less_than_upload": None, "mb_to_target": None}
    return {"payload_mb": 0.0, "frame_mb": 0.0, "levels": [], **nothing}


def _train_seconds(epochs: Sequence[EpochResult]) -> float:
    return sum(epoch.train_s for epoch in epochs)


def _val_accuracy(runs: Sequence[RunResult]) -> float:
    return statistics.mean(run.epochs[-1].val_accuracy for run in runs)


def _megabytes_to(epochs: Sequence[EpochResult], target: float) -> float | None:
    """Return the MB sent up to the first epoch whose validation accuracy reaches the target, if one does.

    Epochs in which the device learns alone do not count: it is the accuracy of its own head.
    """
    totals = zip(epochs, accumulate(epoch.frame_bytes for epoch in epochs), strict=True)
    reached = (size / 1e6 for epoch, size in totals if epoch.mode != "alone" and epoch.val_accuracy >= target)
    return next(reached, None)


def as_text(table: Sequence[Row]) -> str:
    """Return the table for people."""
    lines = [f"{'row':52}{'accuracy':>14}{'MB':>11}{'times less':>12}{'than upload':>12}{'MB to target':>13}{'s':>7}"]
    for row in table:
        keys = ("frame_mb", "times_less", "times_less_than_upload", "mb_to_target", "seconds")
        mb, less, upload, target, time = ("–" if row[key] is None else f"{row[key]:,.4g}" for key in keys)
        spread = "" if row["accuracy_std"] is None else f" ± {row['accuracy_std']:.2f}"
        accuracy = f"{row['accuracy_mean']:.2f}{spread}"
        lines.append(f"{row['name']:52}{accuracy:>14}{mb:>11}{less:>12}{upload:>12}{target:>13}{time:>7}")
    return "\n".join(lines)
