"""The traffic benchmark's table, from run records alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from raysplit.folders.run_dir import RunDir
from raysplit.train.traffic import DOWN, UP

REFERENCE = "split fp32"
BELOW = 0.01
"""The target of `mb_to_target`: the reference's final validation accuracy (mean of seeds) less this."""

_NO_CUT = ("unsplit", "raw images uploaded once")
"""Rows that are not run: the reference trains the same."""

Row = dict[str, Any]


def rows(places: dict[str, list[Path]], kept: Sequence[Row] = ()) -> list[Row]:
    """Return the rows of the table; `places` are the run directories of each row, one for each seed.

    A row without runs is taken from `kept`, an earlier table, as it is; KeyError where that lacks it too.
    """
    runs = {name: [_read(path) for path in paths] for name, paths in places.items()}
    against = _against(runs[REFERENCE], kept)
    table: list[Row] = []
    for name, group in runs.items():
        found = _lines(name, group, against) if group else [row for row in kept if _is_of(row, name)]
        if not found:
            raise KeyError(name)
        table += found
    return table


@dataclass(frozen=True)
class _Against:
    """What rows are compared with."""

    full: float
    """Bytes of the reference."""
    raw: float
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


def _against(reference: list[Row], kept: Sequence[Row]) -> _Against:
    if reference:
        full = statistics.mean(sum(_frames(row) for row in run["rows"]) for run in reference)
        return _Against(full, reference[0]["summary"]["bytes_raw_upload"], _val_accuracy(reference))
    row = next(row for row in kept if row["name"] == REFERENCE)
    full, val = 1e6 * row["frame_mb"], row.get("val_accuracy_mean")
    return _Against(full, row["times_less_than_upload"] * full, None if val is None else val / 100)


def _is_of(row: Row, name: str) -> bool:
    """Return whether a row of a table came from the runs of a name; a family has a row for each level."""
    return row["name"] == name or row["name"].startswith(f"{name}: ") or (name == REFERENCE and row["name"] in _NO_CUT)


def _lines(name: str, group: list[Row], against: _Against) -> list[Row]:
    """Return the rows of the runs of a name."""
    if group[0]["rows"][-1]["test_accuracy"] is None:
        reached = [_to_target(run["rows"], against.target) for run in group]
        own = _line(name, group, [run["summary"]["accuracy"] for run in group], reached, against)
        return [*_without_a_cut(own, against.raw, group), own] if name == REFERENCE else [own]
    ends = [i for i, row in enumerate(group[0]["rows"]) if row["test_accuracy"] is not None]
    found = []
    for first, last in zip([0, *(i + 1 for i in ends)], ends, strict=False):
        accuracies = [run["rows"][last]["test_accuracy"] for run in group]
        # A level by transfer needs the levels before it: their bytes and epochs count.
        so_far = [run | {"rows": run["rows"][: last + 1]} for run in group]
        member = _line(f"{name}: {group[0]['rows'][last]['level']}", so_far, accuracies, [None], against)
        stage = [sum(row["train_s"] for row in run["rows"][first : last + 1]) for run in group]
        found.append(member | {"stage_epochs": last + 1 - first, "stage_seconds": statistics.mean(stage)})
    return found


def _line(name: str, parts: list[Row], accuracies: list[float], reached: list[float | None], against: _Against) -> Row:
    payload = statistics.mean(sum(_payload(row) for row in part["rows"]) for part in parts)
    frame = statistics.mean(sum(_frames(row) for row in part["rows"]) for part in parts)
    return {
        "name": name,
        "accuracy_mean": 100 * statistics.mean(accuracies),
        "accuracy_std": 100 * statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "val_accuracy_mean": 100 * _val_accuracy(parts),
        "seeds": len(accuracies),
        "payload_mb": payload / 1e6,
        "frame_mb": frame / 1e6,
        "times_less": against.full / frame,
        "times_less_than_upload": against.raw / frame,
        "mb_to_target": statistics.mean(x for x in reached if x is not None) if None not in reached else None,
        "seconds": statistics.mean(sum(row["train_s"] for row in part["rows"]) for part in parts),
        "epochs": len(parts[0]["rows"]),
        "levels": list(dict.fromkeys(row["level"] for row in parts[0]["rows"])),
        "commits": sorted({part["commit"] for part in parts}),
        "machines": sorted({part["machine"] for part in parts}),
    }


def _val_accuracy(runs: list[Row]) -> float:
    return statistics.mean(run["rows"][-1]["val_accuracy"] for run in runs)


def _without_a_cut(split: Row, raw: float, group: list[Row]) -> list[Row]:
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
        split | nothing | {"name": _NO_CUT[0], "mb_to_target": None, "levels": []},
        split | sent | {"name": _NO_CUT[1], "mb_to_target": upload, "levels": []},
    ]


def _read(path: Path) -> Row:
    place = RunDir.at(str(path))
    about = json.loads((path / "meta.json").read_text())
    return {"rows": place.rows(), "summary": place.summary(), "commit": about["commit"], "machine": about["machine"]}


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
