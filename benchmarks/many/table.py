"""The table of the benchmark of many devices, from the results of its runs alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from traffic.runs import RunResult

from many.rows import CENTRAL, V1, Row

SHARE = 0.95
"""The target of `gb_to_95`: this share of the central run's final validation accuracy."""
LINK = "wifi"
"""The link of `seconds`."""
Line = dict[str, Any]


def lines(runs: Iterable[RunResult], rows: Mapping[str, Row]) -> list[Line]:
    """Return a line for each row that has runs, in the order of `rows`; none without the central run."""
    groups: dict[str, list[RunResult]] = {name: [] for name in rows}
    for run in runs:
        if run.row in groups:
            groups[run.row].append(run)
    if not groups[CENTRAL]:
        return []
    trained = {name for name, group in groups.items() if group}
    for row in rows.values():
        if row.method == V1 and not groups[row.name]:
            groups[row.name] = _like_fedavg(groups, row.shards)
    target = SHARE * statistics.mean(run.epochs[-1].val_accuracy for run in groups[CENTRAL])
    found = [_line(rows[name], group, target, groups) for name, group in groups.items() if group]
    return [line | {"trained": line["name"] in trained} for line in found]


def _like_fedavg(groups: Mapping[str, Sequence[RunResult]], shards: str) -> list[RunResult]:
    """Return what SplitFed v1 would come to: FedAvg's weights, to the bit, and SplitFed v2's messages.

    How long it would take is not known.
    """
    messages = {run.seed: run.epochs for run in groups[f"SplitFed v2, {shards}"]}
    return [
        run.replaced(
            epochs=[
                sent.replaced(val_accuracy=epoch.val_accuracy, predicted_s={})
                for epoch, sent in zip(run.epochs, messages[run.seed], strict=True)
            ]
        )
        for run in groups[f"FedAvg, {shards}"]
        if run.seed in messages
    ]


def _line(row: Row, runs: Sequence[RunResult], target: float, groups: Mapping[str, Sequence[RunResult]]) -> Line:
    v1 = groups.get(f"{V1}, {row.shards}", [])
    reach = statistics.mean(run.epochs[-1].val_accuracy for run in v1) if v1 else None
    accuracies = [100 * run.accuracy for run in runs]
    links = runs[0].epochs[0].predicted_s
    predicted = {
        link: statistics.mean(sum(epoch.predicted_s[link] for epoch in run.epochs) for run in runs) for link in links
    }
    return {
        "name": row.name,
        "mode": row.mode,
        "shards": row.shards,
        "devices": row.devices,
        "accuracy_mean": statistics.mean(accuracies),
        "accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "seeds": len(runs),
        "bytes_per_device": round(statistics.mean(run.traffic for run in runs) / row.devices),
        "gb_to_95": _gigabytes(row, runs, target),
        "gb_to_v1": None if reach is None else _gigabytes(row, runs, reach),
        "seconds": predicted.get(LINK),
        "predicted_s": predicted,
        "val_accuracy_mean": 100 * statistics.mean(run.epochs[-1].val_accuracy for run in runs),
        "rounds": len(runs[0].epochs),
        "killed_in_each_round": row.killed,
        "compute_s": statistics.mean(sum(epoch.train_s for epoch in run.epochs) for run in runs),
        "commits": sorted({commit for run in runs for commit in run.commits}),
        "machines": sorted({machine for run in runs for machine in run.machines}),
    }


def _gigabytes(row: Row, runs: Sequence[RunResult], target: float) -> float | None:
    """Return the GB, of all devices, to the first round whose validation accuracy is `target`; None: not in all runs.

    While devices learn alone before their codes cross, it is the accuracy of their own heads, and does not count.
    """
    if row.mode == CENTRAL:
        return None
    reached = []
    for run in runs:
        totals = zip(run.epochs, accumulate(epoch.frame_bytes for epoch in run.epochs), strict=True)
        counts = ((epoch, size) for epoch, size in totals if row.mode == "fedavg" or epoch.mode != "alone")
        reached.append(next((size / 1e9 for epoch, size in counts if epoch.val_accuracy >= target), None))
    found = [size for size in reached if size is not None]
    return statistics.mean(found) if len(found) == len(reached) else None


def as_text(table: Sequence[Line]) -> str:
    """Return the table for people."""
    found = [f"{'row':60}{'accuracy':>14}{'MB a device':>13}{'GB to 95 %':>12}{'GB to v1':>10}{f's on {LINK}':>11}"]
    for line in table:
        spread = "" if line["accuracy_std"] is None else f" ± {line['accuracy_std']:.2f}"
        accuracy = f"{line['accuracy_mean']:.2f}{spread}"
        keys = ("gb_to_95", "gb_to_v1", "seconds")
        to_95, to_v1, seconds = ("–" if line[key] is None else f"{line[key]:,.3g}" for key in keys)
        megabytes = f"{line['bytes_per_device'] / 1e6:,.4g}"
        found.append(f"{line['name']:60}{accuracy:>14}{megabytes:>13}{to_95:>12}{to_v1:>10}{seconds:>11}")
    return "\n".join(found)
