"""The rows of the ensemble benchmark: what each builds, as full configs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ensembles.presets import dataset
from raysplit.config import EnsembleConfig
from raysplit.config.ensemble_plan import EnsemblePlan
from raysplit.data import load, read_facts
from raysplit.ensemble.base_classifier import new_base
from raysplit.ensemble.plan import make_plan
from raysplit.ensemble.prunable.base import prunable_network
from raysplit.ensemble.samples import draw_rows

Make = Callable[[EnsembleConfig], EnsembleConfig]
ROWS: dict[str, Make] = {}
TAKES: dict[str, str] = {}
"""Row: the row whose sub-models it takes, as its own would be the same."""
NOTES: dict[str, str] = {}
PARTS: list[str] = []
"""Rows that say what a part is worth: of the CNN, whose rows take minutes."""
_ALL_EACH = "n=10, all classes each"
_DEVICES = ("n=1", "n=2", "n=3", "n=5", "n=10", "one small net of equal total cost", _ALL_EACH)
"""The table of what splitting pays for."""
_EVERY_SEED = ("n=2", "n=5", "n=10", "one small net of equal total cost")
"""What a table of several seeds has of each: all tables together would take more than six hours of two cores."""


def seeds(family: str, data: str, preset: str) -> list[int]:
    """Return the seeds of a table."""
    several = preset == "devices" or (preset, family, dataset(data)) == ("full", "vit", "cifar10")
    return [0, 1, 2] if several else [0]


def names(family: str, preset: str, seed: int) -> list[str]:
    """Return the rows of a table for a seed; quick: without those of five sub-models."""
    if preset == "devices":
        return list(_DEVICES)
    if seed:
        return [name for name in ROWS if name in _EVERY_SEED]
    left_out = {name for name in ROWS if preset == "quick" and name.startswith("n=5")}
    left_out |= {"n=1", "n=3", _ALL_EACH} | (set(PARTS) if family != "cnn" else set())
    return [name for name in ROWS if name not in left_out]


def plan_of(config: EnsembleConfig) -> EnsemblePlan:
    """Return the plan of a config whose groups need no trained base."""
    data = read_facts(config.data)
    network = prunable_network(new_base(config, data), data.shape)
    nothing_confused = torch.zeros(len(data.classes), len(data.classes), dtype=torch.int64)
    return make_plan(config, network, data.shape, nothing_confused)


def epoch_gmac(config: EnsembleConfig, plan: EnsemblePlan) -> float:
    """Return the GMAC of the forward passes of one epoch of retraining, of all sub-models."""
    labels, negatives = load(config.data, "train").labels, config.groups.negatives
    return sum(
        spec.flops / 2e9 * len(draw_rows(labels, spec.classes, spec.total_classes, spec.rest, negatives, 0))
        for spec in plan.submodels
    )


def as_dear(config: EnsembleConfig, than: EnsembleConfig) -> EnsembleConfig:
    """Return a config without a common net, with as many epochs, at least one, as make it cost nearest to another."""
    assert config.retrain is not None and than.retrain is not None
    assert than.common is not None
    plan = plan_of(than)
    budget = than.retrain.epochs * epoch_gmac(than, plan)
    budget += than.common.epochs * plan.submodels[0].flops / 2e9 * len(load(than.data, "train").labels)
    epochs = max(1, round(budget / epoch_gmac(config, plan_of(config))))
    return config.replaced(common=None, retrain=config.retrain.replaced(epochs=epochs))


def grouped(config: EnsembleConfig, **changes: Any) -> EnsembleConfig:
    return config.replaced(groups=config.groups.replaced(**changes))


def row(name: str, note: str = "", takes: str | None = None) -> Callable[[Make], Make]:
    """Register a function from the config of `n=10`, with a trained base, to a row's config."""

    def add(make: Make) -> Make:
        ROWS[name] = make
        if note:
            NOTES[name] = note
        if takes:
            TAKES[name] = takes
        return make

    return add


# --- sub-models -------------------------------------------------------------------------------------

row("n=1", note="one pruned net of a device's size, of all classes, retrained at the cost of n=10")(
    lambda config: as_dear(grouped(config, n=1, by="none"), config)
)
row("n=2")(lambda config: grouped(config, n=2))
row("n=3")(lambda config: grouped(config, n=3))
row("n=5")(lambda config: grouped(config, n=5))
row("n=10")(lambda config: config)

# --- baselines --------------------------------------------------------------------------------------


@row(
    "one small net of equal total cost",
    note="the step k whose GMAC is nearest to all of n=10; of all classes, retrained at the cost of n=10",
)
def _(config: EnsembleConfig) -> EnsembleConfig:
    total = sum(spec.flops for spec in plan_of(config).submodels)
    one = grouped(config, n=1, by="none")
    steps = plan_of(one).size_steps

    def at(k: int) -> EnsembleConfig:
        return one.replaced(prune=one.prune.replaced(keep=k / steps))

    best = min(range(1, steps + 1), key=lambda k: abs(plan_of(at(k)).submodels[0].flops - total))
    return as_dear(at(best), config)


@row("n=10 without class split", note="each retrained on all images of all classes, at the cost of n=10")
def _(config: EnsembleConfig) -> EnsembleConfig:
    return as_dear(grouped(config, by="none"), config)


@row("n=10, random scores")
def _(config: EnsembleConfig) -> EnsembleConfig:
    return config.replaced(prune=config.prune.replaced(scores="random"))


row("n=10, no retraining")(lambda config: config.replaced(common=None, retrain=None))
row(
    "n=10, no rest class",
    note="sees its own class only, of which a head of one output learns nothing: distillation alone; see n=5",
)(lambda config: grouped(config, rest=False))


@row(_ALL_EACH, note="ten nets as n=1 from seeds of their own, at ten times its training cost")
def _(config: EnsembleConfig) -> EnsembleConfig:
    return grouped(ROWS["n=1"](config), n=10)


# --- what each part is worth ------------------------------------------------------------------------

_BASELINES = len(ROWS)
row("n=10, no common net", note="each cut out of the base for its own class, at the cost of n=10, as published")(
    lambda config: as_dear(config, config)
)
row("n=5, no rest class")(lambda config: grouped(config, n=5, rest=False))


@row("n=10, no distillation")
def _(config: EnsembleConfig) -> EnsembleConfig:
    assert config.retrain is not None
    common = config.common and config.common.replaced(distill=0.0)
    return config.replaced(common=common, retrain=config.retrain.replaced(distill=0.0))


@row("n=10, no feature dropout", note="the sub-models of n=10", takes="n=10")
def _(config: EnsembleConfig) -> EnsembleConfig:
    return config.replaced(fusion=config.fusion.replaced(feature_dropout=0.0))


row("n=10, int8", note="the sub-models of n=10 stored as int8, computing in bf16 as they do", takes="n=10")(
    lambda config: config.replaced(precision="int8")
)
row("n=5, groups by confusion")(lambda config: grouped(config, n=5, by="confusion"))
PARTS += list(ROWS)[_BASELINES:]
