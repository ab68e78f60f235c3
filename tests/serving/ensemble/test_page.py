"""The page, in a real browser without a window."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.browser import assert_readable, browser, needs_chromium, opened, playwright
from tests.serving.apps import App

_RECORDER = """
  const asked = window.fetch;
  window.fetch = async (...args) => {
    const reply = await asked(...args);
    if (args[0] === "v1/predict") window.answered = await reply.clone().json();
    return reply;
  };
"""
"""Keeps the server's answer for the test."""
__all__ = ["browser"]
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def bundle(tiny_ensemble):
    return str(tiny_ensemble / "bundle")


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "digit.png")
    return str(tmp_path / "digit.png")


def pick(page, file: str) -> dict:
    """Pick a file and return the server's answer."""
    page.evaluate("window.answered = null")
    page.set_input_files("#file", file)
    # Not wait_for_function, which needs eval: the page's security policy forbids it.
    return page.evaluate(
        "async () => { while (!window.answered) await new Promise(next => setTimeout(next, 20)); return answered; }"
    )


def test_a_picked_image_is_answered(browser, bundle, photo):
    with opened(browser, App(bundle).asgi, _RECORDER) as page:
        found = pick(page, photo)
        page.wait_for_selector("#answer", state="visible")
        top = found["images"][0]["top"]
        assert page.locator("#top tr").count() == len(top) == 3
        first = page.locator("#top tr").first.inner_text()
        assert first.split() == [top[0]["name"], f"{100 * top[0]['probability']:.1f}", "%"]
        wide = [bar.bounding_box()["width"] for bar in page.locator("#top .bar > span").all()]
        assert wide == sorted(wide, reverse=True) and wide[0] > 0
        votes = page.locator("#submodels tr").all_inner_texts()
        assert [line.split(":")[0] for line in votes] == ["0", "1", "2"]
        times = page.locator("#times tr").all_inner_texts()
        assert len(times) == 3 and all(" ms" in line for line in times)
        assert page.is_hidden("#degraded") and page.is_hidden("#error") and page.is_visible("#preview")
        assert_readable(page, "ensemble-answer")
        playwright.expect(page.locator("#traffic")).to_contain_text("1 requests")


def test_the_empty_page_says_what_to_drop(browser, bundle):
    with opened(browser, App(bundle).asgi, _RECORDER) as page:
        assert "8 × 8 pixels" in page.inner_text("#expected")
        assert_readable(page, "ensemble")


def test_the_keyboard_is_enough(browser, bundle, photo):
    with opened(browser, App(bundle).asgi, _RECORDER) as page:
        # Long before the key that opens it: on a busy machine the browser would be late to hand it over.
        page.on("filechooser", lambda chooser: chooser.set_files(photo))
        for place in ("a", "#file"):
            page.keyboard.press("Tab")
            assert page.evaluate("place => document.activeElement === document.querySelector(place)", place)
        outline = "getComputedStyle(document.getElementById('drop')).outlineStyle"
        assert page.evaluate(outline) == "solid"
        page.keyboard.press("Enter")
        page.wait_for_selector("#answer", state="visible")
        assert (
            page.locator("[aria-live=polite] #answer").count() == 1 and page.get_attribute("#error", "role") == "alert"
        )
        page.mouse.click(5, 5)
        assert page.evaluate(outline) == "none"


def test_a_dropped_image_is_answered(browser, bundle):
    with opened(browser, App(bundle).asgi, _RECORDER) as page:
        page.evaluate(
            """async () => {
              const canvas = Object.assign(document.createElement("canvas"), {width: 8, height: 8});
              canvas.getContext("2d").fillRect(0, 0, 4, 8);
              const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
              const held = new DataTransfer();
              held.items.add(new File([blob], "drawn.png", {type: "image/png"}));
              document.getElementById("drop").dispatchEvent(
                new DragEvent("drop", {dataTransfer: held, bubbles: true, cancelable: true}));
            }"""
        )
        page.wait_for_selector("#answer", state="visible")


def test_missing_sub_models_are_shown(browser, bundle, photo):
    app = App(bundle)
    app.handles["submodel-1"].faults = [RuntimeError("broken"), RuntimeError("broken")]
    with opened(browser, app.asgi, _RECORDER) as page:
        assert pick(page, photo)["missing"] == [1]
        page.wait_for_selector("#degraded", state="visible")
        assert "sub-model 1" in page.inner_text("#degraded")
        assert "failed" in page.inner_text("#submodels .missing") and page.locator("#times .missing").count() == 1


def test_the_error_for_an_invalid_file_is_shown(browser, bundle, tmp_path):
    (tmp_path / "notes.png").write_text("hello")
    with opened(browser, App(bundle).asgi, _RECORDER) as page:
        error = pick(page, str(tmp_path / "notes.png"))["error"]
        page.wait_for_selector("#error", state="visible")
        assert page.inner_text("#error") == f"415: {error}" and page.is_hidden("#answer")


def test_a_key_is_asked_for(browser, bundle, photo, monkeypatch):
    monkeypatch.setenv("PAGE_KEY", "sesame")
    with opened(browser, App(bundle, access={"api_key_env": "PAGE_KEY"}).asgi, _RECORDER) as page:
        pick(page, photo)
        page.wait_for_selector("#key", state="visible")
        page.fill("#key", "sesame")
        page.locator("#key").blur()
        page.wait_for_selector("#answer", state="visible")
        assert page.is_hidden("#error")
