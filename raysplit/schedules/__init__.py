"""Schedules: which level each epoch trains at.

Each is a frozen config with the methods `levels()` and `decide(context, history)`; a class of your own needs only
those two (docs/extending.md).
"""

from raysplit.schedules.base import Decision, History, RunContext, Schedule, foresee, list_levels, next_decision
from raysplit.schedules.byte_budget import ByteBudget
from raysplit.schedules.deprune import Deprune
from raysplit.schedules.field import AnySchedule
from raysplit.schedules.fixed import Fixed
from raysplit.schedules.freeze_and_cache import FreezeAndCache
from raysplit.schedules.link_aware import LinkAware
from raysplit.schedules.mixture import WeightedLevel
from raysplit.schedules.nested import Nested, NestedPhase
from raysplit.schedules.phases import Phase, Stage, phase_starts
from raysplit.schedules.plateau import Plateau
from raysplit.schedules.prune import Prune
from raysplit.schedules.user import ScheduleRecord, UserSchedule

Phased = Deprune | Nested | Prune | FreezeAndCache
"""The schedules with `phases`, each with a level and a share of the epochs."""

OWN_SCHEDULES = (ByteBudget, Deprune, Fixed, FreezeAndCache, LinkAware, Nested, Plateau, Prune)
"""Those of this package: none runs a user's code."""

__all__ = [
    "OWN_SCHEDULES",
    "AnySchedule",
    "ByteBudget",
    "Decision",
    "Deprune",
    "Fixed",
    "FreezeAndCache",
    "History",
    "LinkAware",
    "Nested",
    "NestedPhase",
    "Phase",
    "Phased",
    "Plateau",
    "Prune",
    "RunContext",
    "Schedule",
    "ScheduleRecord",
    "Stage",
    "UserSchedule",
    "WeightedLevel",
    "foresee",
    "list_levels",
    "next_decision",
    "phase_starts",
]
