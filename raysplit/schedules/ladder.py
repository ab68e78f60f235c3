"""Levels in order of bytes, for the schedules that depend on the history."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from raysplit.errors import ConfigError
from raysplit.schedules.base import RunContext
from raysplit.utils.frozen import Frozen
from raysplit.wire.level import Level


class Ladder(Frozen):
    """A list of levels, from the tightest to the loosest: base of the schedules that depend on the history.

    >>> [str(level) for level in Ladder(ladder=("c4.b4/b4", "all.b4/b4")).levels()]
    ['c4·b4/b4', 'all·b4/b4']
    """

    ladder: Annotated[tuple[Level, ...], Field(min_length=1)]

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen, tightest first."""
        return self.ladder

    @model_validator(mode="after")
    def _each_level_once(self) -> Self:
        for level, count in Counter(self.ladder).items():
            if count > 1:
                raise ValueError(f"level {level} is in the ladder {count} times")
        return self

    def check_order(self, context: RunContext) -> None:
        """Raise ConfigError unless the levels are in ascending order of bytes."""
        for level, after in pairwise(self.ladder):
            if context.step_bytes(level) > context.step_bytes(after):
                raise ConfigError(
                    f"schedule.ladder: {level} ({context.step_bytes(level):,} B a step at most) stands before {after} "
                    f"({context.step_bytes(after):,} B); list the tightest level first"
                )
