"""Train one recipe across a device actor and a server half: the entry point for `ray job submit`.

    python jobs/train_split.py --recipe mnist5k_vgg11_deprune --set train.epochs=3
    python jobs/train_split.py --resume RUN_DIR

The last line is a JSON object: recipe, accuracy, bytes_up, bytes_down, seconds, run_dir.
"""

from __future__ import annotations

import argparse
import json
import sys

import ray

from raysplit import recipes
from raysplit.command import command
from raysplit.errors import ConfigError
from raysplit.train.plan import check, plan
from raysplit.train.record import RunDir
from raysplit.train.trainer import SplitTrainer

KEYS = ("recipe", "accuracy", "bytes_up", "bytes_down", "seconds", "run_dir")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one recipe across a device and a server on Ray.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--recipe", help=f"a name ({', '.join(recipes.names()[:3])}, …) or path.py:function")
    source.add_argument("--resume", metavar="RUN_DIR", help="go on from a run's newest checkpoint")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="build everything, print the plan, train nothing")
    args = parser.parse_args()

    if args.resume and args.set:
        raise ConfigError("--resume goes on with the run's own config; leave out --set")
    place = RunDir.at(args.resume) if args.resume else None
    config = place.config() if place else recipes.get(args.recipe).with_settings(args.set)
    if args.dry_run:
        print(plan(config))
        return
    summary = place.summary() if place else None
    if summary is None:
        check(config)
        trainer = SplitTrainer(config, run_dir=args.resume)
        trainer.fit()
        ray.shutdown()  # the workers' last lines come before ours
        summary = RunDir.at(trainer.run_dir).summary() or {}
    print(json.dumps({key: summary[key] for key in KEYS}))


if __name__ == "__main__":
    sys.exit(command(main))
