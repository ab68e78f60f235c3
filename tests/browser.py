"""A real browser without a window, and applications and files that it opens."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

from tests.listening import listening

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
WIDTHS = (400, 1200)
"""Of a phone and of a desk, in CSS pixels."""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, asgi, script: str = ""):
    """Serve an application, open its page, and close both; an error in the page's script fails the test."""
    with listening(asgi) as url:
        page, errors = browser.new_page(), []
        page.on("pageerror", lambda error: errors.append(error))
        page.add_init_script(script)
        page.goto(f"{url}/")
        try:
            yield page
            assert not errors
        finally:
            page.close()


def assert_fits(page, name: str) -> None:
    """Fail if a page is wider than a window; keep a picture of it where `RAYSPLIT_SCREENSHOT` says."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
        if path := os.environ.get("RAYSPLIT_SCREENSHOT"):
            page.screenshot(path=f"{path}-{name}-{width}.png", full_page=True)
