"""Requests of web pages from other origins: refused unless their origin is listed."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from raysplit.serving.args import SplitArgs
from raysplit.serving.http.pipeline import create_app

PAGE = "https://shop.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
KEYS = "x-api-key, content-type, inference-header-content-length, x-raysplit-level"


def client(*origins: str) -> TestClient:
    app = create_app(
        "app", SplitArgs(family="unused", cors=origins).cors, ["X-Raysplit-Level", "Inference-Header-Content-Length"]
    )
    app.add_api_route("/v1/predict", lambda: {"ok": True}, methods=["GET", "POST"])
    return TestClient(app)


def test_off_by_default():
    answer = client().options("/v1/predict", headers=PREFLIGHT)
    assert answer.status_code == 405 and answer.json() == {"error": "Method Not Allowed"}
    assert "access-control-allow-origin" not in client().get("/v1/predict", headers={"Origin": PAGE}).headers


@pytest.mark.parametrize(("origins", "allowed"), [([PAGE], PAGE), (["http://a.example", PAGE], PAGE), (["*"], "*")])
def test_a_listed_origin(origins, allowed):
    answer = client(*origins).options("/v1/predict", headers=PREFLIGHT | {"Access-Control-Request-Headers": KEYS})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, allowed)
    assert "POST" in answer.headers["access-control-allow-methods"]
    answer = client(*origins).post("/v1/predict", headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == allowed
    assert "Inference-Header-Content-Length" in answer.headers["access-control-expose-headers"]
    missing = client(*origins).get("/nowhere", headers={"Origin": PAGE})
    assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (404, allowed)


@pytest.mark.parametrize("origin", ["http://shop.example", "https://shop.example:8443", "null"])
def test_another_origin(origin):
    answer = client(PAGE).options("/v1/predict", headers=PREFLIGHT | {"Origin": origin})
    assert answer.status_code == 400 and "access-control-allow-origin" not in answer.headers


def test_other_headers_are_refused():
    assert (
        client(PAGE)
        .options("/v1/predict", headers=PREFLIGHT | {"Access-Control-Request-Headers": "cookie2"})
        .status_code
        == 400
    )


@pytest.mark.parametrize("origin", ["shop.example", "https://shop.example/", "https://*.example", ""])
def test_what_is_no_origin(origin):
    with pytest.raises(ValidationError, match="cors"):
        SplitArgs(family="unused", cors=(origin,))
