"""A real browser without a window, and applications and files that it opens."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.listening import listening

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
WIDTHS = (400, 1200)
"""Of a phone and of a desk, in CSS pixels."""
_FAULTS = Path(__file__).with_name("page_faults.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, asgi, script: str = ""):
    """Serve an application, open its page, and close both; the page is watched as `watched` does."""
    with listening(asgi) as url, watched(browser, f"{url}/") as page:
        page.add_init_script(script)
        page.goto(f"{url}/")
        yield page


@contextmanager
def watched(browser, host: str):
    """Open an empty page; an error in its script or on its console fails the test, and so does a request elsewhere.

    The console may say that the page's own server refused a request: the page tells its reader.
    """
    page, faults = browser.new_page(), []

    def asked(request):
        if not request.url.startswith((host, "data:", "blob:")):
            faults.append(request.url)

    def said(message):
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            faults.append(message.text)

    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", said)
    page.on("request", asked)
    try:
        yield page
        assert not faults
    finally:
        page.close()


def assert_fits(page, name: str) -> None:
    """Fail if a page is wider than a window; keep a picture of it where `RAYSPLIT_SCREENSHOT` says."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
        if path := os.environ.get("RAYSPLIT_SCREENSHOT"):
            page.screenshot(path=f"{path}-{name}-{width}.png", full_page=True)


def assert_readable(page, name: str) -> None:
    """Fail if a page does not fit, is cut off or pale, or shows what has no name, on light and on dark ground."""
    assert_fits(page, name)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            faults = page.evaluate(_FAULTS)
            assert not faults, (name, width, scheme, faults)
