"""Accuracy against the cost of a device, for ensembles of sub-models and their baselines.

    python benchmarks/ensemble.py --family vit|cnn|snn --data parquet:DIR --preset quick|full
        [--work DIR] [--only ROW …] [--seeds N …] [--table]

Each row and seed is a build of its own under --work: one that was stopped goes on where it was, one that is done is
not built again. All rows of a seed share one trained base; `--only full` trains that and nothing else. `--only` and
`--seeds` let several processes share the work: what one is at, another waits for. When every row has a build, writes
benchmarks/results/ensemble_FAMILY_DATASET.json (preset quick: …_quick.json) and a plot beside it; `seeds` of a row
says how many builds it is the mean of. A table for people, then one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from ensemble_plot import plot
from ensemble_rows import FITS, KEEP, NOTES, PRESETS, ROWS, TAKES, dataset, names, of_base, seeds, start
from filelock import FileLock
from meta import RESULTS, meta, save

from raysplit.config import EnsembleConfig
from raysplit.ensemble.base import TEACHER, WEIGHTS, facts_of, fit_base, load_base, normalisation, teach
from raysplit.ensemble.build import build_ensemble, claim
from raysplit.ensemble.precision import pack, unpack
from raysplit.storage import Folder

FULL = "full"
"""The row of the base itself."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=KEEP, default="vit")
    parser.add_argument(
        "--data", default="mnist5k", help="default mnist5k; the committed results: parquet:DIR of CIFAR-10"
    )
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--work", default="~/raysplit_benchmarks/ensemble", help="where the builds are kept")
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=[FULL, *ROWS])
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--table", action="store_true", help="build nothing; the table of the builds that are done")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(args.family, args.data, args.preset, Path(args.work).expanduser())
    for seed in () if args.table else args.seeds or study.seeds:
        for name in args.only or names(args.preset):
            if name == FULL:
                study.trained(seed)
            else:
                study.build(name, seed)
    planned = {name: [study.place(name, seed) for seed in study.seeds] for name in names(args.preset)}
    places = {
        name: [place for place in builds if (place / "summary.json").exists()] for name, builds in planned.items()
    }
    missing = [place.name for name, builds in planned.items() for place in builds if place not in places[name]]
    if missing:
        print(f"{len(missing)} builds are still to do: {', '.join(missing)}")
    if not all(places.values()):
        return
    table = rows(places)
    print(text(table))
    name = f"ensemble_{study.name}" + ("" if args.preset == "full" else f"_{args.preset}")
    save(name, {"meta": study.about(), "rows": table})
    (RESULTS / f"{name}.png").write_bytes(plot(table, study.title))
    print(json.dumps({"rows": table}))


@dataclass(frozen=True)
class Study:
    """One table: its builds and where they are."""

    family: str
    data: str
    preset: str
    work: Path

    @property
    def name(self) -> str:
        return f"{self.family}_{dataset(self.data)}"

    @property
    def title(self) -> str:
        scale = PRESETS[self.preset][self.family]
        return f"{scale.model.name} on {dataset(self.data)}, {scale.images} images"

    @property
    def seeds(self) -> list[int]:
        return seeds(self.family, self.data, self.preset)

    def place(self, name: str, seed: int) -> Path:
        """Return the folder of a row's build; `base` is that of the base."""
        folder = "".join(c if c.isalnum() else "-" for c in name)
        return self.work / self.preset / self.name / f"{folder}_{seed}"

    def trained(self, seed: int) -> EnsembleConfig:
        """Train the base of a seed, or go on with it, and return the config of `n=10` with its weights."""
        config, place = start(self.family, self.data, self.preset, seed), self.place("base", seed)
        alone = of_base(config)
        with _locked(place):
            folder = Folder.at(str(place))
            claim(alone, folder)
            _say_how(place, seed)
            if not folder.has(WEIGHTS):
                fit_base(alone, folder)
            mean, std = normalisation(alone)
            given = config.replaced(base=config.base.replaced(weights=str(place / WEIGHTS), mean=mean, std=std))
            if not folder.has(TEACHER):
                classes, shape = facts_of(alone.data)
                teach(given, folder, load_base(alone, folder, len(classes), shape))
        return given

    def build(self, name: str, seed: int) -> None:
        """Build a row, or go on with it; done, it is left alone."""
        place = self.place(name, seed)
        with _locked(place):
            if (place / "summary.json").exists():
                return
            config = ROWS[name](self.trained(seed)).replaced(name=name)
            _say_how(place, seed)
            (place / TEACHER).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.place("base", seed) / TEACHER, place / TEACHER)
            if name in TAKES:
                self.build(TAKES[name], seed)
                _take(self.place(TAKES[name], seed), place, config)
            done = build_ensemble(config, str(place))
        print(
            f"{place.name}: {100 * done['accuracy']:.2f} %, base {100 * done['base_accuracy']:.2f} %, "
            f"{_seconds(done):.0f} s",
            flush=True,
        )

    def about(self) -> dict[str, Any]:
        """Return `meta`, with what the rows have in common."""
        found = meta(self.seeds)
        config = start(self.family, self.data, self.preset, 0)
        assert config.retrain is not None
        for package in ("timm", "spikingjelly"):
            try:
                found["versions"][package] = version(package)
            except PackageNotFoundError:
                continue
        base = config.base
        return found | {
            "model": f"{base.model.name} {base.model.args}; sub-models keep {KEEP[self.family]:.4f}, scores "
            f"{config.prune.scores}",
            "training": f"base {base.train.epochs} epochs, retraining {config.retrain.epochs} with distillation, "
            f"batches of {base.train.batch_size} and {config.retrain.batch_size}, {FITS[self.family]}; "
            f"fusion {config.fusion.epochs} epochs on {config.fusion.views} views, feature dropout "
            f"{config.fusion.feature_dropout}",
            "subset": f"{config.data.train_rows} training images, augmentation {config.data.augment}; all test images",
            "notes": "Each sub-model on a device of its own. build_seconds: scoring, retraining and fusion, one "
            "thread, from a trained base; of the full model, its training. CIFAR-10 as Parquet files is recompressed "
            "as JPEG.",
        }


def rows(places: dict[str, list[Path]]) -> list[dict[str, Any]]:
    """Return the rows of the table; `places` are the builds of each row, one for each seed.

    Accuracies are in percent; `below_full` is how many points they are below the base of the same seeds.
    """
    by_seed = {int(place.name.rpartition("_")[2]): place for builds in places.values() for place in builds}
    table = [_full(list(by_seed.values()), [place for builds in places.values() for place in builds])]
    for name, builds in places.items():
        found = [_read(place / "summary.json") for place in builds]

        def mean(key: str, found: list[dict[str, Any]] = found) -> float:
            return statistics.mean(summary[key] for summary in found)

        accuracies = [100 * summary["accuracy"] for summary in found]
        records = [_read(path) for place in builds for path in sorted(place.glob("submodels/*/record.json"))]
        table.append(
            {
                "name": name,
                "n": found[0]["n"],
                **_spread(accuracies),
                "below_full": 100 * mean("base_accuracy") - statistics.mean(accuracies),
                **{
                    key: mean(key)
                    for part in ("mib", "gmac", "latency_ms")
                    for key in (f"{part}_device_max", f"{part}_total")
                },
                "latency_ms_full": mean("base_latency_ms"),
                "latency_ms_full_like": mean("base_latency_like_ms"),
                "bytes_per_sample": round(mean("bytes_per_sample")),
                **{f"lost{i}": 100 * mean(f"lost{i}") if f"lost{i}" in found[0] else None for i in (1, 2, 3)},
                "accuracy_own": 100
                * statistics.mean(part["accuracy_own"] for summary in found for part in summary["submodels"]),
                "kept": f"{found[0]['submodels'][0]['k']}/{_read(builds[0] / 'plan.json')['steps']}",
                "precision": found[0]["precision"],
                "retrain_epochs": max(len(record["epochs"]) for record in records),
                "build_seconds": statistics.mean(_seconds(summary) for summary in found),
                "note": NOTES.get(name, ""),
                "commits": _commits(builds),
            }
        )
    return table


def _full(one_each: list[Path], builds: list[Path]) -> dict[str, Any]:
    """The base: accuracy from one build of each seed, time from all."""
    found = [_read(place / "summary.json") for place in one_each]
    bases = [Path(_read(place / "config.json")["base"]["weights"]).parent.parent for place in one_each]
    latency = statistics.mean(_read(place / "summary.json")["base_latency_ms"] for place in builds)
    row = {"name": FULL, "n": 1, **_spread([100 * summary["base_accuracy"] for summary in found]), "below_full": 0.0}
    for part, value in (("mib", found[0]["base_mib"]), ("gmac", found[0]["base_gmac"]), ("latency_ms", latency)):
        row |= {f"{part}_device_max": value, f"{part}_total": value}
    return row | {
        "latency_ms_full": latency,
        "latency_ms_full_like": latency,
        "bytes_per_sample": found[0]["bytes_per_sample_raw"],
        **{f"lost{i}": None for i in (1, 2, 3)},
        "accuracy_own": row["accuracy_mean"],
        "kept": "1",
        "precision": "fp32",
        "retrain_epochs": 0,
        "build_seconds": statistics.mean(
            sum(epoch["seconds"] for epoch in _read(base / "base/record.json")["epochs"]) for base in bases
        ),
        "note": "the base; bytes_per_sample: the image",
        "commits": _commits(bases),
    }


def _take(source: Path, place: Path, config: EnsembleConfig) -> None:
    """Copy the sub-models of a build, stored at another's precision; their record last, which says they are done."""
    for part in sorted((source / "submodels").iterdir()):
        target = place / "submodels" / part.name
        if not (target / "record.json").exists():
            target.mkdir(parents=True, exist_ok=True)
            weights = unpack((part / "model.safetensors").read_bytes(), str(part))
            (target / "model.safetensors").write_bytes(pack(weights, config.precision))
            shutil.copyfile(part / "record.json", target / "record.json")


def _locked(place: Path) -> FileLock:
    place.mkdir(parents=True, exist_ok=True)
    return FileLock(place / "busy.lock")


def _say_how(place: Path, seed: int) -> None:
    if not (place / "meta.json").exists():
        (place / "meta.json").write_text(json.dumps(meta([seed])))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _commits(places: list[Path]) -> list[str]:
    return sorted({_read(place / "meta.json")["commit"] for place in places})


def _seconds(summary: dict[str, Any]) -> float:
    """Scoring, retraining and fusion."""
    return summary["seconds"]["submodels"] + summary["seconds"]["fusion"]


def _spread(accuracies: list[float]) -> dict[str, Any]:
    return {
        "accuracy_mean": statistics.mean(accuracies),
        "accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "seeds": len(accuracies),
    }


def text(table: list[dict[str, Any]]) -> str:
    """Return the table for people."""
    heads = ("lost 1", "lost 2", "lost 3", "MiB", "all")
    first = f"{'row':36}{'kept':>6}{'accuracy':>14}" + "".join(f"{head:>8}" for head in heads)
    lines = [f"{first}{'GMAC':>9}{'all':>9}{'ms':>8}{'bytes':>7}{'s':>7}"]
    for row in table:
        spread = "" if row["accuracy_std"] is None else f" ± {row['accuracy_std']:.2f}"
        lost = "".join(
            f"{'–' if row[key] is None else format(row[key], '.2f'):>8}" for key in ("lost1", "lost2", "lost3")
        )
        accuracy = f"{row['accuracy_mean']:.2f}{spread}"
        lines.append(
            f"{row['name']:36}{row['kept']:>6}{accuracy:>14}{lost}{row['mib_device_max']:8.3f}{row['mib_total']:8.3f}"
            f"{row['gmac_device_max']:9.4f}{row['gmac_total']:9.4f}{row['latency_ms_device_max']:8.2f}"
            f"{row['bytes_per_sample']:7}{row['build_seconds']:7.0f}"
        )
    notes = [f"{row['name']}: {row['note']}" for row in table if row["note"]]
    return "\n".join([*lines, *notes])


if __name__ == "__main__":
    main()
