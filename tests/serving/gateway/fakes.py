"""A gateway on an event loop of its own, and connections to it: no Ray, no sockets, no networks to train."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswerError
from pathlib import Path
from typing import Any

from raysplit.errors import DeviceLostError
from raysplit.serving.args import GatewayArgs, GatewayLimits
from raysplit.serving.gateway import routes
from raysplit.wire.gateway_api import JOIN_PATH, KEY_HEADER, NAME_HEADER, Letter, Lost, hash_key

GONE = object()
WAIT_S = 30.0
routes._WATCH_S = 0.05


def make_key(name: str) -> str:
    """Return the key of a device."""
    return f"key-of-{name}"


class FakeSocket:
    """A WebSocket to an ASGI application that runs on another thread's event loop, by the methods of `link.Socket`.

    `cut_after` messages that it receives or sends the connection drops: the application then sees a disconnect, unless
    `half_open`.
    """

    def __init__(
        self, gateway: FakeGateway, headers: dict[str, str], cut_after: int | None = None, half_open: bool = False
    ):
        self._loop, self._left, self._half_open = gateway.loop, cut_after, half_open
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._cut = False
        self.closed: int | None = None
        scope = {
            "type": "websocket",
            "path": JOIN_PATH,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
            "query_string": b"",
            "root_path": "",
            "subprotocols": [],
            "client": ("10.0.0.7", 5000),
        }
        self._outbox = gateway.run(self._open(gateway.app, scope))

    async def _open(self, app: Any, scope: Any) -> asyncio.Queue[Any]:
        outbox: asyncio.Queue[Any] = asyncio.Queue()
        await outbox.put({"type": "websocket.connect"})

        async def serve() -> None:
            try:
                await app(scope, outbox.get, self._receive)
            finally:
                self._inbox.put(GONE)

        self._task = asyncio.create_task(serve())
        return outbox

    async def _receive(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            text = message.get("text")
            self._inbox.put(text if text is not None else message["bytes"])
        elif message["type"] == "websocket.close":
            self.closed = message["code"]
            self._inbox.put(GONE)

    def recv(self) -> str | bytes:
        message = self._inbox.get(timeout=WAIT_S)
        self._count()
        if message is GONE or self._cut:
            raise ConnectionError("closed")
        return message

    def send(self, message: str | bytes) -> None:
        self._count()
        if self._cut or self.closed is not None:
            raise ConnectionError("closed")
        self._put({"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message})

    def close(self) -> None:
        if not self._cut:
            self._cut = True
            self._inbox.put(GONE)
            if not self._half_open:
                self._put({"type": "websocket.disconnect", "code": 1006})

    def _count(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self.close()

    def _put(self, message: Any) -> None:
        self._loop.call_soon_threadsafe(self._outbox.put_nowait, message)


class FakeGateway:
    """The gateway's application, with a key for each device."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("attic", "kitchen"), lease_s: float = 60, **limits: Any):
        self.folder = folder
        self.keys = folder / "keys.txt"
        self.write_keys(*names)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        allowed = GatewayLimits.model_validate({"joins_per_minute": 1_000_000} | limits)
        self.routes = routes.GatewayRoutes(GatewayArgs(keys=str(self.keys), limits=allowed, lease_s=lease_s))
        self.app, self.registry = self.routes.app, self.routes.registry
        self.heard: list[str] = []
        """What was asked over real connections: the types of ASGI scopes."""

    async def app_on_its_loop(self, scope: Any, receive: Any, send: Any) -> None:
        """The application, to be served by another event loop than its own."""
        self.heard.append(scope["type"])
        serving = asyncio.get_running_loop()

        async def there(work: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Any:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

        async def receive_there() -> Any:
            return await there(receive(), serving)

        async def send_there(message: Any) -> None:
            await there(send(message), serving)

        await there(self.app(scope, receive_there, send_there), self.loop)

    def write_keys(self, *names: str) -> None:
        self.keys.write_text("".join(f"{name} {hash_key(make_key(name))}\n" for name in names))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run on the gateway's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def dial(self, name: str, key: str | None = None, **faults: Any) -> FakeSocket:
        headers = {NAME_HEADER: name, KEY_HEADER: f"Bearer {make_key(name) if key is None else key}"}
        return FakeSocket(self, headers, **faults)

    def claim(self, count: int, run: str = "run", timeout_s: float = WAIT_S) -> tuple[str, ...]:
        return self.run(self.registry.claim(run, count, (), timeout_s))

    def release(self, run: str = "run", reason: str = "the run has ended") -> None:
        async def end() -> None:
            self.registry.release(run, reason)

        self.run(end())

    def post(self, name: str, index: int = 0, run: str = "run") -> DirectPost:
        return DirectPost(self, name, index, run)

    def close(self) -> None:
        self.release()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


class DirectPost:
    """Calls to a device without Ray, by the methods of `joined_device.Post`."""

    _sessions = 0

    def __init__(self, gateway: FakeGateway, name: str, index: int, run: str):
        DirectPost._sessions += 1
        self._gateway, self._name, self._index, self._run = gateway, name, index, run
        self.session, self._number = f"s{DirectPost._sessions}", 0

    def send(self, content: str, parts: tuple[bytes, ...] = ()) -> DirectWaiting:
        self._number += 1
        letter = Letter("call", self.session, self._number, content, parts)
        registry = self._gateway.registry
        first = self._number == 1
        work = registry.begin(self._name, self._run, letter) if first else registry.call(self._name, letter)
        return DirectWaiting(asyncio.run_coroutine_threadsafe(work, self._gateway.loop), self._index)


class DirectWaiting:
    """A call under way, by the methods of `joined_device.Waiting`."""

    def __init__(self, answer: Future[Letter | Lost], index: int):
        self._answer, self._index = answer, index

    def result(self, timeout_s: float | None = None) -> Letter:
        try:
            outcome = self._answer.result(WAIT_S if timeout_s is None else timeout_s)
        except NoAnswerError:
            raise DeviceLostError("late", self._index, late=True) from None
        if isinstance(outcome, Lost):
            raise DeviceLostError(outcome.reason, self._index)
        return outcome

    def is_there(self) -> bool:
        return self._answer.done()
