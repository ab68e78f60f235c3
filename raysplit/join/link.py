"""The connection to a gateway: dialled out, taken up again when it drops, nothing lost or sent twice."""

from __future__ import annotations

import logging
import queue
import random
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from websockets.exceptions import ConnectionClosed

from raysplit.errors import LinkError, RaysplitError, RequestError, WireError
from raysplit.wire.gateway_api import BUSY, ENDED, FAULT, End, Hello, Letter, LetterReader, Welcome, letter_messages

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


class Socket(Protocol):
    """One connection; `recv` and `send` raise ConnectionClosed or OSError when it is gone."""

    def recv(self) -> str | bytes: ...

    def send(self, message: str | bytes) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Begun:
    """The gateway has begun a session: whatever was of another one is to be forgotten. None: it waits for a run."""

    session: str | None


@dataclass(frozen=True)
class Ended:
    """The gateway has let the device go."""

    reason: str


Event = Begun | Letter | Ended | RaysplitError
"""What `Link.next` returns: an error ends the device."""


class Link:
    """A device's connection to its gateway.

    A thread of its own connects, reads, and connects again; `next` hands out what came and `answer` sends.

    Args:
        dial: opens a connection. Raises OSError or LinkError for what may pass, and any other RaysplitError for what
            will not.
        largest_bytes: of a call.
    """

    def __init__(self, dial: Callable[[], Socket], largest_bytes: int, pause_s: float = _FIRST_PAUSE_S):
        self._dial, self._largest, self._pause_s = dial, largest_bytes, pause_s
        self._process = secrets.token_hex(8)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._socket: Socket | None = None
        self._session: str | None = None
        self._received = self._sent = 0
        self._answers: dict[int, Letter] = {}
        """Of the session, those that the gateway may not have yet."""
        self._closed = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def next(self) -> Event:
        """Wait for what comes next."""
        return self._events.get()

    def answer(self, letter: Letter) -> None:
        """Send an answer, now or over the next connection; one of another session is left out."""
        with self._lock:
            if letter.session != self._session:
                return
            self._answers[letter.number] = letter
            self._flush()

    def close(self) -> None:
        """Close the connection for good; whoever waits for what comes next hears of it."""
        self._closed.set()
        self._events.put(Ended("closed on this side"))
        with self._lock:
            if self._socket is not None:
                self._socket.close()

    def _run(self) -> None:
        pause = self._pause_s
        while not self._closed.is_set():
            try:
                socket = self._dial()
                if self._serve(socket):
                    return
                pause = self._pause_s
                _log.info("the connection dropped; it is taken up again")
            except (OSError, LinkError) as err:
                _log.info("%s; again in %.0f s", err, pause)
            except RaysplitError as err:
                self._events.put(err)
                return
            self._closed.wait(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _serve(self, socket: Socket) -> bool:
        """Read until the connection drops; return whether the gateway has ended it."""
        reader = LetterReader("call", self._largest)
        try:
            with self._lock:
                hello = Hello(process=self._process, session=self._session, received=self._received)
            with suppress(ConnectionClosed, OSError):  # a gateway that refuses has closed, and has said why
                socket.send(hello.model_dump_json())
            while True:
                message = reader.feed(socket.recv())
                if isinstance(message, Welcome):
                    self._welcome(message, socket)
                elif isinstance(message, End):
                    if message.code in (BUSY, FAULT):  # which may pass
                        raise LinkError(f"the gateway closed the connection: {message.reason}")
                    self._events.put(_of_end(message))
                    return True
                elif isinstance(message, Letter):
                    self._take(message, reader.acknowledged)
        except (ConnectionClosed, OSError):
            return self._closed.is_set()
        except WireError as err:
            _log.warning("the gateway sent what is not of the protocol: %s", err)
            return False
        finally:
            with self._lock:
                self._socket = None
            socket.close()

    def _welcome(self, welcome: Welcome, socket: Socket) -> None:
        with self._lock:
            if welcome.session != self._session:
                self._session, self._received, self._answers = welcome.session, 0, {}
                self._events.put(Begun(welcome.session))
            self._socket, self._sent = socket, welcome.received
            self._forget(welcome.received)
            self._flush()

    def _take(self, call: Letter, acknowledged: int) -> None:
        with self._lock:
            if call.session != self._session or call.number != self._received + 1:
                raise WireError(f"call {call.number}, and {self._received + 1} is the next")
            self._received = call.number
            self._forget(acknowledged)
        self._events.put(call)

    def _forget(self, acknowledged: int) -> None:
        for number in [number for number in self._answers if number <= acknowledged]:
            del self._answers[number]

    def _flush(self) -> None:
        """Send what the gateway does not have, in order; a connection that fails meanwhile sends it anew."""
        while self._socket is not None and (letter := self._answers.get(self._sent + 1)) is not None:
            try:
                for message in letter_messages(letter, self._received):
                    self._socket.send(message)
            except (ConnectionClosed, OSError):
                self._socket = None  # the reading thread connects again
                return
            self._sent = letter.number


def _of_end(end: End) -> Ended | RaysplitError:
    if end.code == ENDED:
        return Ended(end.reason)
    return RequestError(f"the gateway closed the connection: {end.reason}", 403)
