"""What all training jobs share: their arguments, the config that these name, and the run itself.

Nothing heavy is imported before the config is known.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysplit import recipes
from raysplit.config import SplitConfig
from raysplit.errors import ConfigError

if TYPE_CHECKING:
    from raysplit.folders.run_dir import RunDir
    from raysplit.records.summary import RunSummary


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended."""

    folder: RunDir
    summary: RunSummary


def make_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with --recipe, --resume, --set and --dry-run."""
    parser = argparse.ArgumentParser(description=description)
    source = parser.add_mutually_exclusive_group(required=True)
    names = ", ".join(recipes.names()[:3])
    source.add_argument("--recipe", help=f"a name ({names}, …), path.py:function or a .json file")
    source.add_argument("--resume", metavar="RUN_DIR", help="continue a run from its newest checkpoint")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings of the recipe"
    )
    parser.add_argument(
        "--monitor",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="csv, tensorboard, mlflow or path.py:Class; with --resume in place of the run's",
    )
    parser.add_argument("--dry-run", action="store_true", help="build everything, print the plan, train nothing")
    return parser


def read_config(args: argparse.Namespace) -> SplitConfig:
    """Return the config that the arguments name: a recipe's, or that of the run to resume."""
    if args.resume is None:
        return _with_monitors(recipes.get(args.recipe).with_settings(args.set), args.monitor)
    if args.set:
        raise ConfigError("--resume continues with the run's own config; leave out --set")

    from raysplit.folders.run_dir import RunDir

    return _with_monitors(RunDir.at(args.resume).config(), args.monitor)


def _with_monitors(config: SplitConfig, monitors: list[str] | None) -> SplitConfig:
    if monitors is None:
        return config

    from raysplit.utils.settings import parse

    return parse(SplitConfig, {**dict(config), "monitors": monitors}, where="--monitor")


def train(config: SplitConfig, run_dir: str | None) -> FinishedRun:
    """Train to the end on Ray, unless the run in `run_dir` has ended already.

    Raises DivergenceError for a run that has ended with NaN in its weights, as one of an earlier version may have.
    """
    from raysplit.folders.run_dir import RunDir

    if run_dir is not None:
        folder = RunDir.at(run_dir)
        summary = folder.summary()
        if summary is not None:
            from raysplit.train.divergence import require_finite_run

            require_finite_run(folder)
            return FinishedRun(folder, summary)

    import ray

    from raysplit.planner.run_plan import check_run
    from raysplit.train.trainer import SplitTrainer

    check_run(config)
    trainer = SplitTrainer(config, run_dir=run_dir)
    trainer.fit()
    ray.shutdown()  # the workers' last lines come before ours
    folder = RunDir.at(trainer.run_dir)
    summary = folder.summary()
    assert summary is not None
    return FinishedRun(folder, summary)
