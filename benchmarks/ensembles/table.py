"""From builds of the ensemble benchmark to the rows of its table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ensembles.rows import NOTES
from ensembles.times import TIMES

FULL = "full"
"""The row of the base itself."""
_COSTS = tuple(f"{part}_{of}" for part in ("mib", "gmac", "latency_ms") for of in ("device_max", "total"))
_LOST = ("lost1", "lost2", "lost3")
_SPIKES = ("spikes_device_max", "spikes_total", "spikes_full")
STAGES = ("common", "submodels", "fusion")
"""Of a build from a trained base."""
Figures = dict[str, Any]


def figures(place: Path, name: str, seed: int) -> Figures:
    """Return what a build came to, without its confusion and paths: what a result keeps of it.

    Accuracies are in percent, as in the table.
    """
    summary, plan = _read(place / "summary.json"), _read(place / "plan.json")
    if (place / TIMES).exists():
        summary |= _read(place / TIMES)
    base = Path(_read(place / "config.json")["base"]["weights"]).parent
    records = [_read(path) for path in sorted(place.glob("submodels/*/record.json"))]
    return {
        "row": name,
        "seed": seed,
        "n": summary["n"],
        "accuracy": 100 * summary["accuracy"],
        "accuracy_own": 100 * statistics.mean(part["accuracy_own"] for part in summary["submodels"]),
        **{key: 100 * summary[key] for key in _LOST if key in summary},
        **_spikes(summary),
        **{key: summary[key] for key in (*_COSTS, "bytes_per_sample", "precision")},
        **{key: summary[key] for key in ("base_mib", "base_gmac", "base_latency_ms", "base_latency_like_ms")},
        "base_accuracy": 100 * summary["base_accuracy"],
        "base_bytes_per_sample": summary["bytes_per_sample_raw"],
        "base_seconds": sum(epoch["seconds"] for epoch in _read(base / "record.json")["epochs"]),
        "base_commit": _read(base.parent / "meta.json")["commit"],
        "kept": f"{summary['submodels'][0]['k']}/{plan['steps']}",
        "common_epochs": max((len(_read(path)["epochs"]) for path in place.glob("common/*/record.json")), default=0),
        "retrain_epochs": max(len(record["epochs"]) for record in records),
        "seconds": sum(summary["seconds"][stage] for stage in STAGES),
        "commit": _read(place / "meta.json")["commit"],
    }


def _spikes(summary: dict[str, Any]) -> dict[str, float]:
    """Return the spikes per image of a spiking ensemble, each sub-model on a device of its own, and of its base."""
    if "base_spikes" not in summary:
        return {}
    spikes = [part["spikes"] for part in summary["submodels"]]
    return dict(zip(_SPIKES, (max(spikes), sum(spikes), summary["base_spikes"]), strict=True))


def rows(builds: Sequence[Figures], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the table of some builds, rows in the order of `names`; each needs at least one.

    `below_full` is how many points a row is below the base of the same seeds.
    """
    return [_full(builds), *(_row([build for build in builds if build["row"] == name]) for name in names)]


def _row(found: Sequence[Figures]) -> dict[str, Any]:
    first = found[0]
    return {
        "name": first["row"],
        "n": first["n"],
        **_spread([build["accuracy"] for build in found]),
        "below_full": _mean(found, "base_accuracy") - _mean(found, "accuracy"),
        **{key: _mean(found, key) for key in _COSTS},
        "latency_ms_full": _mean(found, "base_latency_ms"),
        "latency_ms_full_like": _mean(found, "base_latency_like_ms"),
        "bytes_per_sample": round(_mean(found, "bytes_per_sample")),
        **{key: _mean(found, key) if key in first else None for key in _LOST},
        **{key: _mean(found, key) for key in _SPIKES if key in first},
        "accuracy_own": _mean(found, "accuracy_own"),
        "kept": first["kept"],
        "precision": first["precision"],
        "common_epochs": first["common_epochs"],
        "retrain_epochs": max(build["retrain_epochs"] for build in found),
        "build_seconds": _mean(found, "seconds"),
        "note": NOTES.get(first["row"], ""),
        "commits": sorted({build["commit"] for build in found}),
    }


def _full(builds: Sequence[Figures]) -> dict[str, Any]:
    """The base: accuracy and training from one build of each seed, latency from all."""
    bases = list({build["seed"]: build for build in builds}.values())
    latency = _mean(builds, "base_latency_ms")
    row = {"name": FULL, "n": 1, **_spread([base["base_accuracy"] for base in bases]), "below_full": 0.0}
    for part, value in (("mib", bases[0]["base_mib"]), ("gmac", bases[0]["base_gmac"]), ("latency_ms", latency)):
        row |= {f"{part}_device_max": value, f"{part}_total": value}
    return row | {
        "latency_ms_full": latency,
        "latency_ms_full_like": latency,
        "bytes_per_sample": bases[0]["base_bytes_per_sample"],
        **dict.fromkeys(_LOST),
        "accuracy_own": row["accuracy_mean"],
        "kept": "1",
        "precision": "fp32",
        "common_epochs": 0,
        "retrain_epochs": 0,
        "build_seconds": _mean(bases, "base_seconds"),
        "note": "the base; bytes_per_sample: the image",
        "commits": sorted({base["base_commit"] for base in bases}),
    }


def text(table: Sequence[dict[str, Any]]) -> str:
    """Return the table for people."""
    heads = ("lost 1", "lost 2", "lost 3", "MiB", "all")
    first = f"{'row':36}{'kept':>6}{'accuracy':>14}" + "".join(f"{head:>8}" for head in heads)
    lines = [f"{first}{'GMAC':>9}{'all':>9}{'ms':>8}{'bytes':>7}{'s':>7}"]
    for row in table:
        spread = "" if row["accuracy_std"] is None else f" ± {row['accuracy_std']:.2f}"
        lost = "".join(f"{'–' if row[key] is None else format(row[key], '.2f'):>8}" for key in _LOST)
        accuracy = f"{row['accuracy_mean']:.2f}{spread}"
        lines.append(
            f"{row['name']:36}{row['kept']:>6}{accuracy:>14}{lost}{row['mib_device_max']:8.3f}{row['mib_total']:8.3f}"
            f"{row['gmac_device_max']:9.4f}{row['gmac_total']:9.4f}{row['latency_ms_device_max']:8.2f}"
            f"{row['bytes_per_sample']:7}{row['build_seconds']:7.0f}"
        )
    notes = [f"{row['name']}: {row['note']}" for row in table if row["note"]]
    return "\n".join([*lines, *notes])


def _mean(found: Sequence[Figures], key: str) -> float:
    mean: float = statistics.mean(build[key] for build in found)
    return mean


def _spread(accuracies: list[float]) -> dict[str, Any]:
    return {
        "accuracy_mean": statistics.mean(accuracies),
        "accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "seeds": len(accuracies),
    }


def _read(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(path.read_text())
    return tree
