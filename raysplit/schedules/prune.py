"""Prune: loose first, a model kept at each level (Mudvari et al., ACM TOIT 24(4), 2024)."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysplit.schedules.base import Decision, History, RunContext
from raysplit.schedules.phases import Stage, phase_position
from raysplit.utils.frozen import Frozen
from raysplit.wire.level import Level


class Prune(Frozen):
    """Loose first, then tighter by transfer (Mudvari et al. 2024): one run, a model kept at the end of each stage.

    All weights carry over, nothing is frozen or redrawn, and the optimizer keeps its state.

    >>> schedule = Prune(phases=({"level": "all.b4/b4", "share": 3}, {"level": "c4.b4/b4", "share": 1}))
    >>> context = RunContext(epochs=4, steps=10, step_bytes=lambda level: 1_000)
    >>> from raysplit.schedules import foresee
    >>> [decision.ends_level for decision in foresee(schedule, context)]
    [False, False, True, True]
    """

    kind: Literal["prune"] = "prune"
    phases: Annotated[tuple[Stage, ...], Field(min_length=1)]

    def levels(self) -> tuple[Level, ...]:
        """Return the family's levels, loosest first."""
        return tuple(phase.level for phase in self.phases)

    @model_validator(mode="after")
    def _each_level_once(self) -> Prune:
        for level, count in Counter(self.levels()).items():
            if count > 1:
                raise ValueError(f"level {level} is in {count} phases; a family has one model for each level")
        return self

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return the level of the stage that the epoch lies in; its last epoch ends the level."""
        at = phase_position(self.phases, len(history), context.epochs)
        stage, count = self.phases[at.index], len(self.phases)
        reason = "base of the family" if at.index == 0 else f"level {at.index + 1} of {count}, by transfer"
        return Decision(
            stage.level,
            reason,
            mode=context.next_mode(stage.level, history),
            fresh_views=context.frozen,
            ends_level=at.epoch == at.end - 1,
            span=at.span,
            lr_scale=stage.lr_scale,
        )
