"""Requests to the server over one connection that is kept open, and what to do when it fails."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from raysplit.errors import ConfigError, LinkError, RequestError, ServerError

_LOST = (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead)
"""The server closed the connection: it stopped, or was tired of an idle one."""
_LONGEST_WAIT_S = 60


class Clock(Protocol):
    """What tells the time in seconds, and lets it pass."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own."""

    def now(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    """Names are in lower case."""
    body: bytes


class Transport(Protocol):
    """Carries one request at a time; raises OSError or HTTPException where that fails."""

    clock: Clock

    def open(self) -> None:
        """Connect, unless connected."""

    def send(self, request: Request) -> Reply: ...

    def close(self) -> None: ...


class HttpTransport:
    """Carries requests to a server by its URL, over a connection that is kept open."""

    def __init__(self, url: str, timeout_s: float):
        """Raises ConfigError for what is no URL; `timeout_s` is how long each part of an answer may take."""
        self.clock: Clock = SystemClock()
        parts = urlsplit(url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        try:
            self._connection = kinds[parts.scheme](parts.hostname or "", parts.port, timeout=timeout_s)
        except (KeyError, ValueError, http.client.InvalidURL):
            raise ConfigError(f"'{url}' is no URL of a server; write it like http://127.0.0.1:8000") from None
        if not parts.hostname:
            raise ConfigError(f"'{url}' names no server; write it like http://127.0.0.1:8000")
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
    """From sending to the last byte of the answer, of the try that was answered."""
    total_s: float
    """With connecting, waiting and tries that failed."""


class Session:
    """Asks a server, patiently: what can be mended by asking once more is."""

    def __init__(self, url: str, transport: Transport):
        self._url, self._transport = url, transport

    def ask(self, request: Request) -> Exchange:
        """Return the answer to a request that can be repeated without harm.

        It is sent again, once, over a new connection when the connection is lost, and when the server says with 503
        how long to wait. Raises LinkError when it cannot be reached, is late or does not answer, ServerError
        or RequestError with the server's words and status when it fails or refuses.
        """
        clock, start = self._transport.clock, self._transport.clock.now()
        again = True
        while True:
            try:
                self._transport.open()
                sent = clock.now()
                reply = self._transport.send(request)
            except (OSError, http.client.HTTPException) as err:
                self._transport.close()
                if again and isinstance(err, _LOST) and not isinstance(err, ConnectionRefusedError):
                    again = False
                    continue
                raise LinkError(f"{self._url} {_why(err)}") from None
            done = clock.now()
            if reply.status < 400:
                return Exchange(reply.body, done - sent, done - start)
            wait = _wait_s(reply)
            if not (again and reply.status == 503 and wait is not None):
                raise _refused(self._url, reply)
            again = False
            clock.sleep(wait)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def _why(err: Exception) -> str:
    if isinstance(err, TimeoutError):
        return "does not answer in time; is the link up, and timeout_s long enough?"
    if isinstance(err, _LOST) and not isinstance(err, ConnectionRefusedError):
        return "closed the connection twice without an answer"
    return f"cannot be reached ({err or type(err).__name__}); does a server run there?"


def _wait_s(reply: Reply) -> float | None:
    """Return how long the server asks to wait; None if it does not say in seconds."""
    text = reply.headers.get("retry-after", "")
    # Digits are counted first: Python refuses to read numbers of thousands of them.
    return min(int(text), _LONGEST_WAIT_S) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _refused(url: str, reply: Reply) -> RequestError | ServerError:
    try:
        text = str(json.loads(reply.body)["error"])
    except (ValueError, KeyError, TypeError):
        text = " ".join(reply.body[:200].decode(errors="replace").split()) or "no reason given"
    if reply.status >= 500:
        return ServerError(f"{url} failed with {reply.status}: {text}")
    return RequestError(f"{url} refused with {reply.status}: {text}", reply.status)
