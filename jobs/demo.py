"""The demo behind `make demo`: one network, uncompressed and with a deprune schedule, on a local Ray.

python jobs/demo.py [--out demo-report.html] [--set train.epochs=2 …]
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from raysplit import recipes
from raysplit.cli.command import run_command

RECIPES = ("mnist5k_vgg11_uncompressed", "mnist5k_vgg11_deprune")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train two recipes on a local Ray and compare them.")
    parser.add_argument("--out", default="demo-report.html", help="default demo-report.html")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings of both recipes"
    )
    args = parser.parse_args(argv)
    configs = [recipes.get(name).with_settings(args.set) for name in RECIPES]

    import ray

    from raysplit.report import format_runs, read_run, write_report
    from raysplit.train.trainer import SplitTrainer

    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    # On one machine nothing is preempted, and the watcher logs a harmless error when it starts.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray.init(logging_level=logging.ERROR)
    paths = []
    for config in configs:
        print(f"\n{config.name}: a device actor and a server half, real images", flush=True)
        try:
            paths.append(SplitTrainer(config).fit().path)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # without the run's folder: the demo resumes none
    ray.shutdown()

    print("\n" + format_runs([read_run(path) for path in paths]))
    page, *pictures = write_report(paths, args.out)
    print(f"\nreport    {page}")
    for picture in pictures:
        print(f"picture   {picture}")
    print("\nnext      python jobs/train_split.py --recipe cifar10_vgg11_deprune --dry-run")


if __name__ == "__main__":
    sys.exit(run_command(main))
