"""A static plan as text and as a page."""

from __future__ import annotations

from raysplit.planner.render import format_page, format_table
from tests.planner.test_static_plan import make_plan


def test_a_plan_is_a_table_and_a_page():
    plan = make_plan(rate=30.0)
    text, page = format_table(plan), format_page(plan)
    assert text.count("← recommended") == 1 and "30 images/s" in text
    assert all(row.cut in page for row in plan.rows) and page.count("<td>recommended") == 1
    for shown in (text, page):
        assert "Accuracy is not known before training" in shown
    assert text.startswith(("Cut at ", "Do not cut"))
    assert "hsl(130" in page


def test_infeasible_rows_say_why():
    plan = make_plan(rate=1e9)
    assert plan.fastest() is None and "recommended" not in format_table(plan)
    assert format_table(plan).startswith("Nothing is feasible")
    assert all(row.fault in format_table(plan) for row in plan.rows)
    assert format_page(plan).count('class="fault"') == len(plan.rows)
