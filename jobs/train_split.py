"""Train one recipe across a device actor and a server half: the entry point for `ray job submit`.

    python jobs/train_split.py --recipe mnist5k_vgg11_deprune --set train.epochs=3
    python jobs/train_split.py --recipe mnist5k_vgg11_deprune --dry-run
    python jobs/train_split.py --resume RUN_DIR

The last line is a JSON object: recipe, accuracy, bytes_up, bytes_down, seconds, run_dir.
"""

from __future__ import annotations

import sys

from raysplit.cli.command import command
from raysplit.cli.training_job import arguments, chosen, train
from raysplit.planner.run_plan import plan

KEYS = ("recipe", "accuracy", "bytes_up", "bytes_down", "seconds", "run_dir")


def main() -> None:
    args = arguments("Train one recipe across a device and a server on Ray.").parse_args()
    config = chosen(args)
    if args.dry_run:
        print(plan(config))
        return
    _, summary = train(config, args.resume)
    print(summary.model_dump_json(include=set(KEYS)))


if __name__ == "__main__":
    sys.exit(command(main))
