"""Phases: stretches of epochs at one level, and where each begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from raysplit.utils.frozen import Frozen
from raysplit.wire.level import Level


class Phase(Frozen):
    """A stretch of epochs at one level."""

    level: Level
    share: Annotated[float, Field(gt=0)]
    """Share of the run's epochs, relative to the other phases' shares."""


class Stage(Phase):
    """A phase with a learning-rate schedule of its own: warm-up and decay take place within it."""

    lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """The stage's peak learning rate, relative to `train.lr`."""


@dataclass(frozen=True)
class PhasePosition:
    """Where an epoch lies among the phases of a run."""

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


def phase_starts(phases: Sequence[Phase], epochs: int) -> tuple[int, ...]:
    """Return the first epoch of each phase; needs at least one epoch a phase."""
    total = sum(phase.share for phase in phases)
    starts, share = [0], 0.0
    for i, phase in enumerate(phases[:-1], start=1):
        share += phase.share
        after = len(phases) - i
        starts.append(min(max(round(epochs * share / total), starts[-1] + 1), epochs - after))
    return tuple(starts)


def phase_position(phases: Sequence[Phase], epoch: int, epochs: int) -> PhasePosition:
    """Return where epoch number `epoch` of `epochs` lies."""
    starts = phase_starts(phases, epochs)
    index = max(i for i, start in enumerate(starts) if start <= epoch)
    return PhasePosition(index, starts[index], (*starts[1:], epochs)[index], epoch)
