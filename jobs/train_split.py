"""Train one recipe across a device actor and a server half: the entry point for `ray job submit`.

    python jobs/train_split.py --recipe mnist5k_vgg11_deprune --set train.epochs=3
    python jobs/train_split.py --recipe mnist5k_vgg11_deprune --dry-run
    python jobs/train_split.py --resume RUN_DIR
    python jobs/train_split.py --recipe mnist5k_vgg11_prune --monitor csv tensorboard

It prints a table of the devices where there are many. The last line that it prints is a JSON object: recipe, accuracy,
bytes_up, bytes_down, seconds, run_dir.
"""

from __future__ import annotations

import sys

from raysplit.cli.command import run_command
from raysplit.cli.training_job import make_parser, read_config, train

KEYS = ("recipe", "accuracy", "bytes_up", "bytes_down", "seconds", "run_dir")


def main(argv: list[str] | None = None) -> None:
    args = make_parser("Train one recipe across a device and a server on Ray.").parse_args(argv)
    config = read_config(args)
    if args.dry_run:
        from raysplit.planner.run_plan import make_run_plan

        print(make_run_plan(config))
        return
    finished = train(config, args.resume)
    if config.devices.count > 1:
        from raysplit.report import device_table, read_run

        print(device_table(read_run(finished.folder.location)))
    print(finished.summary.model_dump_json(include=set(KEYS)))


if __name__ == "__main__":
    sys.exit(run_command(main))
