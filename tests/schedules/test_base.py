"""What is known of a schedule's decisions before the run."""

from __future__ import annotations

from raysplit.config import ByteBudget, Fixed, FreezeAndCache, LinkAware, Plateau, Prune
from raysplit.schedules import foresee
from tests.schedules.histories import LADDER, MIDDLE, TIGHT, context, decisions, deprune
from tests.schedules.test_freeze_and_cache import LEARN, SEND


def test_what_is_foreseen():
    freeze = FreezeAndCache(learn=LEARN, send=SEND)
    for schedule in (Fixed(level=TIGHT), deprune(2, 1, 1), Prune(phases=(LEARN, SEND)), freeze):
        assert foresee(schedule, context(5)) == decisions(schedule, 5)
    budget = ByteBudget(ladder=LADDER, megabytes=0.19)
    assert [decision.level for decision in foresee(budget, context(5))] == [TIGHT, MIDDLE, MIDDLE, MIDDLE, MIDDLE]
    assert foresee(Plateau(ladder=(TIGHT,)), context(5)) is None
    assert foresee(LinkAware(ladder=(TIGHT,), step_s=1), context(5)) is None
