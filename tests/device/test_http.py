"""Requests that fail, and what is done about it; a real server for the connection itself."""

from __future__ import annotations

import http.client
import socket
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from raysplit.device.http import HttpTransport, Reply, Request, Session
from raysplit.errors import ConfigError, RequestError, ServerError
from tests.device.servers import Scripted

GET = Request("GET", "/v1/family", {})
URL = "http://server"


def session(*faults) -> tuple[Session, Scripted]:
    transport = Scripted()
    transport.faults.extend(faults)
    return Session(URL, transport), transport


def test_a_lost_connection_is_mended_once():
    asked, transport = session(ConnectionResetError())
    assert asked.request(GET).body == b"{}" and transport.closed == 1
    asked, transport = session(http.client.BadStatusLine(""), ConnectionResetError())
    with pytest.raises(ServerError, match="http://server closed the connection twice"):
        asked.request(GET)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(status):
    busy = Reply(status, {"retry-after": "2"}, b'{"error": "full"}')
    asked, transport = session(busy)
    exchange = asked.request(GET)
    assert exchange.total_s == 2 and exchange.seconds == 0
    asked, transport = session(busy, busy)
    with pytest.raises((RequestError, ServerError), match=f"with {status}: full"):
        asked.request(GET)
    assert len(transport.asked) == 2


DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        (DATE, 0),
        ("Sun, 06 Nov 1994 08:49:40 GMT", 3),
        ("Sunday, 06-Nov-94 08:49:41 GMT", 4),
        ("Sun Nov  6 08:49:42 1994", 5),
        ("Sun, 06 Nov 1994 09:49:40 +0100", 3),
        ("Sun, 06 Nov 1994 08:49:30 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60),
    ],
)
def test_a_time_to_wait_may_be_a_date_of_the_servers_clock(after, seconds):
    asked, _ = session(Reply(503, {"retry-after": after, "date": DATE}, b"full"))
    assert asked.request(GET).total_s == seconds


def test_without_the_servers_clock_a_date_is_of_this_machine():
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30), usegmt=True)
    asked, _ = session(Reply(429, {"retry-after": soon}, b"full"))
    assert 0 < asked.request(GET).total_s <= 30


@pytest.mark.parametrize(
    "after",
    ["soon", "9" * 5000, "²", "", "-1", "1.5", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999 08:49:37 GMT"],
)
def test_a_time_to_wait_that_is_none(after):
    asked, transport = session(Reply(503, {"retry-after": after}, b"full"))
    with pytest.raises(ServerError, match="failed with 503: full"):
        asked.request(GET)
    assert transport.clock.now() == 0


def test_refusals_keep_the_servers_words():
    asked, _ = session(Reply(409, {}, b'{"error": "another family"}'))
    with pytest.raises(RequestError, match="refused with 409: another family") as err:
        asked.request(GET)
    assert err.value.status == 409
    asked, _ = session(Reply(404, {}, b"<html>no such\n page</html>"))
    with pytest.raises(RequestError, match="404: <html>no such page</html>"):
        asked.request(GET)
    asked, _ = session(Reply(500, {}, b""))
    with pytest.raises(ServerError, match="500: no reason given"):
        asked.request(GET)


@pytest.mark.parametrize(
    "fault, text", [(TimeoutError(), "in time"), (ConnectionRefusedError("no"), "cannot be reached")]
)
def test_what_cannot_be_mended_is_not_tried_again(fault, text):
    asked, transport = session(fault)
    with pytest.raises(ServerError, match=text):
        asked.request(GET)
    assert len(transport.asked) == 1


@pytest.mark.parametrize("url", ["server:8000", "ftp://server", "http://", "http://server:port", "http://ser ver"])
def test_what_is_no_url(url):
    with pytest.raises(ConfigError, match="http://127.0.0.1:8000"):
        HttpTransport(url, 1.0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.ports.add(self.client_address[1])
        answer = f"{self.path} {self.headers['X-Known']} ".encode() + body
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Back", "yes")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_a_connection_is_kept_open():
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.ports = set()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    transport = HttpTransport(f"http://127.0.0.1:{server.server_port}/under/", 5.0)
    try:
        for turn in (b"a", b"b"):
            transport.open()
            reply = transport.send(Request("POST", "/v1/split", {"X-Known": "1"}, turn))
            assert (reply.status, reply.body) == (200, b"/under/v1/split 1 " + turn)
            assert reply.headers["x-back"] == "yes"
        assert len(server.ports) == 1
    finally:
        transport.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_nobody_is_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServerError, match="cannot be reached"):
            Session(url, HttpTransport(url, 1.0)).request(GET)
