"""The gateway as an ASGI application: the WebSocket at which devices join."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

from raysplit.errors import RequestError, WireError
from raysplit.serving.args import GatewayArgs
from raysplit.serving.gateway.door import Attempts, Door
from raysplit.serving.gateway.keys import Keys
from raysplit.serving.gateway.line import Line, fault
from raysplit.serving.gateway.registry import Registry
from raysplit.wire.gateway_api import BUSY, JOIN_PATH, PROTOCOL, REFUSED, End, hash_key

_WATCH_S = 1.0
_log = logging.getLogger("ray.serve")


class GatewayRoutes:
    """Joins devices to the runs of `registry`; `app` is the ASGI application."""

    def __init__(self, args: GatewayArgs):
        """Raises ConfigError for a file of keys that cannot be read."""
        self._limits = args.limits
        self._keys = Keys(args.keys)
        self._door = Door(self._keys, Attempts(args.limits.joins_per_minute))
        self._admitted: dict[Line, tuple[str, str]] = {}
        self._open = 0
        self._watching: asyncio.Task[None] | None = None
        self.registry = Registry(args.limits.devices, args.lease_s)
        self.app = FastAPI(title="raysplit gateway")
        self.app.add_api_websocket_route(JOIN_PATH, self._join)
        self.app.add_api_route("/v2/health/ready", self._ready)
        self.app.add_api_route("/v2/health/live", self._ready)

    async def _ready(self) -> dict[str, bool]:
        """200 if the application is running."""
        return {"ready": True}

    async def _join(self, socket: WebSocket) -> None:
        self._watch()
        await socket.accept()
        line, end = Line(socket, self._limits), None
        self._open += 1
        try:
            await self._serve(socket, line)
        except RequestError as err:
            end = End(code=BUSY if err.status in (429, 503) else REFUSED, reason=str(err))
        except WireError as err:
            end = fault(err)
        except WebSocketDisconnect:
            return
        finally:
            self._open -= 1
        if end is not None:
            _log.info("a device at %s was refused: %s", _address(socket), end.reason)
            await line.close(end)

    async def _serve(self, socket: WebSocket, line: Line) -> None:
        if self._open > 2 * self._limits.devices:
            raise RequestError("too many connections are open (limits.devices); try later", 503)
        name, key = self._door.admit(socket.headers, _address(socket))
        hello = await line.hello()
        if hello.protocol != PROTOCOL:
            raise RequestError(
                f"the device speaks protocol {hello.protocol} and the gateway {PROTOCOL}; install the same raysplit",
                400,
            )
        self._admitted[line] = name, hash_key(key)
        try:
            box = self.registry.connect(name, line, hello)
            try:
                await line.serve(box)
            finally:
                self.registry.disconnect(box, line)
        finally:
            del self._admitted[line]

    def _watch(self) -> None:
        """Look after keys and runs from the first connection on: there is an event loop now."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._keep_watch())

    async def _keep_watch(self) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(_WATCH_S)
                self.registry.expire()
                if self._keys.refresh():
                    self.expel_revoked()

    def expel_revoked(self) -> None:
        """Close the connections of devices whose keys have been revoked or replaced."""
        for name, key_hash in list(self._admitted.values()):
            if not self._keys.knows(name, key_hash):
                self.registry.expel(name, End(code=REFUSED, reason="its key has been revoked"))


def _address(socket: WebSocket) -> str:
    return socket.client.host if socket.client else "an unknown address"
