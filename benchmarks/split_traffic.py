"""Accuracy against traffic: every schedule and baseline under equal epochs and seeds.

    python benchmarks/split_traffic.py --data parquet:DIR --preset quick|full|paper [--minutes N] [--work DIR]
        [--only ROW …] [--seeds N …] [--table]

from the repository's root. Rows are trained in the order of traffic/rows.py, all of them with the first seed before
the next one. Each row and seed is a run of its own under --work: one that was stopped goes on at its last epoch, one
that is done, or that benchmarks/results/split_traffic_runs.jsonl has already, is not trained again unless its settings
have changed. After --minutes no further epoch begins. The same command started twice at once shares the work. Whenever
a run has ended, that file, the table (split_traffic.json) and the plot are made anew from all runs; `seeds` of a row
says how many it is the mean of. Preset `quick` has files of its own, and so has `paper`, the published setting: VGG-11
at full width, 15 + 7 epochs, batch 16. A table for people, then one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from traffic.presets import PRESETS, Preset
from traffic.result import Result
from traffic.table import as_text


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0], "~/raysplit_benchmarks/split_traffic")
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    args = parser.parse_args()
    work = Path(args.work).expanduser() / args.preset
    work_through(PRESETS[args.preset], work, args, parser, time.monotonic() + 60 * args.minutes)


def make_parser(about: str, work: str) -> argparse.ArgumentParser:
    """Return a parser of what all benchmarks of this kind take."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", help="default: mnist5k for quick, else cifar10; the committed results: parquet:DIR")
    parser.add_argument("--work", default=work, help="where the runs are kept")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no epoch after so many")
    parser.add_argument("--only", nargs="+", metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--table", action="store_true", help="train nothing; the table of the runs that are done")
    return parser


def work_through(
    preset: Preset, work: Path, args: argparse.Namespace, parser: argparse.ArgumentParser, until: float
) -> None:
    """Train what is not done and print the table."""
    if unknown := [name for name in args.only or () if name not in preset.rows]:
        parser.error(f"there is no row {unknown[0]!r}: {'; '.join(preset.rows)}")
    torch.set_num_threads(1)
    result = Result(preset, args.data, work)
    wanted = [(name, seed) for seed in args.seeds or preset.seeds for name in args.only or preset.rows]
    if not args.table:
        configs = (result.preset.config(name, seed, result.data) for name, seed in wanted)
        result.store.train(configs, until, result.write)
    table, missing = result.write()
    if missing:
        print(f"{len(missing)} runs are still to do: {'; '.join(missing)}")
    if table:
        print(as_text(table))
        print(json.dumps({"rows": table}))


if __name__ == "__main__":
    main()
