"""Redirects and credentials: what is sent where, and what is never shown."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from raysplit.device.http import HttpTransport, Reply, Request, Session
from raysplit.device.server_url import ServerUrl, hide_credentials
from raysplit.errors import ConfigError, RequestError
from raysplit.wire.split_api import KEY_HEADER
from tests.device.local_servers import serving

POST = Request("POST", "/v1/split", {}, b"activations")
WITH_KEY = Request("POST", "/v1/split", {KEY_HEADER: "swordfish"}, b"activations")


def ask(url: str, request: Request) -> bytes:
    session = Session(url, HttpTransport(url, 5.0))
    try:
        return session.request(request).body
    finally:
        session.close()


def echo(request: Request) -> Reply:
    credentials = request.headers.get("authorization", "-"), request.headers.get("x-api-key", "-")
    return Reply(200, {}, f"{request.method} {request.path} {' '.join(credentials)} ".encode() + request.body)


def redirecting(status: int, location: str):
    away = Reply(status, {"Location": location}, b"")
    return lambda request: echo(request) if request.path.startswith("/new") else away


@pytest.mark.parametrize("status", [307, 308])
def test_method_body_and_key_are_kept_on_the_same_host(status):
    with serving(redirecting(status, "/new/split?x=1")) as host:
        assert ask(f"http://{host}", WITH_KEY) == b"POST /new/split?x=1 - swordfish activations"
        assert ask(f"http://a:b@{host}/under", POST) == b"POST /new/split?x=1 Basic YTpi - activations"


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_loses_the_body_is_named(status):
    with serving(redirecting(status, "/new")) as host:
        with pytest.raises(RequestError, match=f"redirects to http://{host}/new, with {status}, which does not") as err:
            ask(f"http://{host}", POST)
        assert err.value.status == status
        assert ask(f"http://{host}", Request("GET", "/v1/family", {})) == b"GET /new - - "


def test_credentials_stay_on_their_host():
    asked = []
    with ExitStack() as stack:
        other = stack.enter_context(serving(lambda request: asked.append(request) or echo(request)))
        host = stack.enter_context(serving(redirecting(307, f"http://{other}/new")))
        assert ask(f"http://{host}", POST) == b"POST /new - - activations"
        asked.clear()
        text = f"to http://{other}/new, to which its key or password is not sent"
        for url, request in ((f"http://{host}", WITH_KEY), (f"http://me:secret@{host}", POST)):
            with pytest.raises(RequestError, match=text) as err:
                ask(url, request)
            assert "secret" not in str(err.value) and "swordfish" not in str(err.value)
    assert asked == []


@pytest.mark.parametrize(
    ("location", "text"), [("/old", "more than 5 times"), ("ftp://x/", "which is no URL"), ("http://u:pw@[", "no URL")]
)
def test_redirects_that_lead_nowhere(location, text):
    with serving(redirecting(308, location)) as host:
        with pytest.raises(RequestError, match=text) as err:
            ask(f"http://{host}", POST)
        assert "pw" not in str(err.value)


def test_an_answer_without_a_location_is_no_redirect():
    with serving(lambda request: Reply(307, {}, b"body")) as host:
        assert ask(f"http://{host}", POST) == b"body"


def test_credentials_of_a_url():
    url = ServerUrl.parse("http://m%40x:p%3Aw@server:80/a/")
    assert (url.authorization, url.shown, url.prefix) == ("Basic bUB4OnA6dw==", "http://server:80/a/", "/a")
    assert "bUB4" not in repr(url) and ServerUrl.parse("http://server").authorization is None
    assert hide_credentials("u:p@server") == "server"
    for wrong in (
        "http://me:sec/ret@server",
        "me:secret@server:80",
        "http://me:secret@server:port",
        "http://me:secret@",
    ):
        with pytest.raises(ConfigError, match="write it like http://127.0.0.1:8000") as err:
            HttpTransport(wrong, 1.0)
        assert "sec" not in str(err.value)


def test_errors_show_no_password():
    with serving(lambda request: Reply(403, {}, b'{"error": "no"}')) as host, pytest.raises(RequestError) as err:
        ask(f"http://me:secret@{host}", POST)
    assert str(err.value) == f"http://{host} refused with 403: no"
