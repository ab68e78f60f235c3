"""What decides one search."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysplit.config import EnsembleConfig, Frozen, SplitConfig
from raysplit.errors import nearest
from raysplit.hardware.link import Link
from raysplit.hardware.machine import Machine
from raysplit.search.pareto import Direction

SPLIT: dict[str, Direction] = {
    "accuracy": "max",
    "bytes": "min",
    "seconds": "min",
    "image_bytes": "min",
    "answer_s": "min",
}
"""Objectives of split training. accuracy: of the validation split after the last epoch, 0..1. bytes: frame bytes of
the whole training, both ways. seconds: of the whole training on the link and the machines. image_bytes: of one image's
message at the last level. answer_s: seconds from image to answer at the last level."""
ENSEMBLE: dict[str, Direction] = {"accuracy": "max", "bytes": "min", "seconds": "min", "mib": "min"}
"""Objectives of ensembles. accuracy: fused, of the validation split, 0..1. bytes: features of all sub-models for one
image. seconds: the largest sub-model on the device, then the link. mib: the largest sub-model's file, 2**20 bytes."""


class SearchConfig(Frozen):
    """Everything that decides one search."""

    recipe: SplitConfig | EnsembleConfig
    """What every trial starts from."""
    space: str
    """`tune_spaces.cut_and_level`, or the path of a Python file with `param_space`."""
    objectives: Annotated[tuple[str, ...], Field(min_length=1)] = ("accuracy", "bytes", "seconds")
    trials: Annotated[int, Field(ge=1)] = 20
    """That begin to train; points that the static plan refuses and points that were tried are not counted."""
    max_epochs: Annotated[int, Field(ge=1)] | None = None
    """Training epochs that all trials together never exceed; None: no limit."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Optuna's: a tree of Parzen estimators, or points at random."""
    first_rung: Annotated[int, Field(ge=1)] | None = None
    """Epochs after which a trial can be stopped for the first time; None: a third of the recipe's."""
    reduction: Annotated[int, Field(ge=2)] | None = 3
    """Of the trials that reach a rung one in so many goes on, and rungs are as many times apart; None: none stops."""
    link: Link
    device: Machine
    server: Machine
    rate: Annotated[float, Field(gt=0)] | None = None
    """Images per second that device, link and server must keep up with when they answer."""
    seed: int = 0

    @property
    def directions(self) -> dict[str, Direction]:
        """The objectives that were asked for, each with its direction."""
        known = SPLIT if isinstance(self.recipe, SplitConfig) else ENSEMBLE
        return {name: known[name] for name in self.objectives}

    @model_validator(mode="after")
    def _objectives_are_known(self) -> SearchConfig:
        known = SPLIT if isinstance(self.recipe, SplitConfig) else ENSEMBLE
        for name in self.objectives:
            if name not in known:
                raise ValueError(f"there is no objective '{name}' for this recipe. {nearest(name, known)}")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"an objective is named twice: {', '.join(self.objectives)}")
        return self
