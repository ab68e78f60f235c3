"""Accuracy against the cost of a device, for ensembles of sub-models and their baselines.

    python benchmarks/ensemble.py --family vit|cnn|snn --data parquet:DIR --preset quick|full|devices
        [--work DIR] [--only ROW …] [--seeds N …] [--minutes N] [--table | --times]

Each row and seed is a build of its own under --work: one that was stopped goes on where it was, one that is done is
not built again, nor is one that the result file has under the same settings. All rows of a seed share one trained
base; `--only full` trains that and nothing else. What each part is worth is in the CNN's table; seeds after the
first have the ensembles and the small net. Preset `devices` (CNN) says what splitting pays for: one to ten sub-models,
as small as they become, beside one net of a device's size and one of the same total cost. `--only` and `--seeds` let
several processes share the work: what one is at, another waits for. After `--minutes` it stops as soon as a base's
epoch or a sub-model is done; the same command goes on. Writes benchmarks/results/ensemble_FAMILY_DATASET.json (other
presets than full: …_PRESET.json), which keeps the figures of every build, and a plot beside it; `seeds` of a row says
how many builds it is the mean of, and `to_do` names the builds that are not done. `--times`, with nothing else
running, measures the latencies of all builds under --work anew, in turns. A table for people, then one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from ensembles.folders import locked, say_how, take_submodels
from ensembles.plot import plot
from ensembles.presets import FITS, PRESETS, dataset, fit_of, of_base, start
from ensembles.rows import ROWS, TAKES, names, seeds
from ensembles.table import FULL, STAGES, Figures, figures, rows, text
from ensembles.times import measure
from meta import RESULTS, meta, save

from raysplit.config import EnsembleConfig
from raysplit.ensemble.base_classifier import load_base, load_or_compute_teacher_logits, train_base
from raysplit.ensemble.build import build_ensemble
from raysplit.ensemble.context import open_build, read_normalization
from raysplit.folders.build_dir import BASE_WEIGHTS, TEACHER_LOGITS, BuildDir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=FITS, default="vit")
    parser.add_argument(
        "--data", default="mnist5k", help="default mnist5k; the committed results: parquet:DIR of CIFAR-10"
    )
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--work", default="~/raysplit_benchmarks/ensemble", help="where the builds are kept")
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=[FULL, *ROWS])
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--minutes", type=float, help="stop after that time; the same command goes on")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--table", action="store_true", help="build nothing; the table of the builds that are done")
    how.add_argument("--times", action="store_true", help="build nothing; measure the latencies of what is done anew")
    args = parser.parse_args()
    if args.family not in PRESETS[args.preset]:
        parser.error(f"--family {args.family}: preset {args.preset} has {', '.join(PRESETS[args.preset])}")
    torch.set_num_threads(1)
    until = None if args.minutes is None else time.monotonic() + 60 * args.minutes
    study = Study(args.family, args.data, args.preset, Path(args.work).expanduser(), until)
    if strange := sorted(set(args.seeds or ()) - set(study.seeds)):
        parser.error(f"--seeds {strange[0]}: the seeds of this table are {', '.join(map(str, study.seeds))}")
    seeds = args.seeds or study.seeds
    named = {FULL, *(name for seed in seeds for name in study.names(seed))}
    if none := [name for name in args.only or () if name not in named]:
        parser.error(f"--only '{none[0]}': the table has no such row for these seeds")
    if not (args.table or args.times):
        with until_time_is_up():
            study.make(args.only, seeds)
    if args.times and (there := [study.place(*one) for one in study.planned if study.built(*one)]):
        measure(there)
    with locked(study.place("table", 0)):  # others that share the work have added to the result
        study.write()


@dataclass(frozen=True)
class Study:
    """One table: its builds and where they are."""

    family: str
    data: str
    preset: str
    work: Path
    until: float | None = None
    """On the monotonic clock: when to stop; None: when all is done."""

    @property
    def name(self) -> str:
        return f"{self.family}_{dataset(self.data)}"

    @property
    def result(self) -> str:
        """Name of the result file."""
        return f"ensemble_{self.name}" + ("" if self.preset == "full" else f"_{self.preset}")

    def known(self) -> dict[tuple[str, int], Figures]:
        """Return the builds that the result file has, by row and seed; of other settings, none."""
        file = RESULTS / f"{self.result}.json"
        found: list[Figures] = json.loads(file.read_text())["builds"] if file.exists() else []
        return {
            (build["row"], build["seed"]): build
            for build in found
            if build["row"] in ROWS and build["settings"] == self.settings(build["row"], build["seed"])
        }

    @property
    def title(self) -> str:
        scale = PRESETS[self.preset][self.family]
        return f"{scale.model.name} on {dataset(self.data)}, {scale.images} images"

    @property
    def seeds(self) -> list[int]:
        found: list[int] = seeds(self.family, self.data, self.preset)
        return found

    def names(self, seed: int) -> list[str]:
        found: list[str] = names(self.family, self.preset, seed)
        return found

    @property
    def planned(self) -> list[tuple[str, int]]:
        """Row and seed of all builds."""
        return [(name, seed) for seed in self.seeds for name in self.names(seed)]

    def make(self, only: Sequence[str] | None, seeds: Sequence[int]) -> None:
        """Build the named rows, or all, for some seeds, but for those that the result has; TimeIsUp as `log`."""
        known = self.known()
        for seed in seeds:
            for name in only or self.names(seed):
                if name == FULL:
                    self.trained(seed)
                elif name in self.names(seed) and (name, seed) not in known:
                    self.build(name, seed)

    def log(self, line: str) -> None:
        """Print a line that a stage wrote when a part of it was done and kept; raise TimeIsUp after `until`."""
        print(line, flush=True)
        if self.until is not None and time.monotonic() > self.until:
            raise TimeIsUp

    def place(self, name: str, seed: int) -> Path:
        """Return the folder of a row's build; `base` is that of the base."""
        folder = "".join(c if c.isalnum() else "-" for c in name)
        return self.work / self.preset / self.name / f"{folder}_{seed}"

    def given(self, seed: int) -> EnsembleConfig:
        """Return the config of `n=10` with the weights that a base of its seed has or will have."""
        config: EnsembleConfig = start(self.family, self.data, self.preset, seed)
        found, weights = read_normalization(config), str(self.place("base", seed) / BASE_WEIGHTS)
        return config.replaced(base=config.base.replaced(weights=weights, mean=found.mean, std=found.std))

    def trained(self, seed: int) -> None:
        """Train the base of a seed, or go on with it; done, it is left alone."""
        alone, place = of_base(start(self.family, self.data, self.preset, seed)), self.place("base", seed)
        with locked(place):
            folder = BuildDir.at(str(place))
            folder.claim(alone)
            say_how(place, seed)
            if not folder.has(BASE_WEIGHTS):
                train_base(open_build(alone, folder.location), self.log)
            if not folder.has(TEACHER_LOGITS):
                context = open_build(self.given(seed), folder.location)
                load_or_compute_teacher_logits(context, load_base(context))

    def config(self, name: str, seed: int) -> EnsembleConfig:
        """Return what a row builds."""
        config: EnsembleConfig = ROWS[name](self.given(seed))
        return config.replaced(name=name)

    def settings(self, name: str, seed: int) -> str:
        """Return what tells a row's build from one of other settings, wherever data and base lie."""
        config = ROWS[name](start(self.family, self.data, self.preset, seed))
        config = config.replaced(name=name, data=config.data.replaced(name=dataset(self.data)))
        # No row sets these keys, and results that are older than they stay valid.
        text = config.model_dump_json(exclude={"base": {"pretrained", "freeze"}})
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def built(self, name: str, seed: int) -> Figures | None:
        """Return what a row's build came to; None where there is none that is done, or of other settings."""
        place = self.place(name, seed)
        if not (place / "summary.json").exists() or not BuildDir.at(str(place)).holds(self.config(name, seed)):
            return None
        return figures(place, name, seed) | {"settings": self.settings(name, seed)}

    def build(self, name: str, seed: int) -> None:
        """Build a row, or go on with it; done, it is left alone.

        Raises ConfigError for a folder with a build of other settings.
        """
        self.trained(seed)
        place, config = self.place(name, seed), self.config(name, seed)
        torch.compiler.reset()  # after eight shapes of one function torch falls back on eager without a word
        with locked(place):
            BuildDir.at(str(place)).claim(config)
            if (place / "summary.json").exists():
                return
            say_how(place, seed)
            (place / TEACHER_LOGITS).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.place("base", seed) / TEACHER_LOGITS, place / TEACHER_LOGITS)
            if name in TAKES:
                self.build(TAKES[name], seed)
                take_submodels(self.place(TAKES[name], seed), place, config)
            self._take_common(place, config, seed)
            done = build_ensemble(config, str(place), log=self.log)
        print(
            f"{place.name}: {100 * done.accuracy:.2f} %, base {100 * done.base_accuracy:.2f} %, "
            f"{sum(getattr(done.seconds, stage) for stage in STAGES):.0f} s",
            flush=True,
        )

    def _take_common(self, place: Path, config: EnsembleConfig, seed: int) -> None:
        """Copy the common net of a finished row that would train the same one, unless there is one."""

        def makes(config: EnsembleConfig) -> tuple[Any, ...]:
            return config.base, config.data, config.prune, config.common, config.seed

        for other in (self.place(name, seed) for name in ROWS):
            done = (other / "summary.json").exists() and (other / "common").exists()
            if done and not (place / "common").exists() and makes(BuildDir.at(str(other)).config()) == makes(config):
                shutil.copytree(other / "common", place / "arriving", dirs_exist_ok=True)
                (place / "arriving").rename(place / "common")

    def write(self) -> None:
        """Write the result and its picture from the builds that are done, and print the table."""
        known = self.known() | {one: found for one in self.planned if (found := self.built(*one))}
        builds = [known[one] for one in self.planned if one in known]
        if to_do := [f"{name} (seed {seed})" for name, seed in self.planned if (name, seed) not in known]:
            print(f"{len(to_do)} builds are still to do: {', '.join(to_do)}")
        if not builds:
            return
        done = {build["row"] for build in builds}
        table = rows(builds, [name for name in self.names(0) if name in done])
        print(text(table))
        about = self.about(sorted({build["seed"] for build in builds}))
        save(self.result, {"meta": about, "rows": table, "to_do": to_do, "builds": builds})
        (RESULTS / f"{self.result}.png").write_bytes(plot(table, self.title))
        print(json.dumps({"rows": table}))

    def about(self, seeds: list[int]) -> dict[str, Any]:
        """Return `meta`, with what the rows have in common."""
        found: dict[str, Any] = meta(seeds)
        config, scale = start(self.family, self.data, self.preset, 0), PRESETS[self.preset][self.family]
        assert config.retrain is not None
        for package in ("timm", "spikingjelly"):
            try:
                found["versions"][package] = version(package)
            except PackageNotFoundError:
                continue
        base = config.base
        return found | {
            "model": f"{base.model.name} {base.model.args}; sub-models keep {scale.keep:.4f}, scores "
            f"{config.prune.scores}",
            "training": f"base {base.train.epochs} epochs, retraining {config.retrain.epochs} with distillation, "
            f"batches of {base.train.batch_size} and {config.retrain.batch_size}, {fit_of(self.family, scale)}; "
            f"rows with common_epochs: before it so many of one net of all classes that all sub-models start from; "
            f"fusion {config.fusion.epochs} epochs on {config.fusion.views} views, feature dropout "
            f"{config.fusion.feature_dropout}",
            "subset": f"{config.data.train_rows} training images, augmentation {config.data.augment}; all test images",
            "notes": "Each sub-model on a device of its own. build_seconds: common net, scoring, retraining and "
            "fusion, one thread, from a trained base; of the full model, its training. CIFAR-10 as Parquet files is "
            "recompressed as JPEG.",
        }


class TimeIsUp(Exception):
    """The minutes that were given are over, and what was done is kept."""


@contextmanager
def until_time_is_up() -> Iterator[None]:
    try:
        yield
    except TimeIsUp:
        print("the time is up; the same command goes on from here", flush=True)


if __name__ == "__main__":
    main()
