"""Where to cut, how much crosses the cut, and how that changes over the epochs."""

from __future__ import annotations

import math
from typing import Any, Literal

from ray import tune

from raysplit.config import BottleneckConfig, Deprune, Fixed, Level, Phase, Prune, Schedule, SplitConfig, Stage
from raysplit.data import read_facts
from raysplit.models import build
from raysplit.split import profile

ALL = "all"
"""In place of a number of channels."""
_MAX_CUTS = 4


def param_space(base: SplitConfig) -> dict[str, Any]:
    """Return cut × channels × bits × schedule for a recipe's model and data."""
    return {
        "cut": tune.choice(find_narrow_cuts(base)),
        "channels": tune.choice([4, 16, ALL]),
        "bits": tune.choice([2, 4, 8]),
        "schedule": tune.choice(_schedules(base)),
    }


def _schedules(base: SplitConfig) -> list[str]:
    """Return the schedules that fit the recipe's training: two phases need two epochs, a family is trained jointly."""
    if base.train.epochs < 2:
        return ["fixed"]
    return ["fixed", "deprune"] if base.train.local_loss else ["fixed", "deprune", "prune"]


def recipe(
    base: SplitConfig, *, channels: int | Literal["all"], bits: int, schedule: Literal["fixed", "deprune", "prune"]
) -> SplitConfig:
    """Return the recipe with a schedule that ends at one level.

    deprune: two thirds of the epochs at four channels first; prune: two thirds at all channels first. If that is the
    same level, the schedule is `fixed`. All levels have the same bits both ways, and zstd.
    """
    level, tight, loose = (
        Level(channels=None if count == ALL else int(count), up_bits=bits, down_bits=bits, entropy="zstd")
        for count in (channels, 4, ALL)
    )
    chosen: Schedule = Fixed(level=level)
    if schedule == "deprune" and level != tight:
        chosen = Deprune(phases=(Phase(level=tight, share=2), Phase(level=level, share=1)))
    if schedule == "prune" and level != loose:
        chosen = Prune(phases=(Stage(level=loose, share=2), Stage(level=level, share=1, lr_scale=0.2)))
    return base.replaced(schedule=chosen, bottleneck=base.bottleneck or BottleneckConfig())


def find_narrow_cuts(base: SplitConfig) -> list[str]:
    """Return the first cuts at which fewer values cross than at any cut before."""
    known = read_facts(base.data)
    fewest, names = math.inf, []
    for cut in profile(build(base.model, len(known.classes), known.shape), known.shape):
        if cut.device_params and math.prod(cut.shape) < fewest:
            fewest = math.prod(cut.shape)
            names.append(cut.name)
    return names[:_MAX_CUTS]
