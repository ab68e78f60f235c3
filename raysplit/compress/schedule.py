"""What a schedule decides for an epoch: the level, how it is trained, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from raysplit.compress.adaptive import Past, budgeted, link_aware, plateau
from raysplit.config import (
    ByteBudget,
    Deprune,
    Fixed,
    FreezeAndCache,
    Level,
    LinkAware,
    Phase,
    Plateau,
    Prune,
    Schedule,
)

Mode = Literal["joint", "local", "alone", "frozen", "cached"]
"""joint: activations up, gradients down. local: the device learns from its own loss, the server from the
activations; nothing comes down. alone: the device learns from its own loss, nothing crosses. frozen: the device
half rests, the server learns from the activations and keeps them. cached: it learns from what it kept."""


@dataclass(frozen=True)
class Decision:
    level: Level
    reason: str
    reset_logits: bool = False
    """Redraw the bottleneck's logits before the epoch."""
    fresh_optimizer: bool = False
    """Empty the optimisers' state before the epoch."""
    mode: Mode = "joint"
    ends_level: bool = False
    """The model is kept at the end of the epoch: a member of a prune family."""
    hand_over: bool = False
    """The device's head crosses before the epoch and becomes part of the server half."""
    span: tuple[int, int] | None = None
    """First epoch and number of epochs that the learning-rate schedule covers; None: the whole run."""
    lr_scale: float = 1.0


@dataclass(frozen=True)
class Course:
    """What a schedule knows of the run."""

    epochs: int
    steps: int
    """Optimiser steps in an epoch."""
    step_bytes: Callable[[Level], int]
    """The most bytes, both ways, of one optimiser step at a level."""
    local: bool = False
    """The device half has a loss of its own."""


def decide(schedule: Schedule, epoch: int, course: Course, history: Sequence[Past] = ()) -> Decision:
    """Return what epoch number `epoch` (from 0) trains at.

    `history` are the epochs before it. Phases get their share of the epochs, rounded, and at least one epoch
    (Mudvari et al. 2024, deprune and prune). Raises ConfigError when a byte budget cannot be kept.
    """
    joint: Mode = "local" if course.local else "joint"
    if isinstance(schedule, Fixed):
        return Decision(schedule.level, "fixed", mode=joint)
    if isinstance(schedule, ByteBudget):
        level, reason = budgeted(schedule, epoch, course.epochs, course.steps, course.step_bytes, history)
        return Decision(level, reason, mode=joint)
    if isinstance(schedule, LinkAware):
        level, reason = link_aware(schedule, course.steps, course.step_bytes, history)
        return Decision(level, reason, mode=joint)
    if isinstance(schedule, Plateau):
        level, reason = plateau(schedule, history, course.step_bytes)
        new = bool(history) and str(level) != history[-1].level
        return Decision(level, reason, new and schedule.reset_logits, new and schedule.fresh_optimizer, mode=joint)
    return _phased(schedule, epoch, course)


def _phased(schedule: Deprune | Prune | FreezeAndCache, epoch: int, course: Course) -> Decision:
    starts = phase_starts(schedule.phases, course.epochs)
    index = max(i for i, start in enumerate(starts) if start <= epoch)
    start, end = starts[index], (*starts[1:], course.epochs)[index]
    phase, entering = schedule.phases[index], index > 0 and start == epoch
    reason = f"phase {index + 1} of {len(starts)}"
    if isinstance(schedule, Deprune):
        return Decision(
            phase.level,
            reason,
            reset_logits=entering and schedule.reset_logits,
            fresh_optimizer=entering and schedule.fresh_optimizer,
            mode="local" if course.local else "joint",
        )
    span, scale = (start, end - start), schedule.phases[index].lr_scale
    if isinstance(schedule, Prune):
        reason = "base of the family" if index == 0 else f"level {index + 1} of {len(starts)}, by transfer"
        return Decision(phase.level, reason, ends_level=epoch == end - 1, span=span, lr_scale=scale)
    mode, reason = _cache_mode(schedule, index, epoch - start, course.local)
    hand_over = index == 1 and entering and schedule.hands_over and course.local
    return Decision(
        phase.level, reason, mode=mode, fresh_optimizer=entering, span=span, lr_scale=scale, hand_over=hand_over
    )


def _cache_mode(schedule: FreezeAndCache, phase: int, epoch: int, local: bool) -> tuple[Mode, str]:
    if phase == 0:
        return ("alone", "the device learns alone") if local else ("joint", "before the device half is frozen")
    if phase == 2:
        return "joint", "finish together"
    if epoch < schedule.views:
        return "frozen", f"frozen, view {epoch + 1} of {schedule.views} is sent and kept"
    return "cached", "frozen, from what the server kept"


def phase_starts(phases: Sequence[Phase], epochs: int) -> tuple[int, ...]:
    """Return the first epoch of each phase; needs at least one epoch a phase."""
    total = sum(phase.share for phase in phases)
    starts, share = [0], 0.0
    for i, phase in enumerate(phases[:-1], start=1):
        share += phase.share
        after = len(phases) - i
        starts.append(min(max(round(epochs * share / total), starts[-1] + 1), epochs - after))
    return tuple(starts)


def foreseen(schedule: Schedule, course: Course) -> list[Decision] | None:
    """Return the decisions of all epochs before the run, or None where they depend on what it will measure.

    A byte budget is foreseen by the upper bound of each message; in truth it may loosen earlier.
    """
    if isinstance(schedule, Plateau | LinkAware):
        return None
    decisions: list[Decision] = []
    history: list[Past] = []
    for epoch in range(course.epochs):
        decisions.append(decide(schedule, epoch, course, history))
        level = decisions[-1].level
        history.append(Past(str(level), 0.0, course.steps * course.step_bytes(level), 0.0, 0.0))
    return decisions
