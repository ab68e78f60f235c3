"""Certificates of real TLS servers: those that are trusted, and what is said of those that are not."""

from __future__ import annotations

import pytest

from raysplit.device.http import HttpTransport, Reply, Request, Session
from raysplit.errors import ConfigError, LinkError, RequestError
from tests.device.local_servers import serving, write_certificate

GET = Request("GET", "/", {})


def ask(url: str, ca: object = None) -> bytes:
    session = Session(url, HttpTransport(url, 5.0, str(ca) if ca else None))
    try:
        return session.request(GET).body
    finally:
        session.close()


def answer(request: Request) -> Reply:
    return Reply(200, {}, b"hello")


def test_a_self_signed_certificate(tmp_path):
    certificate = write_certificate(tmp_path / "own.pem")
    with serving(answer, certificate) as host:
        with pytest.raises(LinkError, match=f"https://{host} is not trusted: .* self-signed; trust it with --ca FILE"):
            ask(f"https://{host}")
        assert ask(f"https://{host}", certificate) == b"hello"


def test_a_certificate_of_ones_own_authority(tmp_path):
    authority = write_certificate(tmp_path / "authority.pem", "ca.example")
    with serving(answer, write_certificate(tmp_path / "server.pem", signed_by=authority)) as host:
        assert ask(f"https://{host}", authority) == b"hello"
        for other in (None, write_certificate(tmp_path / "other.pem", "other.example")):
            with pytest.raises(LinkError, match="by an authority that is not known here; trust it with --ca FILE"):
                ask(f"https://{host}", other)


@pytest.mark.parametrize(
    ("host", "days", "text"),
    [
        ("127.0.0.1", -1, "its certificate has expired; renew it on the server"),
        ("server.example", 30, "does not hold this address; use the name"),
        ("10.0.0.1", 30, "does not hold this address; use the name"),
    ],
)
def test_certificates_that_are_wrong(host, days, text, tmp_path):
    certificate = write_certificate(tmp_path / "own.pem", host, days)
    with serving(answer, certificate) as at, pytest.raises(LinkError, match=text):
        ask(f"https://{at}", certificate)


def test_a_certificate_for_another_name(tmp_path):
    certificate = write_certificate(tmp_path / "own.pem", "server.example")
    with serving(answer, certificate) as at, pytest.raises(LinkError, match="is for another host; use the name"):
        ask(f"https://localhost:{at.rpartition(':')[2]}", certificate)


def test_a_server_without_tls():
    with serving(answer) as host, pytest.raises(LinkError, match="does not speak TLS; use http://"):
        ask(f"https://{host}")


def test_https_is_not_left(tmp_path):
    certificate = write_certificate(tmp_path / "own.pem")
    with serving(answer) as plain:
        redirect = Reply(307, {"Location": f"http://{plain}/"}, b"")
        text = f"redirects to http://{plain}/, which is not encrypted"
        with serving(lambda request: redirect, certificate) as host, pytest.raises(RequestError, match=text):
            ask(f"https://{host}", certificate)


def test_files_that_are_no_certificates(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for ca, text in ((tmp_path / "notes.txt", "holds no certificate"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(ConfigError, match=f"--ca: '{ca}' {text}"):
            ask("https://127.0.0.1:9", ca)
    with pytest.raises(ConfigError, match="--ca is for https, but the URL is 'http://127.0.0.1:9'"):
        ask("http://127.0.0.1:9", tmp_path / "notes.txt")
