"""`raysplit recipes`: the recipes by name, a line each."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raysplit.cli.command import Verbs

if TYPE_CHECKING:
    from raysplit.config import DataConfig, EnsembleConfig, ModelConfig, SplitConfig


def add_parser(verbs: Verbs) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("recipes", help="list the recipes: for training, then for ensembles")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    from raysplit import recipes
    from raysplit.utils.text_table import align_table

    rows = [(name, describe_split(recipes.get(name))) for name in recipes.names()]
    rows += [(name, describe_ensemble(recipes.get_ensemble(name))) for name in recipes.ensemble_names()]
    print(align_table(("recipe", "what it trains"), rows, text_columns=2))


def describe_split(config: SplitConfig) -> str:
    """Return what a recipe trains in one line.

    >>> from raysplit import recipes
    >>> describe_split(recipes.get("mnist5k_vgg11_deprune"))
    'vgg11 (width=0.5) on mnist5k, cut at features.7, deprune: c4·b4/b4·zstd, c16·b4/b4·zstd; 8 epochs'
    """
    schedule = getattr(config.schedule, "kind", "schedule")
    levels = ", ".join(map(str, config.levels()))
    return (
        f"{_task(config.model, config.data)}, cut at {config.cut}, {schedule}: {levels}; {config.train.epochs} epochs"
    )


def describe_ensemble(config: EnsembleConfig) -> str:
    """Return what an ensemble's recipe builds in one line.

    >>> from raysplit import recipes
    >>> describe_ensemble(recipes.get_ensemble("mnist5k_vit_n3"))
    'ensemble of 3 sub-models of vit (patch=7, width=96, depth=4, heads=6) on mnist5k; base 20 epochs'
    """
    base = config.base
    return f"ensemble of {config.n} sub-models of {_task(base.model, config.data)}; base {base.train.epochs} epochs"


def _task(model: ModelConfig, data: DataConfig) -> str:
    args = ", ".join(f"{key}={value}" for key, value in model.args.items())
    rows = "" if data.train_rows is None else f" ({data.train_rows:,} rows)"
    return f"{model.name}{f' ({args})' if args else ''} on {data.name}{rows}"
