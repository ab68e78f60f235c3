"""Bundles for the serving benchmarks, with the network geometry of recipes but hardly any training.

How fast a network computes does not depend on its weights.
"""

from __future__ import annotations

from pathlib import Path

from raysplit.config import Prune, Stage
from raysplit.ensemble.build import build_ensemble
from raysplit.family import write_family
from raysplit.family.bundle import require_prune_schedule
from raysplit.recipes import get, get_ensemble
from raysplit.train.local import train_local


def make_ensemble(work: Path, n: int, seed: int = 0) -> str:
    """Return the bundle of `mnist5k_vit_n3`'s network in `n` sub-models; build it in `work` if it does not exist."""
    folder = work / f"vit_n{n}_{seed}"
    if not (folder / "summary.json").exists():
        short = get_ensemble("mnist5k_vit_n3").with_settings(
            ["data.train_rows=500", "base.train.epochs=1", "fusion.epochs=2", f"groups.n={n}", f"seed={seed}"]
        )
        build_ensemble(short.replaced(retrain=None), str(folder))
    return str(folder / "bundle")


def make_family(work: Path) -> str:
    """Return the bundle of a family like `mnist5k_vgg11_prune`; train it in `work` if it does not exist."""
    folder = work / "family"
    if not (folder / "manifest.json").exists():
        config = get("mnist5k_vgg11_prune").with_settings(["data.train_rows=500"])
        levels = [phase.level for phase in require_prune_schedule(config).phases]
        schedule = Prune(phases=tuple(Stage(level=level, share=1) for level in levels))
        short = config.replaced(schedule=schedule, train=config.train.replaced(epochs=len(levels)))
        train_local(short, str(work / "family_run"))
        write_family(str(work / "family_run"), str(folder))
    return str(folder)
