"""What every schedule takes and gives: the run's context, the history so far, a decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from raysplit.records.epoch import ByteCounts, EpochRecord, Mode
from raysplit.wire.level import Level

History = Sequence[EpochRecord]
"""The epochs that are over, oldest first; the epoch to decide on has the number `len(history)`."""


@dataclass(frozen=True)
class Decision:
    """How the next epoch trains.

    >>> Decision(Level("c4.b4/b4"), "as told").mode
    'joint'
    """

    level: Level
    reason: str
    """Why, in a few words: the run record shows it."""
    reset_logits: bool = False
    """Redraw the bottleneck's logits before the epoch."""
    fresh_optimizer: bool = False
    """Empty the optimisers' state before the epoch."""
    mode: Mode = "joint"
    ends_level: bool = False
    """The model is kept at the end of the epoch: one level of a family."""
    hand_over: bool = False
    """The device's head crosses before the epoch and becomes part of the server half."""
    span: tuple[int, int] | None = None
    """First epoch and number of epochs that the learning-rate schedule covers; None: the whole run."""
    lr_scale: float = 1.0
    """Peak learning rate of that span, relative to `train.lr`."""


@dataclass(frozen=True)
class RunContext:
    """What a schedule knows of the run."""

    epochs: int
    """That the run trains in all."""
    steps: int
    """Optimiser steps in an epoch."""
    step_bytes: Callable[[Level], int]
    """The most training bytes, both ways, of one optimiser step at a level."""
    local_loss: bool = False
    """The device half has a loss of its own."""

    @property
    def mode(self) -> Mode:
        """How an epoch trains unless the schedule has a reason to do otherwise."""
        return "local" if self.local_loss else "joint"


@runtime_checkable
class Schedule(Protocol):
    """Picks a level for each epoch. Any class with these two methods is one (docs/methods.md#schedules)."""

    def levels(self) -> tuple[Level, ...]:
        """Return every level that can be chosen, without repeats."""
        ...

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return how the next epoch trains; a pure function of its arguments.

        Raises ConfigError when no level will do.
        """
        ...


def foresee(schedule: Schedule, context: RunContext) -> list[Decision] | None:
    """Return the decisions of all epochs before the run, or None where they depend on what it will measure.

    What is known ahead are levels and the upper bound of each message: a byte budget may in truth loosen earlier.
    A schedule that depends on more says so with an attribute `measures = True`.
    """
    if getattr(schedule, "measures", False):
        return None
    decisions: list[Decision] = []
    history: list[EpochRecord] = []
    for epoch in range(context.epochs):
        decision = schedule.decide(context, history)
        decisions.append(decision)
        bound = ByteCounts(up_activations=context.steps * context.step_bytes(decision.level))
        history.append(
            EpochRecord(epoch=epoch, level=str(decision.level), mode=decision.mode, steps=context.steps, bytes=bound)
        )
    return decisions
