"""A mixture of levels: each optimizer step of an epoch draws one of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, model_validator

from raysplit.utils.frozen import Frozen
from raysplit.wire.level import Level


class WeightedLevel(Frozen):
    """A level of a mixture; a level's text alone has the weight 1.

    >>> WeightedLevel.model_validate("c4.b4/b4").weight
    1.0
    """

    level: Level
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Chance of a step to draw the level, relative to the other weights."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"level": value} if isinstance(value, str | Level) else value


def draw_level(mixture: Sequence[WeightedLevel], seed: int, step: int) -> Level:
    """Return the level of optimizer step `step` of a run, a function of the run's seed and the step alone.

    >>> mixture = [WeightedLevel(level="c4.b4/b4", weight=3), WeightedLevel(level="all.b4/b4")]
    >>> [draw_level(mixture, seed=0, step=step).channels for step in range(100)].count(4)
    78
    """
    # Python promises the same numbers from random() for a seed in all versions, of no other method.
    left = random.Random(f"level {seed} {step}").random() * sum(entry.weight for entry in mixture)
    for entry in mixture:
        left -= entry.weight
        if left < 0:
            break
    return entry.level
