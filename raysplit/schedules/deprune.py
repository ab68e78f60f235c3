"""Deprune: tight first, loose later (Mudvari et al., ACM TOIT 24(4), 2024)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raysplit.schedules.base import Decision, History, RunContext
from raysplit.schedules.phases import Phase, phase_position
from raysplit.utils.frozen import Frozen
from raysplit.wire.level import Level


class Deprune(Frozen):
    """Tight first, looser later (Mudvari et al. 2024): a list of phases, each a level and a share of the epochs.

    >>> schedule = Deprune(phases=({"level": "c4.b4/b4", "share": 3}, {"level": "all.b32/b32", "share": 1}))
    >>> context = RunContext(epochs=8, steps=10, step_bytes=lambda level: 1_000)
    >>> from raysplit.schedules import foresee
    >>> [decision.reason for decision in foresee(schedule, context)][5:]
    ['phase 1 of 2', 'phase 2 of 2', 'phase 2 of 2']
    """

    kind: Literal["deprune"] = "deprune"
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    reset_logits: bool = True
    """Redraw the channel logits between phases, so that unused channels get another chance."""
    fresh_optimizer: bool = True
    """Start each phase with empty optimizer state."""

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen, in order."""
        return tuple(dict.fromkeys(phase.level for phase in self.phases))

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return the level of the phase that the epoch lies in."""
        at = phase_position(self.phases, len(history), context.epochs)
        level = self.phases[at.index].level
        return Decision(
            level,
            f"phase {at.index + 1} of {len(self.phases)}",
            reset_logits=at.entering and self.reset_logits,
            fresh_optimizer=at.entering and self.fresh_optimizer,
            mode=context.next_mode(level, history),
            fresh_views=context.frozen,
        )
