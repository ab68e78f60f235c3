"""What every training job does alike: which recipe, begin or go on, the run itself."""

from __future__ import annotations

import argparse

import ray

from raysplit import recipes
from raysplit.config import SplitConfig
from raysplit.errors import ConfigError
from raysplit.folders.run_dir import RunDir
from raysplit.planner.run_plan import check
from raysplit.records.summary import RunSummary
from raysplit.train.trainer import SplitTrainer


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with --recipe, --resume, --set and --dry-run."""
    parser = argparse.ArgumentParser(description=description)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--recipe", help=f"a name ({', '.join(recipes.names()[:3])}, …), path.py:function, .json file")
    source.add_argument("--resume", metavar="RUN_DIR", help="go on from a run's newest checkpoint")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="build everything, print the plan, train nothing")
    return parser


def chosen(args: argparse.Namespace) -> SplitConfig:
    """Return the config that the arguments name: a recipe's, or that of the run to go on with."""
    if not args.resume:
        return recipes.get(args.recipe).with_settings(args.set)
    if args.set:
        raise ConfigError("--resume goes on with the run's own config; leave out --set")
    return RunDir.at(args.resume).config()


def train(config: SplitConfig, run_dir: str | None) -> tuple[RunDir, RunSummary]:
    """Train to the end on Ray, unless the run in `run_dir` has got there already; return its folder and summary."""
    folder = RunDir.at(run_dir) if run_dir else None
    if folder is None or folder.summary() is None:
        check(config)
        trainer = SplitTrainer(config, run_dir=run_dir)
        trainer.fit()
        ray.shutdown()  # the workers' last lines come before ours
        folder = RunDir.at(trainer.run_dir)
    summary = folder.summary()
    assert summary is not None
    return folder, summary
