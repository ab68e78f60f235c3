"""The page at `/docs`: it needs nothing but its server."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves
from tests.browser import assert_fits, browser, needs_chromium, opened
from tests.serving.apps import App

__all__ = ["browser"]


@pytest.fixture(scope="module", params=["ensemble", "split"])
def asgi(request, tiny_ensemble, family):
    if request.param == "ensemble":
        return App(str(tiny_ensemble / "bundle")).asgi
    return SplitRoutes(ServerHalves(family, Limits()), SplitArgs(family="unused")).app


@pytest.mark.parametrize("prefix", ["", "/app"])
def test_it_names_no_other_host(asgi, prefix):
    with TestClient(asgi, root_path=prefix, client=("127.0.0.1", 50000)) as client:
        html = client.get(f"{prefix}/docs").text
        assert "://" not in html.replace("window.location.protocol + '//'", "")
        files = re.findall(r'(?:src|href)="([^"]+)"', html)
        assert len(files) == 3 and all(file.startswith(f"{prefix}/") for file in files)
        assert [client.get(file).status_code for file in files] == [200] * 3
        assert f"'{prefix}/openapi.json'" in html and '"validatorUrl": null' in html
        assert client.get(f"{prefix}/redoc").status_code == 404


@needs_chromium
def test_it_opens_without_a_network(browser, asgi):
    with opened(browser, asgi) as page:
        hosts = set()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto(f"{page.url}docs")
        page.wait_for_selector(".opblock-post")
        count = sum(len(item) for item in asgi.openapi()["paths"].values())
        assert page.locator(".opblock").count() == count
        page.locator(".opblock-post").first.locator("button").first.click()
        page.wait_for_selector(".opblock-section-request-body")
        assert_fits(page, f"docs-{asgi.title.split()[-1]}")
        assert {host for host in hosts if host} == {urlsplit(page.url).netloc}
