"""Which clients are answered, with a key and without."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from raysplit.errors import ConfigError, RequestError
from raysplit.serving.args import Access
from raysplit.serving.http.authenticator import Authenticator

KEYED = Authenticator(Access(api_key_env="KEY"), {"KEY": "s3cret"})
LOCAL = ("127.0.0.1", 40_000)


def scope(client=LOCAL, **headers):
    pairs = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return {"type": "http", "client": client, "server": ("127.0.0.1", 8000), "headers": pairs}


def status(authenticator, *args, **headers):
    """Return 200, or the status with which a request is refused."""
    try:
        authenticator.check(scope(*args, **headers))
    except RequestError as err:
        assert "s3cret" not in str(err)
        return err.status
    return 200


@pytest.mark.parametrize("client", [LOCAL, ("192.0.2.1", 1), None])
def test_the_key_decides_wherever_the_client_is(client):
    assert status(KEYED, client, x_api_key=b"s3cret") == 200
    assert status(KEYED, client, X_API_Key=b"s3cret", x_forwarded_for=b"192.0.2.1") == 200
    for wrong in (b"", b"s3cre", b"s3cret ", b"S3cret", "schlüssel".encode(), bytes(10_000)):
        assert status(KEYED, client, x_api_key=wrong) == 401
    assert status(KEYED, client) == 401
    assert status(KEYED, client, authorization=b"s3cret") == 401


def test_several_keys_are_refused():
    twice = scope() | {"headers": [(b"x-api-key", b"s3cret"), (b"x-api-key", b"other")]}
    with pytest.raises(RequestError) as raised:
        KEYED.check(twice)
    assert raised.value.status == 401


def test_a_missing_key_names_the_header():
    with pytest.raises(RequestError, match="an API key is required; send it in the header X-API-Key"):
        KEYED.check(scope())


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({}, "api_key_env: the environment variable 'KEY' is not set on the node of a replica"),
        ({"KEY": ""}, "the environment variable 'KEY' is empty"),
        ({"KEY": "s3cret\n"}, "the environment variable 'KEY' holds a key that a header cannot carry"),
        ({"KEY": " s3cret"}, "holds a key that a header cannot carry"),
        ({"KEY": "schlüssel"}, "holds a key that a header cannot carry"),
    ],
)
def test_a_variable_without_a_usable_key(environ, text):
    with pytest.raises(ConfigError, match=text) as raised:
        Authenticator(Access(api_key_env="KEY", anyone=True), environ)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::1%lo"])
def test_local_clients_are_answered(host):
    assert status(Authenticator(Access(), {}), (host, 1)) == 200


@pytest.mark.parametrize(
    "client",
    [
        *((host, 1) for host in ("192.0.2.1", "10.0.0.1", "0.0.0.0", "128.0.0.1", "::", "fe80::1%eth0", "2001:db8::1")),
        *(
            (host, 1)
            for host in ("::ffff:192.0.2.1", "::127.0.0.1", "localhost", "testclient", "", "127.1", "127.0.0.1:80")
        ),
        ("2002:7f00:1::", 1),
        ("", 0),
        None,
    ],
)
def test_remote_clients_are_refused(client):
    assert status(Authenticator(Access(), {}), client) == 403
    assert status(Authenticator(Access(anyone=True), {}), client) == 200


def test_a_scope_without_a_client():
    """As on a Unix socket."""
    with pytest.raises(RequestError, match=r"set access.api_key_env or access.anyone") as raised:
        Authenticator(Access(), {}).check({"type": "http", "server": ("/run/socket", None), "headers": []})
    assert raised.value.status == 403


@pytest.mark.parametrize(
    "name", ["forwarded", "via", "X-Forwarded-For", "x-forwarded-proto", "x-real-ip", "x-envoy-peer"]
)
def test_a_request_through_a_proxy_is_not_local(name):
    assert status(Authenticator(Access(), {}), **{name.replace("-", "_"): b"127.0.0.1"}) == 403
    assert status(Authenticator(Access(anyone=True), {}), **{name.replace("-", "_"): b"127.0.0.1"}) == 200


def test_other_headers_are_ignored():
    headers = {"x_request_id": b"1", "accept": b"*/*", "inference_header_content_length": b"2"}
    assert status(Authenticator(Access(), {}), x_api_key=b"", **headers) == 200


def test_behind_ha_proxy_a_key_is_required():
    environ = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "KEY": "s3cret"}
    with pytest.raises(
        ConfigError, match="RAY_SERVE_ENABLE_HA_PROXY=1, clients .* cannot be distinguished from others"
    ):
        Authenticator(Access(), environ)
    Authenticator(Access(), environ | {"RAY_SERVE_ENABLE_HA_PROXY": "0"})
    assert status(Authenticator(Access(anyone=True), environ)) == 200
    assert status(Authenticator(Access(api_key_env="KEY"), environ)) == 401


def test_the_scope_of_a_starlette_request():
    Authenticator(Access(), {}).check(Request(scope()).scope)
