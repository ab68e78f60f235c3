"""The traffic benchmark's table, from run records alone."""

from __future__ import annotations

import json
import statistics
from itertools import accumulate
from pathlib import Path
from typing import Any

from raysplit.train.record import RunDir
from raysplit.train.traffic import DOWN, UP

REFERENCE = "split fp32"
BELOW = 0.01
"""The target of `mb_to_target`: the reference's final validation accuracy (mean of seeds) less this."""

Row = dict[str, Any]


def rows(places: dict[str, list[Path]]) -> list[Row]:
    """Return the rows of the table; `places` are the run directories of each row, one for each seed."""
    runs = {name: [_read(path) for path in paths] for name, paths in places.items()}
    reference = runs[REFERENCE]
    target = statistics.mean(run["rows"][-1]["val_accuracy"] for run in reference) - BELOW
    full = statistics.mean(sum(_frames(row) for row in run["rows"]) for run in reference)
    raw = reference[0]["summary"]["bytes_raw_upload"]

    def line(name: str, parts: list[Row], accuracies: list[float], reached: list[float | None]) -> Row:
        payload = statistics.mean(sum(_payload(row) for row in part["rows"]) for part in parts)
        frame = statistics.mean(sum(_frames(row) for row in part["rows"]) for part in parts)
        return {
            "name": name,
            "accuracy_mean": 100 * statistics.mean(accuracies),
            "accuracy_std": 100 * statistics.stdev(accuracies) if len(accuracies) > 1 else None,
            "seeds": len(accuracies),
            "payload_mb": payload / 1e6,
            "frame_mb": frame / 1e6,
            "times_less": full / frame,
            "times_less_than_upload": raw / frame,
            "mb_to_target": statistics.mean(x for x in reached if x is not None) if None not in reached else None,
            "seconds": statistics.mean(sum(row["train_s"] for row in part["rows"]) for part in parts),
            "epochs": len(parts[0]["rows"]),
            "levels": list(dict.fromkeys(row["level"] for row in parts[0]["rows"])),
            "commits": sorted({part["commit"] for part in parts}),
        }

    table = []
    for name, group in runs.items():
        if name == REFERENCE:
            table += _without_a_cut(line(name, group, [r["summary"]["accuracy"] for r in group], [0.0]), raw, group)
        if group[0]["rows"][-1]["test_accuracy"] is None:
            reached = [_to_target(run["rows"], target) for run in group]
            table.append(line(name, group, [run["summary"]["accuracy"] for run in group], reached))
            continue
        ends = [i for i, row in enumerate(group[0]["rows"]) if row["test_accuracy"] is not None]
        for first, last in zip([0, *(i + 1 for i in ends)], ends, strict=False):
            accuracies = [run["rows"][last]["test_accuracy"] for run in group]
            # A level by transfer needs the levels before it: their bytes and epochs count.
            so_far = [run | {"rows": run["rows"][: last + 1]} for run in group]
            member = line(f"{name}: {group[0]['rows'][last]['level']}", so_far, accuracies, [None])
            stage = [sum(row["train_s"] for row in run["rows"][first : last + 1]) for run in group]
            table.append(member | {"stage_epochs": last + 1 - first, "stage_seconds": statistics.mean(stage)})
    return table


def _without_a_cut(split: Row, raw: int, group: list[Row]) -> list[Row]:
    """The unsplit network on the device, and on a server that was sent the images: the same training."""
    images = len(group[0]["rows"]) and group[0]["rows"][0]["up_labels"]
    upload = (raw + images) / 1e6
    split = split | {"seconds": None, "commits": []}
    nothing = {"payload_mb": 0.0, "frame_mb": 0.0, "times_less": None, "times_less_than_upload": None}
    sent = {
        "payload_mb": upload,
        "frame_mb": upload,
        "times_less": split["frame_mb"] / upload,
        "times_less_than_upload": raw / (raw + images),
    }
    return [
        split | nothing | {"name": "unsplit", "mb_to_target": None, "levels": []},
        split | sent | {"name": "raw images uploaded once", "mb_to_target": upload, "levels": []},
    ]


def _read(path: Path) -> Row:
    place = RunDir.at(str(path))
    commit = json.loads((path / "meta.json").read_text())["commit"]
    return {"rows": place.rows(), "summary": place.summary(), "commit": commit}


def _payload(row: Row) -> int:
    return sum(row[kind] for kind in (*UP, *DOWN) if not kind.endswith("headers"))


def _frames(row: Row) -> int:
    return sum(row[kind] for kind in (*UP, *DOWN))


def _to_target(run: list[Row], target: float) -> float | None:
    """Return the MB sent up to the first epoch whose validation accuracy reaches the target, if one does.

    Epochs in which the device learns alone do not count: it is the accuracy of its own head.
    """
    epochs = zip(run, accumulate(_frames(row) for row in run), strict=True)
    reached = (size / 1e6 for row, size in epochs if row["mode"] != "alone" and row["val_accuracy"] >= target)
    return next(reached, None)
