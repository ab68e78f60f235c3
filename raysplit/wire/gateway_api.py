"""What crosses between a gateway and a device that joined it: letters on a WebSocket at `/v1/join` (docs/devices.md).

A letter is one text message, a JSON object, and the pieces of its parts as binary messages. Each part is a message
(`raysplit.wire.message`) or a packed state; neither side runs any of it. Calls go to the device, answers come back,
both numbered from 1 in a session. Each side keeps what it sent until the other has it, and sends it again over a new
connection.

    >>> letter = Letter("call", "3f", 7, '{"kind":"forward"}', (b"gradient",))
    >>> head, piece = letter_messages(letter, acknowledged=6)
    >>> reader = LetterReader("call", largest_bytes=100)
    >>> reader.feed(head), reader.feed(piece) == letter
    (None, True)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from raysplit.errors import WireError

APPLICATION = "gateway"
"""Name of the Serve application, under which a job finds it on its cluster."""
PROTOCOL = 1
JOIN_PATH = "/v1/join"
NAME_HEADER = "X-Raysplit-Device"
"""The name under which a device joins."""
KEY_HEADER, KEY_SCHEME = "Authorization", "Bearer"
"""Its key: in the header that no client sends on when it is redirected to another host."""
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
PIECE_BYTES = 1 << 18
"""Of a part in one binary message: on a slow link, pings and calls need not wait for more."""
TEXT_BYTES = 1 << 19
"""Of a text message at most; the config of a run is in one."""
MAX_PARTS = 4
REFUSED, ENDED, FAULT, REPLACED, BUSY = 4001, 1000, 4002, 4003, 1013
"""Codes with which the gateway closes: a device that it does not admit, one whose run is over, a message that is not
part of the protocol, a connection in whose place another came, and more devices than it takes."""

Direction = Literal["call", "answer"]
Count: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 53)]
Size: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 40)]


class _Text(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Hello(_Text):
    """The first message of a device: which session it is in, if any, and the last call that it has of it.

    `process` is drawn when the device's process starts: another one has none of the halves that the last one built.
    """

    kind: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    process: Annotated[str, Field(min_length=1, max_length=64)]
    session: str | None = None
    received: Count = 0


class Welcome(_Text):
    """The gateway's answer, and how it begins a session: a device in another one forgets it and builds anew.

    `received` is the last answer that the gateway has. Without a session the device waits for a run.
    """

    kind: Literal["welcome"] = "welcome"
    session: str | None = None
    received: Count = 0


class Head(_Text):
    """The head of a letter: its number, its content as JSON, the bytes of each of its parts.

    `acknowledged` is the last letter that the sender has of the other side.
    """

    kind: Direction
    session: str
    number: Annotated[int, Field(ge=1, lt=1 << 53)]
    acknowledged: Count
    content: str
    parts: Annotated[tuple[Size, ...], Field(max_length=MAX_PARTS)] = ()


class End(_Text):
    """The last message of the gateway: why it closes the connection, by one of the codes above."""

    kind: Literal["end"] = "end"
    code: int
    reason: str


Text: TypeAlias = Annotated[Hello | Welcome | Head | End, Field(discriminator="kind")]
_TEXTS: TypeAdapter[Hello | Welcome | Head | End] = TypeAdapter(Text)


@dataclass(frozen=True)
class Letter:
    """A call or an answer, whole."""

    direction: Direction
    session: str
    number: int
    content: str
    """JSON."""
    parts: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of content and parts."""
        return len(self.content) + sum(map(len, self.parts))


@dataclass(frozen=True)
class Lost:
    """What a call is answered with whose device has forgotten the session, or is gone for good."""

    reason: str


def read_text(text: str) -> Hello | Welcome | Head | End:
    """Read a text message; WireError for anything else.

    >>> read_text('{"kind": "hello", "protocol": 1, "process": "f0"}').received
    0
    """
    if len(text) > TEXT_BYTES:
        raise WireError(f"a text message of {len(text)} characters, at most {TEXT_BYTES} are read")
    try:
        return _TEXTS.validate_json(text)
    except ValidationError as err:
        problem = err.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise WireError(f"a text message that is not of the protocol: {where or 'it'}: {problem['msg']}") from None


def letter_messages(letter: Letter, acknowledged: int) -> Iterator[str | bytes]:
    """Yield the messages of a letter, in order; `acknowledged` is the last letter received from the other side."""
    sizes = tuple(map(len, letter.parts))
    yield Head(
        kind=letter.direction,
        session=letter.session,
        number=letter.number,
        acknowledged=acknowledged,
        content=letter.content,
        parts=sizes,
    ).model_dump_json()
    for part in letter.parts:
        for start in range(0, len(part), PIECE_BYTES):
            yield part[start : start + PIECE_BYTES]


class LetterReader:
    """Puts the letters of one connection together, and holds no more than the largest one.

    Raises WireError for what no sender of the protocol sends.
    """

    def __init__(self, direction: Direction, largest_bytes: int):
        self._direction, self._largest = direction, largest_bytes
        self._head: Head | None = None
        self._parts: list[bytes] = []
        self._pieces: list[bytes] = []
        self._missing = 0
        self.acknowledged = 0
        """The last of the letters sent that the other side has, by what was read last."""

    @property
    def amid(self) -> bool:
        """Whether a letter has begun and is not whole."""
        return self._head is not None

    def feed(self, message: str | bytes) -> Letter | Hello | Welcome | End | None:
        """Take the next message; return the letter that it completes, any other text message, or None."""
        if isinstance(message, str):
            if self._head is not None:
                raise WireError(f"a text message amid the parts of {self._direction} {self._head.number}")
            text = read_text(message)
            return self._begin(text) if isinstance(text, Head) else text
        if self._head is None:
            raise WireError("a binary message that no head announces")
        if not 0 < len(message) <= min(PIECE_BYTES, self._missing):
            raise WireError(
                f"a piece of {len(message)} bytes in {self._direction} {self._head.number}: 1 to "
                f"{min(PIECE_BYTES, self._missing)} were to come"
            )
        self._pieces.append(message)
        self._missing -= len(message)
        if self._missing:
            return None
        self._parts.append(b"".join(self._pieces))
        self._pieces = []
        return self._next_part(self._head)

    def _begin(self, head: Head) -> Letter | None:
        if head.kind != self._direction:
            raise WireError(f"a letter of kind '{head.kind}', only '{self._direction}' comes this way")
        if (size := len(head.content) + sum(head.parts)) > self._largest:
            raise WireError(f"{self._direction} {head.number} has {size} bytes, at most {self._largest} are taken")
        self._head, self._parts, self._pieces = head, [], []
        self.acknowledged = head.acknowledged
        return self._next_part(head)

    def _next_part(self, head: Head) -> Letter | None:
        """Begin the next part that is not empty; return the letter where there is none."""
        while len(self._parts) < len(head.parts):
            self._missing = head.parts[len(self._parts)]
            if self._missing:
                return None
            self._parts.append(b"")
        letter = Letter(head.kind, head.session, head.number, head.content, tuple(self._parts))
        self._head, self._parts = None, []
        return letter


def hash_key(key: str) -> str:
    """Return what a gateway knows of a device's key: its SHA-256, in hexadecimal digits.

    >>> hash_key("swordfish")[:8]
    'b9f195c5'
    """
    return hashlib.sha256(key.encode()).hexdigest()
