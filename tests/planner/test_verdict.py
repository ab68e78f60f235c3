"""What a plan recommends: the loosest level that is fast enough, never a reshape."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raysplit.hardware.link import NAMED
from raysplit.planner.static_plan import LEVELS
from raysplit.planner.verdict import recommend, verdict
from tests.planner.test_static_plan import make_plan


@pytest.fixture(scope="module", params=["wifi", "lte", "iot"])
def plan(request):
    return make_plan(link=NAMED[request.param])


def test_the_loosest_level_within_the_budget(plan):
    for level in LEVELS:
        fastest = min((row.total_s for row in plan.rows if row.level == level), default=None)
        if fastest is None:
            continue
        row = recommend(replace(plan, budget_s=fastest))
        assert row.total_s <= fastest and LEVELS.index(row.level) <= LEVELS.index(level)
        looser = [other for other in plan.rows if other.level in LEVELS[: LEVELS.index(row.level)]]
        assert all(other.total_s > fastest for other in looser)


def test_without_a_budget_a_cut_has_to_be_worth_it(plan):
    whole = min(row.total_s for row in plan.rows if row.level is None)
    row = recommend(plan)
    assert row.total_s <= whole
    assert verdict(plan).startswith("Do not cut" if row.level is None else f"Cut at {row.cut}, level {row.level}")


def test_a_budget_that_nothing_meets(plan):
    tight = replace(plan, budget_s=1e-9)
    assert recommend(tight) is None
    assert verdict(tight).startswith("Nothing is within 1e-06 ms: the fastest, ")


def test_a_reshape_is_the_cut_before_it(plan):
    flat = [row for row in plan.rows if any("flatten" in name for name in row.equal_cuts)]
    assert flat and not any("flatten" in row.cut for row in plan.rows)
    assert len({(row.cut, row.level) for row in plan.rows}) == len(plan.rows)
