"""Contexts and scripted histories for the tests of schedules."""

from __future__ import annotations

from raysplit.config import UNCOMPRESSED, Deprune, Level, Phase
from raysplit.records.epoch import ByteCounts, EpochRecord
from raysplit.schedules import Decision, RunContext, Schedule

TIGHT, MIDDLE, LOOSE = Level(channels=4), Level(channels=16), UNCOMPRESSED
LADDER = (TIGHT, MIDDLE, LOOSE)
BYTES = {TIGHT: 1_000, MIDDLE: 4_000, LOOSE: 16_000}
"""Of an optimizer step."""
STEPS = 10


def context(epochs: int = 5, local_loss: bool = False) -> RunContext:
    return RunContext(epochs, STEPS, BYTES.__getitem__, local_loss)


def record(
    level: Level, val_accuracy: float = 0.5, traffic: int = 10_000, link_s: float = 0.2, compute_s: float = 0.1
) -> EpochRecord:
    """An epoch that is over; its number is of no account to a schedule."""
    return EpochRecord(
        epoch=0,
        level=str(level),
        val_accuracy=val_accuracy,
        steps=STEPS,
        bytes=ByteCounts(up_activations=traffic),
        train_s=link_s + compute_s,
        train_compute_s=compute_s,
    )


def decisions(schedule: Schedule, epochs: int, local_loss: bool = False) -> list[Decision]:
    """Decisions of a schedule that does not look back: the history counts the epochs and says nothing else."""
    return [schedule.decide(context(epochs, local_loss), [record(TIGHT)] * epoch) for epoch in range(epochs)]


def deprune(*shares: float, **options: bool) -> Deprune:
    """A schedule with a phase for each share, at three levels in turn."""
    phases = tuple(Phase(level=LADDER[i % 3], share=share) for i, share in enumerate(shares))
    return Deprune(phases=phases, **options)
