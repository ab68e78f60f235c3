"""Schedules: which level each epoch trains at.

Each is a frozen config with `levels()` and `decide(context, history)`; a class of your own needs only those two.
"""

from typing import Annotated

from pydantic import Field

from raysplit.schedules.base import Decision, History, RunContext, Schedule, foresee
from raysplit.schedules.byte_budget import ByteBudget
from raysplit.schedules.deprune import Deprune
from raysplit.schedules.fixed import Fixed
from raysplit.schedules.freeze_and_cache import FreezeAndCache
from raysplit.schedules.link_aware import LinkAware
from raysplit.schedules.phases import Phase, Stage, phase_starts
from raysplit.schedules.plateau import Plateau
from raysplit.schedules.prune import Prune

AnySchedule = Annotated[
    Fixed | Deprune | Prune | Plateau | LinkAware | ByteBudget | FreezeAndCache, Field(discriminator="kind")
]
"""The schedules of this package, told apart by `kind`."""

__all__ = [
    "AnySchedule",
    "ByteBudget",
    "Decision",
    "Deprune",
    "Fixed",
    "FreezeAndCache",
    "History",
    "LinkAware",
    "Phase",
    "Plateau",
    "Prune",
    "RunContext",
    "Schedule",
    "Stage",
    "foresee",
    "phase_starts",
]
