"""Devices that dial a real server: over TCP and over TLS, and what is said where that fails."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from raysplit.errors import ConfigError, LinkError, RequestError
from raysplit.join.dial import Dialler
from raysplit.join.link import Ended
from raysplit.wire.gateway_api import PIECE_BYTES
from tests.device.local_servers import write_certificate
from tests.join.test_link import Echo
from tests.listening import listening
from tests.serving.gateway.fakes import DirectPost, FakeGateway, make_key


@pytest.fixture
def gateway(tmp_path) -> Iterator[FakeGateway]:
    one = FakeGateway(tmp_path)
    yield one
    one.close()


def dial(url: str, name: str = "attic", ca: Path | None = None) -> Dialler:
    return Dialler(url, name, make_key(name), None if ca is None else str(ca))


def train(gateway: FakeGateway, post: DirectPost, device: Echo) -> None:
    """Carry a call that is larger than a piece, and one that is empty, and end."""
    large = bytes(range(256)) * (2 * PIECE_BYTES // 256 + 1)
    assert post.send('"large"', (large, b"x")).result().parts == (large, b"x")
    assert post.send('"empty"').result().content == '"empty"'
    gateway.release()
    device.thread.join(10)
    assert device.last == Ended("the run has ended")


@pytest.mark.parametrize("tls", [False, True])
def test_a_device_trains_over_a_real_connection(gateway, tmp_path, tls):
    certificate = write_certificate(tmp_path / "own.pem") if tls else None
    with listening(gateway.app_on_its_loop, certificate) as url:
        device = Echo(dial(url, ca=certificate))
        gateway.claim(1)
        train(gateway, gateway.post("attic"), device)


def test_a_certificate_of_another_authority_ends_the_device_before_its_key_is_sent(gateway, tmp_path):
    certificate, other = (write_certificate(tmp_path / f"{name}.pem") for name in ("own", "other"))
    with listening(gateway.app_on_its_loop, certificate) as url:
        for ca in (other, None):
            with pytest.raises(RequestError, match="is not trusted: .* trust it with --ca FILE"):
                dial(url, ca=ca)()
        assert "websocket" not in gateway.heard
        with pytest.raises(LinkError, match="cannot be reached"):
            dial(url.replace("https", "http"))()


def test_what_is_wrong_with_a_gateway(tmp_path):
    async def nothing(scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})

    with (
        listening(nothing) as url,
        pytest.raises(RequestError, match=f"{url} answers 403 at /v1/join; give the URL of a"),
    ):
        dial(url)()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
    with pytest.raises(LinkError, match=f"http://127.0.0.1:{port} cannot be reached"):
        dial(f"http://127.0.0.1:{port}")()


@pytest.mark.parametrize(
    ("url", "key", "ca", "text"),
    [
        ("gateway:8000", "k", None, "is not a server's URL"),
        ("http://gateway:8000", "k", "ca.pem", "--ca is for https"),
        ("https://gateway:8000", "k", "none.pem", "'none.pem' cannot be read"),
        ("https://me:secret@gateway:8000", "k", None, "leave USER:PASSWORD@ out"),
        ("http://gateway:8000", "k\n", None, "not one that `raysplit key` printed"),
        ("http://gateway:8000", "schlüssel", None, "not one that `raysplit key` printed"),
    ],
)
def test_arguments_that_are_wrong(url, key, ca, text):
    with pytest.raises(ConfigError, match=text):
        Dialler(url, "attic", key, ca)


def test_a_device_says_that_its_key_can_be_read(caplog):
    for url in ("http://127.0.0.1:8000", "https://gateway:8000"):
        dial(url)
    assert not caplog.records
    dial("http://gateway:8000")
    assert "http://gateway:8000 does not encrypt" in caplog.text


def test_peers_that_say_nothing_or_little_keep_no_device_away(gateway):
    """Connections without a request, and requests that come byte by byte, while a device joins and trains."""
    with listening(gateway.app_on_its_loop) as url:
        host, port = "127.0.0.1", int(url.rpartition(":")[2])
        silent = [socket.create_connection((host, port)) for _ in range(50)]
        for one in silent[25:]:
            one.sendall(b"GET /v1/join HTTP/1.1\r\nX-Slow: ")
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.02):
                for one in silent[25:]:
                    with suppress(OSError):  # the server has given it up
                        one.sendall(b"a")

        thread = threading.Thread(target=trickle)
        thread.start()
        start = time.monotonic()
        device = Echo(dial(url))
        gateway.claim(1)
        train(gateway, gateway.post("attic"), device)
        assert time.monotonic() - start < 10
        stop.set()
        thread.join()
        for one in silent:
            one.close()
