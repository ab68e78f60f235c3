"""One level throughout."""

from __future__ import annotations

from typing import Literal

from raysplit.schedules.base import Decision, History, RunContext
from raysplit.utils.frozen import Frozen
from raysplit.wire.level import DEFAULT_LEVEL, Level


class Fixed(Frozen):
    """One level from the first epoch to the last.

    >>> str(Fixed(level="c4.b4/b4.zstd").levels()[0])
    'c4·b4/b4·zstd'
    """

    kind: Literal["fixed"] = "fixed"
    level: Level = DEFAULT_LEVEL

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen."""
        return (self.level,)

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return the level, trained jointly, by the device's own loss, or with a frozen device half."""
        mode = context.next_mode(self.level, history)
        return Decision(self.level, "fixed", mode=mode, fresh_views=context.frozen)
