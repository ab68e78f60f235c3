"""Byte budget: a total of training traffic that is never exceeded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raysplit.errors import ConfigError
from raysplit.records.epoch import total_traffic
from raysplit.schedules.base import Decision, History, RunContext
from raysplit.schedules.ladder import Ladder


class ByteBudget(Ladder):
    """A total that training traffic never exceeds: tight as long as it must be, loose at the end.

    An epoch trains at the loosest level that could be kept up to the end with the bytes that are left, counted
    by the upper bound of every message.
    """

    kind: Literal["byte_budget"] = "byte_budget"
    megabytes: Annotated[float, Field(gt=0)]
    """Frame bytes of training traffic in both directions, in units of 10⁶."""

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return the loosest level that could be kept to the end with the bytes left.

        Epochs that cost less than the bound leave more for those to come, so the level only ever gets looser.
        Raises ConfigError when even the tightest level may cost more.
        """
        step_bytes, left = context.step_bytes, context.epochs - len(history)
        spent, ahead = total_traffic(history), left * context.steps
        # In megabytes: what the error asks for reads back as this very quotient; megabytes times 1e6 may fall short.
        affordable = [level for level in self.ladder if (spent + ahead * step_bytes(level)) / 1e6 <= self.megabytes]
        if not affordable:
            tightest = min(self.ladder, key=step_bytes)
            needed = f"{ahead * step_bytes(tightest) / 1e6:.6f}".rstrip("0").rstrip(".")  # to the byte
            raise ConfigError(
                f"schedule.megabytes={self.megabytes} is too little: {left} epochs at the tightest "
                f"level {tightest} may take {needed} MB; allow more or add a tighter level"
            )
        reason = f"{self.megabytes - spent / 1e6:.4g} MB left for {left} epochs"
        return Decision(max(affordable, key=step_bytes), reason, mode=context.mode)
