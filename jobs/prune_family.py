"""Train a prune family on Ray, loosest level first, and write its bundle: one model for each level.

    python jobs/prune_family.py --recipe mnist5k_vgg11_prune --out family
    python jobs/prune_family.py --recipe cifar10_vgg11_prune_paper --dry-run
    python jobs/prune_family.py --resume RUN_DIR

A stopped job resumes with the level that it was training. The last line is a JSON object: recipe, run_dir, family (the
bundle), levels: a list of level, accuracy (test, 0..1), bytes_per_sample_up, bytes_per_sample_down, seconds.
"""

from __future__ import annotations

import json
import posixpath
import sys

from raysplit.cli.command import run_command
from raysplit.cli.training_job import make_parser, read_config, train


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("Train a prune family across a device and a server on Ray.")
    parser.add_argument("--out", metavar="DIR", help="where the bundle goes; default RUN_DIR/family")
    args = parser.parse_args(argv)
    config = read_config(args)

    from raysplit.family.bundle import load_family, require_prune_schedule
    from raysplit.planner.run_plan import make_run_plan
    from raysplit.train.family import write_family

    require_prune_schedule(config)
    if args.dry_run:
        print(make_run_plan(config))
        return
    run_dir = train(config, args.resume).folder.location
    path = write_family(run_dir, args.out or posixpath.join(run_dir, "family"))
    levels = [
        {
            "level": level.level,
            "accuracy": level.test_accuracy,
            "bytes_per_sample_up": level.bytes_per_sample_up,
            "bytes_per_sample_down": level.bytes_per_sample_down,
            "seconds": level.seconds,
        }
        for level in load_family(path).levels
    ]
    print(json.dumps({"recipe": config.name, "run_dir": run_dir, "family": path, "levels": levels}, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(run_command(main))
