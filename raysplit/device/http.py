"""Requests to the server over one connection that is kept open, and what to do when a request fails."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import urljoin, urlsplit, urlunsplit

from raysplit.device.server_url import Origin, ServerUrl, hide_credentials
from raysplit.device.tls import create_context, describe_tls_error
from raysplit.errors import ConfigError, LinkError, RequestError, ServerError
from raysplit.wire.split_api import KEY_HEADER

_CONNECTION_LOST = (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead)
"""The server has closed the connection: it stopped, or the connection was idle for too long."""
_MAX_RETRY_AFTER_S = 60
_MAX_REDIRECTS = 5
_SAME_METHOD = (307, 308)
_REDIRECTS = (301, 302, 303, *_SAME_METHOD)
_BUSY = (429, 503)


class Clock(Protocol):
    """Measures time in seconds, and waits."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Request:
    """An HTTP request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """The answer to a request, with a status that may be an error's."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes


class Transport(Protocol):
    """Carries one request at a time; raises OSError or HTTPException when that fails."""

    clock: Clock

    def open(self) -> None:
        """Connect, unless connected."""

    def send(self, request: Request) -> Reply: ...

    def close(self) -> None: ...


class HttpTransport:
    """Carries requests to a server by its URL, over a connection that is kept open.

    Redirects are followed with the same method and body, and never with credentials to another scheme, host or port.
    """

    def __init__(self, url: str, timeout_s: float, ca: str | None = None):
        """Raises ConfigError for an invalid URL or certificate file `ca`.

        `timeout_s` is how long each part of an answer may take; `ca` is a PEM file with authorities to trust in place
        of this machine's.

        >>> HttpTransport("server:8000", timeout_s=1.0)
        Traceback (most recent call last):
        raysplit.errors.ConfigError: 'server:8000' is not a server's URL; write it like http://127.0.0.1:8000
        """
        self.clock: Clock = SystemClock()
        self._url, self._timeout_s = ServerUrl.parse(url), timeout_s
        if ca is not None and self._url.origin.scheme != "https":
            raise ConfigError(f"--ca is for https, but the URL is '{self._url.shown}'; leave it out or write https://")
        self._ca = ca
        self._connections: dict[Origin, http.client.HTTPConnection] = {}
        self._connect_to(self._url.origin)

    def open(self) -> None:
        connection = self._connect_to(self._url.origin)
        if connection.sock is None:
            connection.connect()

    def send(self, request: Request) -> Reply:
        """Return the answer after redirects; RequestError for a redirect that must not be followed."""
        origin, path, headers = self._url.origin, self._url.prefix + request.path, dict(request.headers)
        if self._url.authorization:
            headers["Authorization"] = self._url.authorization
        for _ in range(_MAX_REDIRECTS + 1):
            connection = self._connect_to(origin)
            connection.request(request.method, path, request.body, headers)
            answer = connection.getresponse()
            reply = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
            if reply.status not in _REDIRECTS or "location" not in reply.headers:
                return reply
            here = urlunsplit((origin.scheme, f"{_in_url(origin.host)}:{origin.port}", path, "", ""))
            origin, path = self._follow(reply, here, origin, request)
        raise RequestError(f"{self._url.shown} redirects more than {_MAX_REDIRECTS} times; check the URL", reply.status)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def _follow(self, reply: Reply, here: str, origin: Origin, request: Request) -> tuple[Origin, str]:
        """Return where a redirect leads; RequestError if the request must not be sent there."""
        status, shown = reply.status, hide_credentials(reply.headers["location"])
        try:
            location = urljoin(here, reply.headers["location"])
            parts, shown = urlsplit(location), hide_credentials(location)
            target = Origin.of(parts)
        except ValueError:
            raise RequestError(f"{self._url.shown} redirects to '{shown}', which is no URL; check it", status) from None
        reason = None
        if status not in _SAME_METHOD and request.method != "GET":
            reason = f"with {status}, which does not keep the body"
        elif target != origin and (self._url.authorization or KEY_HEADER in request.headers):
            reason = "to which its key or password is not sent"
        elif origin.scheme == "https" and target.scheme == "http":
            reason = "which is not encrypted"
        if reason:
            raise RequestError(f"{self._url.shown} redirects to {shown}, {reason}; give the server's own URL", status)
        return target, urlunsplit(("", "", parts.path or "/", parts.query, ""))

    def _connect_to(self, origin: Origin) -> http.client.HTTPConnection:
        """Return the connection to an origin, which need not be open."""
        if origin not in self._connections:
            host, port, timeout_s = origin.host, origin.port, self._timeout_s
            self._connections[origin] = (
                http.client.HTTPSConnection(host, port, timeout=timeout_s, context=create_context(self._ca))
                if origin.scheme == "https"
                else http.client.HTTPConnection(host, port, timeout=timeout_s)
            )
        return self._connections[origin]


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True)
class Exchange:
    """A request that was answered."""

    body: bytes
    seconds: float
    """From sending to the last byte of the answer, in the attempt that was answered."""
    total_s: float
    """Includes connecting, waiting and failed attempts."""


class Session:
    """Sends requests to a server, and once more where that can help."""

    def __init__(self, url: str, transport: Transport):
        self._url, self._transport = hide_credentials(url), transport

    def request(self, request: Request) -> Exchange:
        """Return the answer to a request that can be repeated without harm.

        It is sent once more if the connection is lost, over a new one, or if the server answers 429 or 503 and says
        how long to wait. Raises LinkError if the server cannot be reached, is late or does not answer, ServerError or
        RequestError with the server's own words and status if it fails or refuses.
        """
        clock, start = self._transport.clock, self._transport.clock.now()
        may_repeat = True
        while True:
            try:
                self._transport.open()
                sent = clock.now()
                reply = self._transport.send(request)
            except (OSError, http.client.HTTPException) as err:
                self._transport.close()
                if may_repeat and isinstance(err, _CONNECTION_LOST) and not isinstance(err, ConnectionRefusedError):
                    may_repeat = False
                    continue
                raise LinkError(f"{self._url} {_describe(err)}") from None
            done = clock.now()
            if reply.status < 400:
                return Exchange(reply.body, done - sent, done - start)
            wait = _retry_after_s(reply)
            if not (may_repeat and reply.status in _BUSY and wait is not None):
                raise _error_of(self._url, reply)
            may_repeat = False
            clock.sleep(wait)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def _describe(err: Exception) -> str:
    if isinstance(err, ssl.SSLError) and not isinstance(err, TimeoutError):
        return describe_tls_error(err)
    if isinstance(err, TimeoutError):
        return "does not answer in time; check the link, and that timeout_s is long enough"
    if isinstance(err, _CONNECTION_LOST) and not isinstance(err, ConnectionRefusedError):
        return "closed the connection twice without an answer"
    return f"cannot be reached ({err or type(err).__name__}); check that the server is running"


def _retry_after_s(reply: Reply) -> float | None:
    """Return how long the server asks to wait, in seconds or until a date; None if it does not say so."""
    text = reply.headers.get("retry-after", "").strip()
    # Digits are counted first: Python refuses to read numbers of thousands of them.
    if text.isascii() and text.isdigit() and len(text) < 9:
        return min(int(text), _MAX_RETRY_AFTER_S)
    if (until := _parse_date(text)) is None:
        return None
    # By the server's own clock, as a device's may be wrong.
    now = _parse_date(reply.headers.get("date", "")) or datetime.now(timezone.utc)
    return min(max((until - now).total_seconds(), 0.0), _MAX_RETRY_AFTER_S)


def _parse_date(text: str) -> datetime | None:
    """Return an HTTP date in any of its three formats; None for anything else."""
    try:
        date = parsedate_to_datetime(text[:64])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=timezone.utc) if date.tzinfo is None else date


def _error_of(url: str, reply: Reply) -> RequestError | ServerError:
    try:
        text = str(json.loads(reply.body)["error"])
    except (ValueError, KeyError, TypeError):
        text = " ".join(reply.body[:200].decode(errors="replace").split()) or "no reason given"
    if reply.status >= 500:
        return ServerError(f"{url} failed with {reply.status}: {text}")
    return RequestError(f"{url} refused with {reply.status}: {text}", reply.status)
