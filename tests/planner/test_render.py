"""A static plan as text and as a page."""

from __future__ import annotations

import re

import pytest

from raysplit.planner.render import format_page, format_table
from raysplit.planner.static_plan import LEVELS
from raysplit.planner.verdict import recommend
from raysplit.utils.text_table import number
from tests.planner.test_static_plan import make_plan, plan_that_recommends
from tests.report.cells import Cells


def test_a_plan_is_a_table_and_a_page():
    plan = make_plan(rate=30.0)
    text, page = format_table(plan), format_page(plan)
    assert text.count("← recommended") == 1 and "30 images/s" in text
    assert all(row.cut in page for row in plan.rows) and page.count("<td>recommended") == 1
    for shown in (text, page):
        assert "Accuracy is not known before training" in shown
    assert text.startswith(("Cut at ", "Do not cut"))
    assert "hsl(130" in page


@pytest.mark.parametrize("what", ["cut", "whole"])
def test_what_is_recommended_is_marked_in_both_tables(what):
    plan = plan_that_recommends(what)
    best, page = recommend(plan), format_page(plan)
    assert (best.level is None) == (what == "whole")
    [cell] = re.findall(r'<td([^>]*) class="best"[^>]*>(.*?)</td>', page)
    assert cell[0] == (f' colspan="{len(LEVELS)}"' if best.level is None else "")
    assert cell[1] == f'<span role="img" aria-label="recommended">★</span> {number(1000 * best.total_s)}'
    [row] = [cells for cells in Cells(page).rows if cells[-1].startswith("recommended")]
    assert row[:2] == [f"★ {best.cut}", best.level or "–"] and page.count('<tr class="best">') == 1
    assert "★ is recommended." in page


def test_infeasible_rows_say_why():
    plan = make_plan(rate=1e9)
    assert plan.fastest() is None and "recommended" not in format_table(plan)
    assert format_table(plan).startswith("Nothing is feasible")
    assert all(row.fault in format_table(plan) for row in plan.rows)
    page = format_page(plan)
    assert page.count('class="fault"') == len(plan.rows) and "★" not in page and 'class="best"' not in page
