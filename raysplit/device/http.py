"""Requests to the server over one connection that is kept open, and what to do when a request fails."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from raysplit.errors import ConfigError, LinkError, RequestError, ServerError

_CONNECTION_LOST = (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead)
"""The server has closed the connection: it stopped, or the connection was idle for too long."""
_MAX_RETRY_AFTER_S = 60


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
    """Carries requests to a server by its URL, over a connection that is kept open."""

    def __init__(self, url: str, timeout_s: float):
        """Raises ConfigError for an invalid URL; `timeout_s` is how long each part of an answer may take.

        >>> HttpTransport("server:8000", timeout_s=1.0)
        Traceback (most recent call last):
        raysplit.errors.ConfigError: 'server:8000' is not a server's URL; write it like http://127.0.0.1:8000
        """
        self.clock: Clock = SystemClock()
        parts = urlsplit(url)
        schemes = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        try:
            self._connection = schemes[parts.scheme](parts.hostname or "", parts.port, timeout=timeout_s)
        except (KeyError, ValueError, http.client.InvalidURL):
            raise ConfigError(f"'{url}' is not a server's URL; write it like http://127.0.0.1:8000") from None
        if not parts.hostname:
            raise ConfigError(f"'{url}' has no host name; write it like http://127.0.0.1:8000")
        self._prefix = parts.path.rstrip("/")

    def open(self) -> None:
        if self._connection.sock is None:
            self._connection.connect()

    def send(self, request: Request) -> Reply:
        self._connection.request(request.method, self._prefix + request.path, request.body, dict(request.headers))
        answer = self._connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def close(self) -> None:
        self._connection.close()


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
        self._url, self._transport = url, transport

    def request(self, request: Request) -> Exchange:
        """Return the answer to a request that can be repeated without harm.

        It is sent once more if the connection is lost, over a new one, or if the server answers 503 and says how long
        to wait. Raises LinkError if the server cannot be reached, is late or does not answer, ServerError or
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
            if not (may_repeat and reply.status == 503 and wait is not None):
                raise _error_of(self._url, reply)
            may_repeat = False
            clock.sleep(wait)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def _describe(err: Exception) -> str:
    if isinstance(err, TimeoutError):
        return "does not answer in time; check the link, and that timeout_s is long enough"
    if isinstance(err, _CONNECTION_LOST) and not isinstance(err, ConnectionRefusedError):
        return "closed the connection twice without an answer"
    return f"cannot be reached ({err or type(err).__name__}); check that the server is running"


def _retry_after_s(reply: Reply) -> float | None:
    """Return how long the server asks to wait; None if it does not say so in seconds."""
    text = reply.headers.get("retry-after", "")
    # Digits are counted first: Python refuses to read numbers of thousands of them.
    return min(int(text), _MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _error_of(url: str, reply: Reply) -> RequestError | ServerError:
    try:
        text = str(json.loads(reply.body)["error"])
    except (ValueError, KeyError, TypeError):
        text = " ".join(reply.body[:200].decode(errors="replace").split()) or "no reason given"
    if reply.status >= 500:
        return ServerError(f"{url} failed with {reply.status}: {text}")
    return RequestError(f"{url} refused with {reply.status}: {text}", reply.status)
