"""The page of a split network, in a real browser."""

from __future__ import annotations

from starlette.testclient import TestClient

from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves
from tests.browser import assert_readable, browser, needs_chromium, opened, playwright

__all__ = ["browser"]
pytestmark = needs_chromium


def app_of(family, **access):
    return SplitRoutes(ServerHalves(family, Limits()), SplitArgs(family="unused", access=access)).app


def test_the_page_describes_the_family_and_how_to_ask_it(browser, family):
    with opened(browser, app_of(family)) as page:
        page.wait_for_selector("#family", state="visible")
        facts = page.inner_text("#facts")
        assert all(text in facts for text in ("10: 0, 1, 2", "8 × 8 pixels, grey", f"after {family.manifest.cut};"))
        rows = [row.split("\t") for row in page.locator("#levels tr").all_inner_texts()]
        assert [row[0] for row in rows] == [entry.level for entry in family.levels]
        assert [row[1] for row in rows] == [f"{100 * entry.test_accuracy:.1f} %" for entry in family.levels]
        sizes = [row[2].replace("≤ ", "").replace(",", "") for row in rows]
        assert sizes == [str(entry.bytes_per_image) for entry in family.levels]
        command = page.inner_text("#command")
        assert command == f"raysplit device FAMILY photo.jpg \\\n  --url {page.url.rstrip('/')}"
        playwright.expect(page.locator("#traffic")).to_contain_text("0 requests")
        assert page.is_hidden("#error") and page.is_hidden("#key-prompt")
        assert_readable(page, "split")
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("(table => table.scrollWidth - table.clientWidth)(document.querySelector('.wide'))") == 0


def test_details_are_shown_to_who_has_the_key(browser, family, monkeypatch):
    monkeypatch.setenv("PAGE_KEY", "sesame")
    app = app_of(family, api_key_env="PAGE_KEY")
    html = TestClient(app).get("/").text
    assert family.id[:12] not in html and family.levels[0].level not in html
    with opened(browser, app) as page:
        page.wait_for_selector("#key", state="visible")
        playwright.expect(page.locator("#error")).to_contain_text("401: ")
        assert page.is_hidden("#family") and "--key-env NAME" in page.inner_text("#command")
        assert_readable(page, "split-key")
        for _ in range(2):  # the link in the heading, then the key
            page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.getElementById('key')).outlineStyle") == "solid"
        page.keyboard.type("sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("#family", state="visible")
        assert page.is_hidden("#error")


def test_the_page_needs_nothing_but_its_server(family):
    answer = TestClient(app_of(family)).get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text and "https://" not in answer.text
