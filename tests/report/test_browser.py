"""Reports and plans in a real browser, on a phone and on a desk."""

from __future__ import annotations

from itertools import product

import pytest

from raysplit.planner.render import format_page
from raysplit.report import write_ensemble_report, write_report
from tests.browser import WIDTHS, assert_readable, browser, needs_chromium, watched
from tests.planner.test_static_plan import make_plan, plan_that_recommends
from tests.report.builds import build_record
from tests.report.schedules import SCHEDULES, make_run, write

__all__ = ["browser"]
pytestmark = needs_chromium


def write_runs(folder, kinds) -> str:
    runs = [write(run, folder / f"{run.name}_{'long' * 9 * (index % 4 == 0)}") for index, run in enumerate(kinds)]
    return write_report(runs, str(folder / "report.html"))[0]


def one_run(folder) -> str:
    return write_runs(folder, [make_run("freeze_and_cache_finish", local_loss=True)])


def many_runs(folder) -> str:
    kinds = [kind for kind in product(SCHEDULES, (False, True)) if kind != ("prune", True)]
    return write_runs(folder, [make_run(*kind, ended=index % 5 != 4) for index, kind in enumerate(kinds)])


def large_ensemble(folder) -> str:
    return write_ensemble_report(build_record(folder))


def small_ensemble(folder) -> str:
    return write_ensemble_report(build_record(folder, n=3, precision="fp32", devices=False))


def plan(folder) -> str:
    (folder / "plan.html").write_text(format_page(make_plan(rate=30.0)))
    return str(folder / "plan.html")


def infeasible_plan(folder) -> str:
    (folder / "plan.html").write_text(format_page(make_plan(rate=1e9)))
    return str(folder / "plan.html")


@pytest.mark.parametrize("make", [one_run, many_runs, large_ensemble, small_ensemble, plan, infeasible_plan])
def test_a_page_fits_and_can_be_read(make, browser, tmp_path):
    file = f"file://{make(tmp_path)}"
    with watched(browser, file) as page:
        page.goto(file)
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert_readable(page, make.__name__)


@pytest.mark.parametrize("what", ["cut", "whole"])
def test_what_a_plan_recommends_stands_out(what, browser, tmp_path):
    """Without scrolling sideways, and by its shape as well as its color."""
    (tmp_path / "plan.html").write_text(format_page(plan_that_recommends(what)))
    file = f"file://{tmp_path}/plan.html"
    with watched(browser, file) as page:
        page.goto(file)
        for width, scheme in product(WIDTHS, ("light", "dark")):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme)
            for mark in (page.locator(".heat td.best"), page.locator("tr.best td:first-child")):
                box = mark.bounding_box()
                assert box["x"] >= 0 and box["x"] + box["width"] <= width and mark.inner_text().startswith("★")
                shadow, weight = mark.evaluate(
                    "cell => [getComputedStyle(cell).boxShadow, getComputedStyle(cell).fontWeight]"
                )
                assert shadow != "none" and weight == "700", (width, scheme)
        assert page.get_by_role("img", name="recommended").count() == 1


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<div style="width: 1300px">wide</div>', "400"),
        ('<div style="position: absolute; left: -40px">hidden</div>', "beyond the edge"),
        ('<div style="width: 40px; overflow: hidden; white-space: nowrap">a long sentence</div>', "cut off"),
        ('<p style="color: #999">pale</p>', "contrast 2.85"),
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "no text in place"),
        ('<img alt="lost" src="data:image/png;base64,AAAA">', "not loaded"),
        ('<input id="key">', "#key has no label"),
    ],
)
def test_faults_of_a_page_are_found(body, fault, browser, tmp_path):
    (tmp_path / "page.html").write_text(
        f'<!doctype html><html lang="en"><title>a</title><h1>a</h1>{body}', encoding="utf-8"
    )
    file = f"file://{tmp_path}/page.html"
    with watched(browser, file) as page:
        page.goto(file)
        with pytest.raises(AssertionError, match=fault):
            assert_readable(page, "fault")


@pytest.mark.parametrize(
    "body",
    ['<img src="http://127.0.0.2:9/x.png" alt="x">', "<script>console.error('no')</script>", "<script>x</script>"],
)
def test_requests_elsewhere_and_errors_are_found(body, browser, tmp_path):
    (tmp_path / "page.html").write_text(body)
    file = f"file://{tmp_path}/page.html"
    with pytest.raises(AssertionError), watched(browser, file) as page:
        page.goto(file)
