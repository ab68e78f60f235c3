"""Schedules: which level an epoch trains at, and why."""

from __future__ import annotations

from dataclasses import dataclass

from raysplit.config import Deprune, Fixed, Level, Schedule


@dataclass(frozen=True)
class Decision:
    level: Level
    reason: str
    reset_logits: bool = False
    """Redraw the bottleneck's logits before the epoch."""
    fresh_optimizer: bool = False
    """Empty the optimisers' state before the epoch."""


def decide(schedule: Schedule, epoch: int, epochs: int) -> Decision:
    """Return what epoch number `epoch` (from 0) of `epochs` trains at.

    Deprune gives each phase its share of the epochs, rounded, and at least one epoch (Mudvari et al. 2024,
    deprune).
    """
    if isinstance(schedule, Fixed):
        return Decision(schedule.level, "fixed")
    starts = phase_starts(schedule, epochs)
    phase = max(i for i, start in enumerate(starts) if start <= epoch)
    entering = phase > 0 and starts[phase] == epoch
    return Decision(
        schedule.phases[phase].level,
        f"phase {phase + 1} of {len(starts)}",
        reset_logits=entering and schedule.reset_logits,
        fresh_optimizer=entering and schedule.fresh_optimizer,
    )


def phase_starts(schedule: Deprune, epochs: int) -> tuple[int, ...]:
    """Return the first epoch of each phase; needs at least one epoch a phase."""
    total = sum(phase.share for phase in schedule.phases)
    starts, share = [0], 0.0
    for i, phase in enumerate(schedule.phases[:-1], start=1):
        share += phase.share
        after = len(schedule.phases) - i
        starts.append(min(max(round(epochs * share / total), starts[-1] + 1), epochs - after))
    return tuple(starts)
