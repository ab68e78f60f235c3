"""Phases: consecutive epochs at one level, and where each phase begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from raysplit.utils.frozen import Frozen
from raysplit.wire.level import Level


class Shared(Protocol):
    """What has a share of a run's epochs."""

    @property
    def share(self) -> float: ...


class Phase(Frozen):
    """Consecutive epochs at one level.

    >>> str(Phase(level="c4.b4/b4", share=2).level)
    'c4·b4/b4'
    """

    level: Level
    share: Annotated[float, Field(gt=0)]
    """Share of the run's epochs, relative to the other phases' shares."""


class Stage(Phase):
    """A phase with its own learning-rate schedule: warm-up and decay happen within it.

    >>> Stage(level="c4.b4/b4", share=2, lr_scale=0.3).lr_scale
    0.3
    """

    lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """The stage's peak learning rate, relative to `train.lr`."""


@dataclass(frozen=True)
class PhasePosition:
    """Where an epoch lies among the phases of a run.

    >>> phases = [Phase(level="c4.b4/b4", share=3), Phase(level="all.b4/b4", share=1)]
    >>> position = phase_position(phases, epoch=6, epochs=8)
    >>> position.index, position.entering, position.span
    (1, True, (6, 2))
    """

    index: int
    """Of the phase, from 0."""
    start: int
    """First epoch of the phase."""
    end: int
    """The epoch after its last."""
    epoch: int

    @property
    def entering(self) -> bool:
        """Whether the epoch is the first of a phase that follows another."""
        return self.index > 0 and self.epoch == self.start

    @property
    def span(self) -> tuple[int, int]:
        """First epoch and number of epochs of the phase."""
        return self.start, self.end - self.start


def phase_starts(phases: Sequence[Shared], epochs: int) -> tuple[int, ...]:
    """Return the first epoch of each phase; there must be at least as many epochs as phases.

    >>> phase_starts([Phase(level="c4.b4/b4", share=15), Phase(level="all.b4/b4", share=7)], epochs=22)
    (0, 15)
    """
    total = sum(phase.share for phase in phases)
    starts, share = [0], 0.0
    for i, phase in enumerate(phases[:-1], start=1):
        share += phase.share
        after = len(phases) - i
        starts.append(min(max(round(epochs * share / total), starts[-1] + 1), epochs - after))
    return tuple(starts)


def phase_position(phases: Sequence[Shared], epoch: int, epochs: int) -> PhasePosition:
    """Return where epoch number `epoch` of `epochs` lies.

    >>> phases = [Phase(level="c4.b4/b4", share=15), Phase(level="all.b4/b4", share=7)]
    >>> phase_position(phases, epoch=16, epochs=22).span
    (15, 7)
    """
    starts = phase_starts(phases, epochs)
    index = max(i for i, start in enumerate(starts) if start <= epoch)
    return PhasePosition(index, starts[index], (*starts[1:], epochs)[index], epoch)
