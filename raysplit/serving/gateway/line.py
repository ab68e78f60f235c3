"""A WebSocket to a device: one task sends, one reads, and neither waits for ever."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from starlette.websockets import WebSocket, WebSocketDisconnect

from raysplit.errors import WireError
from raysplit.serving.args import GatewayLimits
from raysplit.serving.gateway.mailbox import Mailbox
from raysplit.wire.gateway_api import FAULT, End, Hello, Letter, LetterReader, Welcome, letter_messages, read_text

_log = logging.getLogger("ray.serve")


class Line:
    """One connection to a device, by the methods of `mailbox.Connection`."""

    def __init__(self, socket: WebSocket, limits: GatewayLimits):
        self._socket, self._limits = socket, limits
        self._reader = LetterReader("answer", limits.letter_bytes)
        self._texts: deque[Welcome | End] = deque()
        self._next = 0
        """The number of the call that was sent last."""
        self._woken = asyncio.Event()

    def begin(self, welcome: Welcome, calls: int) -> None:
        self._texts.append(welcome)
        self._next = calls
        self._woken.set()

    def wake(self) -> None:
        self._woken.set()

    def end(self, last: End) -> None:
        self._texts.append(last)
        self._woken.set()

    async def hello(self) -> Hello:
        """Wait for the device's first message; WireError for any other, or none in time."""
        try:
            message = await asyncio.wait_for(self._receive(), self._limits.hello_s)
        except asyncio.TimeoutError:
            raise WireError(f"no hello came within {self._limits.hello_s:g} s") from None
        text = read_text(message) if isinstance(message, str) else None
        if not isinstance(text, Hello):
            raise WireError("the first message is not a hello")
        return text

    async def serve(self, box: Mailbox) -> None:
        """Carry calls and answers until one side closes; WireError for what the device must not send."""
        sending = asyncio.create_task(self._send_all(box))
        reading = asyncio.create_task(self._read_all(box))
        try:
            done, _ = await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (sending, reading):
                task.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)

    async def close(self, end: End) -> None:
        """Say why, and close."""
        try:
            await self._socket.send_text(end.model_dump_json())
            await self._socket.close(end.code)
        except (WebSocketDisconnect, RuntimeError):
            return  # it has gone

    async def _send_all(self, box: Mailbox) -> None:
        while True:
            self._woken.clear()
            while self._texts:
                text = self._texts.popleft()
                if isinstance(text, End):
                    await self.close(text)
                    return
                await self._socket.send_text(text.model_dump_json())
            letter = box.outgoing(self._next) if box.connection is self else None
            if letter is None:
                await self._woken.wait()
            else:
                self._next = letter.number
                await self._send(letter, box.answered)

    async def _send(self, letter: Letter, acknowledged: int) -> None:
        for message in letter_messages(letter, acknowledged):
            if isinstance(message, str):
                await self._socket.send_text(message)
            else:
                await self._socket.send_bytes(message)

    async def _read_all(self, box: Mailbox) -> None:
        while True:
            limit = self._limits.stall_s if self._reader.amid else None
            try:
                message = await asyncio.wait_for(self._receive(), limit)
            except asyncio.TimeoutError:
                raise WireError(f"nothing more of a letter came within {limit:g} s") from None
            letter = self._reader.feed(message)
            if isinstance(letter, Letter):
                box.take(letter, self._next)
            elif letter is not None:
                raise WireError(f"a message of kind '{letter.kind}' amid a session")

    async def _receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text: str | None = message.get("text")
        data: bytes | None = message.get("bytes")
        if text is not None:
            return text
        if data is None:
            raise WireError("an empty message")
        return data


def fault(err: WireError) -> End:
    """Return what a device is told that broke the protocol."""
    return End(code=FAULT, reason=str(err))
