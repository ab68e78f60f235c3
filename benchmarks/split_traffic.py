"""Accuracy against traffic: every schedule and baseline under equal epochs and seeds.

    python benchmarks/split_traffic.py --data parquet:DIR --preset quick|full [--work DIR] [--only ROW …] [--seeds N …]

Each row and seed is a run of its own under --work: one that was stopped goes on at its last epoch, one that is
done is not trained again. `--only` and `--seeds` let several processes share the work. When every row has a run,
writes benchmarks/results/split_traffic.json (preset quick: split_traffic_quick.json) and a plot beside it; `seeds`
of a row says how many runs it is the mean of. With `--table` a row without runs stays as that file has it.
A table for people, then one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from meta import RESULTS, meta, save
from traffic_plot import plot
from traffic_rows import PRESETS, ROWS, SEEDS, base
from traffic_table import rows

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", default="mnist5k", help="default mnist5k; the committed results: parquet:DIR of CIFAR-10"
    )
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--work", default="~/raysplit_benchmarks/split_traffic", help="where the runs are kept")
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=ROWS)
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--table", action="store_true", help="train nothing; the table of the runs that are done")
    args = parser.parse_args()
    torch.set_num_threads(1)
    work = Path(args.work).expanduser() / args.preset
    for seed in () if args.table else args.seeds or SEEDS[args.preset]:
        for name in args.only or ROWS:
            _train(_config(name, args, seed), work / folder(name, seed))
    places: dict[str, list[Path]] = {name: [] for name in ROWS}
    missing, seeds = [], set()
    for seed in SEEDS[args.preset]:
        for name in ROWS:
            place = work / folder(name, seed)
            if _done(_config(name, args, seed), place):
                places[name].append(place)
                seeds.add(seed)
            else:
                missing.append(place.name)
    if missing:
        print(f"{len(missing)} runs are still to do: {', '.join(missing)}")
    name = "split_traffic" if args.preset == "full" else "split_traffic_quick"
    earlier = _earlier(RESULTS / f"{name}.json") if args.table else []
    if not earlier and not all(places.values()):
        return
    table = rows(places, earlier)
    print(_text(table))
    about = meta(sorted(seeds)) | describe(base(args.data, args.preset, 0))
    save(name, {"meta": about, "rows": table})
    (RESULTS / f"{name}.png").write_bytes(plot(table))
    print(json.dumps({"rows": table}))


def _config(name: str, args: argparse.Namespace, seed: int) -> SplitConfig:
    config: SplitConfig = ROWS[name](base(args.data, args.preset, seed)).replaced(name=name)
    return config


def folder(name: str, seed: int) -> str:
    """Return a run's folder name."""
    return f"{''.join(c if c.isalnum() else '-' for c in name)}_{seed}"


def describe(config: SplitConfig) -> dict[str, Any]:
    """Return what the rows have in common, in words."""
    model, data, train = config.model, config.data, config.train
    return {
        "model": f"{model.name} {model.args}, cut {config.cut}, {train.precision}, batch {train.batch_size}, "
        f"SGD lr {train.lr}, momentum {train.momentum}, cosine",
        "subset": f"{data.train_rows} training images, {train.epochs} epochs, augmentation {data.augment}; "
        "all test images",
        "notes": "CIFAR-10 as Parquet files is recompressed as JPEG. The unsplit network and the upload of raw "
        "images were not run: their accuracy is that of `split fp32`, to which split training in fp32 is equal bit for "
        "bit (tests/train/test_loop.py). Rows were trained on busy machines, some were halted for minutes: `seconds` "
        "are rough, epochs are exact. Each row is trained by the same command without --table, at the commits and on "
        "the machines that it names.",
    }


def _earlier(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a result, each with the machine that it was trained on."""
    if not file.exists():
        return []
    found = json.loads(file.read_text())
    return [{"machines": [found["meta"]["machine"]] if row["commits"] else []} | row for row in found["rows"]]


def _done(config: SplitConfig, place: Path) -> bool:
    """Return whether a run has ended; ConfigError where it was one of another config."""
    if not (place / "summary.json").exists():
        return False
    if RunDir.at(str(place)).config() != config:
        raise ConfigError(f"'{place}' holds a run of other data or settings; name another --work")
    return True


def _train(config: SplitConfig, place: Path) -> None:
    if _done(config, place):
        return
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "meta.json").exists():
        (place / "meta.json").write_text(json.dumps(meta([config.train.seed])))
    done = train_local(config, str(place))
    print(
        f"{place.name}: {100 * done.accuracy:.2f} %, traffic ÷ {done.times_less:.1f}, {done.seconds:.0f} s",
        flush=True,
    )


def _text(table: list[dict[str, Any]]) -> str:
    lines = [f"{'row':44}{'accuracy':>14}{'MB':>11}{'times less':>12}{'than upload':>12}{'MB to target':>13}{'s':>7}"]
    for row in table:
        keys = ("frame_mb", "times_less", "times_less_than_upload", "mb_to_target", "seconds")
        mb, less, upload, target, time = ("–" if row[key] is None else f"{row[key]:,.4g}" for key in keys)
        spread = "" if row["accuracy_std"] is None else f" ± {row['accuracy_std']:.2f}"
        accuracy = f"{row['accuracy_mean']:.2f}{spread}"
        lines.append(f"{row['name']:44}{accuracy:>14}{mb:>11}{less:>12}{upload:>12}{target:>13}{time:>7}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
