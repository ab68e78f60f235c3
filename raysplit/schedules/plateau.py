"""Plateau: one level looser whenever validation accuracy has stalled."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from raysplit.schedules.base import Decision, History, RunContext
from raysplit.schedules.ladder import Ladder
from raysplit.wire.level import Level


class Plateau(Ladder):
    """One level looser whenever validation accuracy has stalled.

    >>> schedule = Plateau(ladder=("c4.b4/b4", "all.b4/b4"), patience=2)
    >>> context = RunContext(epochs=4, steps=10, step_bytes=lambda level: 1_000)
    >>> schedule.decide(context, []).reason
    'tightest first'
    """

    measures: ClassVar[bool] = True
    kind: Literal["plateau"] = "plateau"
    patience: Annotated[int, Field(ge=1)] = 2
    """Epochs without a gain before the next level."""
    min_gain: Annotated[float, Field(ge=0)] = 0.005
    """Validation accuracy (0..1) that counts as a gain over the last counted gain at the level."""
    reset_logits: bool = True
    fresh_optimizer: bool = False

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return the last level, or the next looser one when accuracy has stalled at it.

        A gain is measured from the last gain, as in torch's ReduceLROnPlateau, so that small gains add up. Raises
        ConfigError for a ladder that is not in order.
        """
        self.check_order(context)
        level, reason = self._pick(history)
        moved = bool(history) and str(level) != history[-1].level
        return Decision(
            level,
            reason,
            moved and self.reset_logits,
            moved and self.fresh_optimizer,
            mode=context.next_mode(level, history),
            fresh_views=context.frozen,
        )

    def _pick(self, history: History) -> tuple[Level, str]:
        if not history:
            return self.ladder[0], "tightest first"
        index = [str(level) for level in self.ladder].index(history[-1].level)
        first = len(history) - 1
        while first > 0 and history[first - 1].level == history[-1].level:
            first -= 1
        best, since = history[first].val_accuracy, 0
        for record in history[first + 1 :]:
            gained = record.val_accuracy > best and record.val_accuracy >= best + self.min_gain
            best, since = (record.val_accuracy, 0) if gained else (best, since + 1)
        if since < self.patience:
            return self.ladder[index], f"{since} of {self.patience} epochs without gain"
        if index == len(self.ladder) - 1:
            return self.ladder[index], f"stalled for {since} epochs at the loosest level"
        return self.ladder[index + 1], f"stalled at {100 * best:.1f} % for {since} epochs"
