"""Nested: each optimizer step draws its level, so that all levels learn at once.

Channels that are sent at a tight level are sent at every looser one, as the first coordinates of a representation are
used at every size in Kusupati, Bhatt, Rege, Wallingford, Sinha, Ramanujan, Howard-Snyder, Chen, Kakade, Jain, Farhadi,
"Matryoshka Representation Learning", NeurIPS 2022 (arXiv 2205.13147), which adds the losses of all sizes; a draw for
each step, which costs one of them, is that of Rippel, Gelbart, Adams, "Learning Ordered Representations with Nested
Dropout", ICML 2014.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysplit.schedules.base import Decision, History, RunContext
from raysplit.schedules.mixture import WeightedLevel
from raysplit.schedules.phases import phase_position
from raysplit.utils.frozen import Frozen
from raysplit.wire.level import Level


class NestedPhase(Frozen):
    """Consecutive epochs whose steps draw from some levels; the last of them is the one that is validated.

    >>> phase = NestedPhase(levels=({"level": "c4.b4/b4", "weight": 3}, "all.b4/b4"), share=2)
    >>> str(phase.level), phase.levels[0].weight
    ('all·b4/b4', 3.0)
    """

    levels: Annotated[tuple[WeightedLevel, ...], Field(min_length=1)]
    share: Annotated[float, Field(gt=0)]
    """Share of the run's epochs, relative to the other phases' shares."""
    keep: bool = False
    """Test the model at the end of the phase and keep it: a level of the run's family."""

    @property
    def level(self) -> Level:
        """The level that the phase's epochs are validated at."""
        return self.levels[-1].level

    @model_validator(mode="after")
    def _each_level_once(self) -> NestedPhase:
        for level, count in Counter(entry.level for entry in self.levels).items():
            if count > 1:
                raise ValueError(f"level {level} is in the phase {count} times; give it one weight")
        return self


class Nested(Frozen):
    """Phases whose optimizer steps draw their levels: all levels of a phase learn at once.

    >>> tight = {"level": "c4.b4/b4", "weight": 3}
    >>> schedule = Nested(phases=({"levels": [tight, "all.b4/b4"], "share": 3}, {"levels": ["all.b4/b4"], "share": 1}))
    >>> context = RunContext(epochs=4, steps=10, step_bytes=lambda level: 1_000)
    >>> from raysplit.schedules import foresee
    >>> [decision.reason for decision in foresee(schedule, context)][2:]
    ['phase 1 of 2: 75 % c4·b4/b4, 25 % all·b4/b4', 'phase 2 of 2']
    """

    kind: Literal["nested"] = "nested"
    phases: Annotated[tuple[NestedPhase, ...], Field(min_length=1)]
    smooth: bool = False
    """Move from the weights of each phase to those of the next, a little in each epoch of the phase."""

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be drawn, in order."""
        return tuple(dict.fromkeys(entry.level for phase in self.phases for entry in phase.levels))

    @model_validator(mode="after")
    def _what_is_kept(self) -> Nested:
        if any(phase.keep for phase in self.phases) and not self.phases[-1].keep:
            raise ValueError("a phase is kept and the last one is not: the run would keep its last model alone")
        for level, count in Counter(phase.level for phase in self.phases if phase.keep).items():
            if count > 1:
                raise ValueError(f"level {level} is kept by {count} phases; a family has one model for each level")
        return self

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return the mixture of the phase that the epoch lies in; a phase of one level has none."""
        at = phase_position(self.phases, len(history), context.epochs)
        phase, reason = self.phases[at.index], f"phase {at.index + 1} of {len(self.phases)}"
        levels = phase.levels
        if self.smooth and at.index < len(self.phases) - 1:
            levels = _between(levels, self.phases[at.index + 1].levels, (at.epoch - at.start) / (at.end - at.start))
        mixed = len(levels) > 1
        if mixed:
            total = sum(entry.weight for entry in levels)
            reason += ": " + ", ".join(f"{100 * entry.weight / total:.3g} % {entry.level}" for entry in levels)
        return Decision(
            phase.level,
            reason,
            mode=context.next_mode(phase.level, history),
            fresh_views=context.frozen,
            ends_level=phase.keep and at.epoch == at.end - 1,
            mixture=levels if mixed else (),
        )


def _between(first: Sequence[WeightedLevel], then: Sequence[WeightedLevel], share: float) -> tuple[WeightedLevel, ...]:
    """Return the mixture that has come this share of the way from one to another."""
    weights: dict[Level, float] = {}
    for levels, part in ((first, 1 - share), (then, share)):
        total = sum(entry.weight for entry in levels)
        for entry in levels:
            weights[entry.level] = weights.get(entry.level, 0.0) + part * entry.weight / total
    return tuple(WeightedLevel(level=level, weight=weight) for level, weight in weights.items() if weight > 0)
