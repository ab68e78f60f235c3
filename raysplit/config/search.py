"""What decides one search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysplit.config.ensemble import EnsembleConfig
from raysplit.config.run import SplitConfig
from raysplit.errors import nearest
from raysplit.hardware.link import Link
from raysplit.hardware.machine import Machine
from raysplit.hardware.platform import Platform
from raysplit.utils.frozen import Frozen

Recipe = SplitConfig | EnsembleConfig
Direction = Literal["max", "min"]
Objectives = Mapping[str, Direction]

SPLIT_OBJECTIVES: Objectives = {
    "accuracy": "max",
    "bytes": "min",
    "seconds": "min",
    "image_bytes": "min",
    "answer_s": "min",
}
"""Objectives of split training. accuracy: on the validation split after the last epoch, 0..1. bytes: message bytes of
the whole training, both directions. seconds: of the whole training on the link and the machines. image_bytes: of one
image's message at the last level. answer_s: seconds from image to answer at the last level."""
ENSEMBLE_OBJECTIVES: Objectives = {"accuracy": "max", "bytes": "min", "seconds": "min", "mib": "min"}
"""Objectives of ensembles. accuracy: of the fused prediction on the validation split, 0..1. bytes: features of all
sub-models for one image. seconds: the slowest sub-model on the device, then the link. mib: the largest sub-model's
file, in 2**20 bytes."""


class SearchConfig(Frozen):
    """Everything that decides one search."""

    recipe: Recipe
    """What every trial starts from."""
    space: str
    """`tune_spaces.cut_and_level`, or the path of a Python file with `param_space`."""
    objectives: Annotated[tuple[str, ...], Field(min_length=1)] = ("accuracy", "bytes", "seconds")
    trials: Annotated[int, Field(ge=1)] = 20
    """Trials that start training; infeasible points and repeated ones do not count."""
    max_epochs: Annotated[int, Field(ge=1)] | None = None
    """Budget of training epochs for all trials together; None: no limit."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Optuna's: a tree-structured Parzen estimator, or random points."""
    first_rung: Annotated[int, Field(ge=1)] | None = None
    """Epochs after which a trial can be stopped for the first time; None: a third of the recipe's."""
    reduction: Annotated[int, Field(ge=2)] | None = 3
    """Of the trials that reach a rung, one in `reduction` continues; each rung is `reduction` times as many epochs as
    the one before. None: no trial is stopped."""
    link: Link
    device: Machine
    server: Machine
    rate: Annotated[float, Field(gt=0)] | None = None
    """Images per second that device, link and server must sustain at inference."""
    max_loss: Annotated[float, Field(ge=0)] | None = 0.05
    """Accuracy, in 0..1, that the knee may lose against the best trial; None: any."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @property
    def directions(self) -> dict[str, Direction]:
        """The chosen objectives, each with its direction."""
        return {name: _known_objectives(self.recipe)[name] for name in self.objectives}

    @property
    def platform(self) -> Platform:
        """What trials are costed on."""
        return Platform(link=self.link, device=self.device, server=self.server)

    @model_validator(mode="after")
    def _without_monitors(self) -> SearchConfig:
        if isinstance(self.recipe, SplitConfig) and self.recipe.monitors:
            raise ValueError(
                "recipe: monitors are told of a run, and Tune's own loggers of the trials of a search "
                "(docs/search.md); set monitors to []"
            )
        return self

    @model_validator(mode="after")
    def _objectives_are_known(self) -> SearchConfig:
        known = _known_objectives(self.recipe)
        for name in self.objectives:
            if name not in known:
                raise ValueError(f"this kind of recipe has no objective '{name}'. {nearest(name, known)}")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"an objective is named twice: {', '.join(self.objectives)}")
        return self


def _known_objectives(recipe: Recipe) -> Objectives:
    return SPLIT_OBJECTIVES if isinstance(recipe, SplitConfig) else ENSEMBLE_OBJECTIVES
