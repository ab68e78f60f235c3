"""Ten devices, each with a shard of its own: every mode, FedAvg, and one device that has all the data.

    python benchmarks/devices.py --data parquet:DIR --preset quick|full [--minutes N] [--work DIR] [--only ROW …]
        [--seeds N …] [--table]

from the repository's root. Rows are trained in the order of many/rows.py, all of them with the first seed before the
next one. Each row and seed is a run of its own under --work: one that was stopped goes on at its last round, one that
is done, or that benchmarks/results/devices_runs.jsonl has already, is not trained again unless its settings have
changed. After --minutes no further round begins. The same command started twice at once shares the work. Whenever a run
has ended, that file, the table (devices.json) and the plot are made anew from all runs; `seeds` of a row says how many
it is the mean of. Preset `quick` has files of its own. A table for people, then one JSON object.
"""

from __future__ import annotations

import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from many.faults import train_with_faults
from many.plot import plot
from many.presets import PRESETS
from many.rows import CENTRAL, ROWS
from many.table import LINK, SHARE, Line, as_text, lines
from meta import RESULTS, meta, save
from split_traffic import make_parser
from traffic.runs import Fit, RunResult
from traffic.store import RunStore

from raysplit.config import SplitConfig
from raysplit.train.local import train_local


def main() -> None:
    parser = make_parser(__doc__.splitlines()[0], "~/raysplit_benchmarks/devices")
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    args = parser.parse_args()
    if unknown := [name for name in args.only or () if name not in ROWS]:
        parser.error(f"there is no row {unknown[0]!r}: {'; '.join(ROWS)}")
    torch.set_num_threads(1)
    until = time.monotonic() + 60 * args.minutes
    preset = PRESETS[args.preset]
    store = RunStore(RESULTS / f"{preset.result}_runs.jsonl", Path(args.work).expanduser() / args.preset)
    configs = [preset.config(row, seed, args.data) for seed in preset.seeds for row in ROWS.values()]
    write = partial(write_result, store, configs, preset.result, preset.notes)
    if not args.table:
        chosen = [
            config
            for config in configs
            if config.name in (args.only or ROWS) and config.train.seed in (args.seeds or preset.seeds)
        ]
        store.train(chosen, until, write, _fit)
    table, missing = write()
    if missing:
        print(f"{len(missing)} runs are still to do: {'; '.join(missing)}")
    if table:
        print(as_text(table))
        print(json.dumps({"rows": table}))


def write_result(
    store: RunStore, configs: list[SplitConfig], name: str, notes: str, results: Path = RESULTS
) -> tuple[list[Line], list[str]]:
    """Write all files from all runs; return the table, and what is missing. Before the central run, there is none."""
    with FileLock(store.work / "result.lock"):
        runs, missing = store.collect(configs)
        store.write(runs)
        table = lines(runs, ROWS)
        if table:
            about = meta(sorted({run.seed for run in runs})) | _describe(configs[0], runs) | {"notes": notes}
            save(name, {"meta": about, "rows": table}, results)
            (results / f"{name}.png").write_bytes(plot(table))
    return table, missing


def _fit(config: SplitConfig) -> Fit:
    killed = ROWS[config.name].killed
    return partial(train_with_faults, killed=killed) if killed else train_local


def _describe(config: SplitConfig, runs: list[RunResult]) -> dict[str, Any]:
    """Return what the rows have in common, in words."""
    train, model = config.train, config.model
    central = statistics.mean(run.epochs[-1].val_accuracy for run in runs if run.row == CENTRAL)
    return {
        "model": f"{model.name} {model.args}, cut {config.cut}, {train.precision}, batch {train.batch_size}, "
        f"{train.optimizer} lr {train.lr}, {train.lr_schedule}, label smoothing {train.label_smoothing}",
        "subset": f"{config.data.train_rows} training images, {train.epochs} rounds, augmentation "
        f"{config.data.augment}; all test images, tested once",
        "gb_to_95": f"GB of training, all devices together, to a validation accuracy of {100 * SHARE * central:.2f} % "
        f"({SHARE:.0%} of the central run's); null: not reached",
        "gb_to_v1": "the same to the final validation accuracy of SplitFed v1 with these shards",
        "seconds": f"predicted on the link '{LINK}', with the compute of the machine that trained; predicted_s: on all "
        "named links",
    }


if __name__ == "__main__":
    main()
