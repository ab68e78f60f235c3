"""One joined device as the gateway holds it: its connection, its session, and its calls until they are answered."""

from __future__ import annotations

import asyncio
from typing import Protocol

from raysplit.errors import WireError
from raysplit.wire.gateway_api import End, Hello, Letter, Lost, Welcome


class Connection(Protocol):
    """The way to a device that is connected."""

    def begin(self, welcome: Welcome, calls: int) -> None:
        """Send a welcome, and then the calls of the mailbox after number `calls`."""
        ...

    def wake(self) -> None:
        """Send the calls that have come since."""
        ...

    def end(self, last: End) -> None:
        """Send the last message and close."""
        ...


class Mailbox:
    """A device's calls and answers, by number.

    A session begins with a run's stand-in for the device and ends with it, with the device's process, or with its
    admission. Within one, every call reaches the device once and in order, and so does its answer, over however many
    connections.
    """

    def __init__(self, name: str):
        self.name = name
        self.run: str | None = None
        """The run that has claimed the device."""
        self.session: str | None = None
        self.connection: Connection | None = None
        self._calls: dict[int, Letter] = {}
        self._answers: dict[int, asyncio.Future[Letter | Lost]] = {}
        self._ready = 0
        self.answered = 0
        """The number of the last answer."""
        self._process: str | None = None
        self._told = False
        """Whether that process may know of the session."""

    def connect(self, connection: Connection, hello: Hello) -> None:
        """Take up a device's connection, in place of another one; WireError for numbers that cannot be.

        What the last process of the device was in the middle of is lost with it.
        """
        if hello.process != self._process and self._told:
            self.forget(f"'{self.name}' was started anew")
        known = hello.received if hello.session == self.session else 0
        if self.session is not None and not self.answered <= known <= self._ready:
            raise WireError(
                f"'{self.name}' says that it has call {known}, of which {self.answered} are answered and {self._ready} "
                "were made"
            )
        self._process, self.connection = hello.process, connection
        self._welcome(known)

    def disconnect(self, connection: Connection) -> None:
        """A connection is gone; the session stays."""
        if self.connection is connection:
            self.connection = None

    async def begin(self, first: Letter) -> Letter | Lost:
        """Begin a new session with its first call, as soon as the device is connected."""
        self.forget(f"'{self.name}' has begun another session")
        self.session = first.session
        self._welcome(0)
        return await self.call(first)

    def _welcome(self, known: int) -> None:
        """Tell the device, if it is connected, which session this is; it knows the calls up to `known`."""
        if self.connection is not None:
            self._told = self.session is not None
            self.connection.begin(Welcome(session=self.session, received=self.answered), known)

    async def call(self, letter: Letter) -> Letter | Lost:
        """Post a call and wait for its answer. Calls may come in any order; they go out by number."""
        if letter.session != self.session:
            return Lost(f"'{self.name}' is no longer in this session")
        answer: asyncio.Future[Letter | Lost] = asyncio.get_running_loop().create_future()
        self._calls[letter.number], self._answers[letter.number] = letter, answer
        while self._ready + 1 in self._calls:
            self._ready += 1
        if self.connection is not None:
            self.connection.wake()
        return await answer

    def outgoing(self, after: int) -> Letter | None:
        """Return the call after number `after`, if it is there."""
        return self._calls.get(after + 1) if after < self._ready else None

    def take(self, answer: Letter, sent: int) -> None:
        """Take an answer; WireError for one that is not the next, or whose call the device was not `sent`.

        One of a session that is over is left aside: it was on its way.
        """
        if answer.session != self.session:
            return
        if answer.number <= self.answered:
            raise WireError(f"answer {answer.number} came before; the next is {self.answered + 1}")
        if answer.number != self.answered + 1 or answer.number > sent:
            raise WireError(f"answer {answer.number} is not the next: {self.answered} are answered, {sent} were asked")
        self.answered = answer.number
        del self._calls[answer.number]
        waiting = self._answers.pop(answer.number)
        if not waiting.done():
            waiting.set_result(answer)

    def forget(self, reason: str) -> None:
        """End the session, if there is one: what is not answered is lost."""
        self.session, self._told = None, False
        waiting = list(self._answers.values())
        self._calls, self._answers = {}, {}
        self._ready = self.answered = 0
        for answer in waiting:
            if not answer.done():
                answer.set_result(Lost(reason))
