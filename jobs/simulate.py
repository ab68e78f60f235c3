"""Train one recipe on thousands of virtual devices in this process, and draw accuracy against bytes and virtual hours.

    python jobs/simulate.py --recipe mnist5k_vgg11_uncompressed --devices 10000 --per-round 200 --set train.epochs=50
    python jobs/simulate.py --resume RUN_DIR

The devices keep nothing between their rounds, unless `devices.optimizer` is set. The last line that it prints is a
JSON object: recipe, accuracy, bytes_up, bytes_down, seconds, virtual_hours, run_dir, picture.
"""

from __future__ import annotations

import json
import posixpath
import sys

from raysplit.cli.command import run_command
from raysplit.cli.training_job import make_parser, read_config
from raysplit.config import SplitConfig
from raysplit.errors import ConfigError

_PICTURE = "simulation.png"
_KEYS = {"recipe", "accuracy", "bytes_up", "bytes_down", "seconds", "run_dir"}


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("Train one recipe on thousands of virtual devices.")
    parser.add_argument("--devices", type=int, metavar="N", help="how many virtual devices (10,000)")
    parser.add_argument("--per-round", type=int, metavar="M", help="how many of them take part in each round (200)")
    parser.add_argument("--workers", type=int, metavar="K", help="how many workers take their places (1)")
    args = parser.parse_args(argv)
    given = {"count": args.devices, "per_round": args.per_round, "workers": args.workers}
    if args.resume is None:
        defaults = {"optimizer": "reset", "count": 10_000, "per_round": 200}
        own = defaults | {key: value for key, value in given.items() if value is not None}
        args.set = ["devices.kind=virtual", *(f"devices.{key}={value}" for key, value in own.items()), *args.set]
    elif any(value is not None for value in given.values()):
        raise ConfigError("--resume continues with the run's own devices; leave out --devices, --per-round, --workers")
    config = read_config(args)
    if args.dry_run:
        from raysplit.planner.run_plan import make_run_plan

        print(make_run_plan(config))
        return
    print(json.dumps(_simulate(config, args.resume)))


def _simulate(config: SplitConfig, run_dir: str | None) -> dict[str, object]:
    """Train to the end, write the picture into the run's folder, and return what the job prints last."""
    if config.devices.kind != "virtual":
        raise ConfigError("this run has real devices; continue it with `python jobs/train_split.py --resume`")

    from raysplit.folders.run_dir import RunDir
    from raysplit.planner.run_plan import check_run
    from raysplit.report import read_run
    from raysplit.report.plots import png
    from raysplit.report.simulation import plot_simulation
    from raysplit.train.local import train_local
    from raysplit.train.threads import use_threads

    use_threads(config)
    check_run(config)
    summary = train_local(config, run_dir)
    run = read_run(summary.run_dir)
    RunDir.at(summary.run_dir).write(_PICTURE, png(plot_simulation([run])))
    row = summary.model_dump(mode="json", include=_KEYS)
    hours = sum(epoch.virtual_s for epoch in run.epochs) / 3600
    return row | {"virtual_hours": round(hours, 3), "picture": posixpath.join(summary.run_dir, _PICTURE)}


if __name__ == "__main__":
    sys.exit(run_command(main))
