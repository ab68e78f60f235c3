"""A gateway and its devices in one process: no Ray, no sockets. Connections can be cut at any message."""

from __future__ import annotations

import asyncio
import io
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from raysplit.config import SplitConfig
from raysplit.errors import DeviceLostError
from raysplit.join.link import Link
from raysplit.join.progress import Progress
from raysplit.join.setup import build_side
from raysplit.join.store import StateStore
from raysplit.join.worker import Reply, Worker
from raysplit.serving.args import GatewayArgs, GatewayLimits
from raysplit.serving.gateway.routes import GatewayRoutes
from raysplit.train.joined_device import JoinedDevice
from raysplit.wire.gateway_api import JOIN_PATH, NAME_HEADER, Letter, Lost, hash_key
from raysplit.wire.split_api import KEY_HEADER

GONE = object()
_ONE_AT_A_TIME = threading.Lock()
"""Devices are threads here, and tracing and the random numbers of torch are the process's: the test's own thread holds
this lock unless it waits for a device."""
WAIT_S = 30.0


class FakeSocket:
    """A WebSocket to an ASGI application that runs on another thread's event loop, by the methods of `link.Socket`.

    `cut_after` messages that it receives or sends the connection drops: the application then sees a disconnect, unless
    `half_open`.
    """

    def __init__(self, rig: Rig, headers: dict[str, str], cut_after: int | None = None, half_open: bool = False):
        self._loop, self._left, self._half_open = rig.loop, cut_after, half_open
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
        self._outbox = rig.run(self._open(rig.app, scope))

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


class OneAtATime(Worker):
    """A device that computes while no other does."""

    def _answer(self, letter: Letter) -> Reply:
        with _ONE_AT_A_TIME:
            return super()._answer(letter)


class Rig:
    """A gateway on an event loop of its own, with a key for each device."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("attic", "kitchen"), **limits: Any):
        self.folder = folder
        self.keys = folder / "keys.txt"
        self.write_keys(*names)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        limits = {"joins_per_minute": 10_000} | limits
        self.routes = GatewayRoutes(GatewayArgs(keys=str(self.keys), limits=GatewayLimits(**limits)))
        self.app, self.registry = self.routes.app, self.routes.registry
        self.threads: list[threading.Thread] = []
        self.ended: dict[str, str | Exception] = {}

    def write_keys(self, *names: str) -> None:
        self.keys.write_text("".join(f"{name} {hash_key(f'key of {name}')}\n" for name in names))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def dial(self, name: str, key: str | None = None, **faults: Any) -> FakeSocket:
        return FakeSocket(self, {NAME_HEADER: name, KEY_HEADER: key or f"key of {name}"}, **faults)

    def join(self, name: str, data: str = "digits", dial: Callable[[], FakeSocket] | None = None) -> Link:
        """Start a device; `ended` has the reason or the error with which it ends."""
        link = Link(dial or partial(self.dial, name), 1 << 30, pause_s=0.01)
        build = partial(build_side, data=data, code=self.folder)
        worker = OneAtATime(build, StateStore(self.folder / name), Progress(name, io.StringIO()))

        def work() -> None:
            try:
                self.ended[name] = worker.work(link)
            except Exception as err:
                self.ended[name] = err

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)
        return link

    def claim(self, count: int, run: str = "run", timeout_s: float = WAIT_S) -> tuple[str, ...]:
        return self.run(self.registry.claim(run, count, (), timeout_s))

    def stand_ins(self, config: SplitConfig) -> list[JoinedDevice]:
        """Claim the devices of a run, and have them build their halves."""
        names = self.claim(config.devices.count)
        devices = [self.stand_in(config, index, name) for index, name in enumerate(names)]
        for device in devices:
            device.ready()
        return devices

    def stand_in(self, config: SplitConfig, index: int, name: str, run: str = "run") -> JoinedDevice:
        return JoinedDevice(DirectPost(self, name, index, run), config, index, name)

    def close(self) -> None:
        async def end() -> None:
            self.registry.release("run", "the run has ended")

        self.run(end())
        for thread in self.threads:
            thread.join(WAIT_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


class DirectPost:
    """Calls to a device without Ray, by the methods of `joined_device.Post`."""

    _sessions = 0

    def __init__(self, rig: Rig, name: str, index: int, run: str):
        DirectPost._sessions += 1
        self._rig, self._name, self._index, self._run = rig, name, index, run
        self._session, self._number = f"s{DirectPost._sessions}", 0

    def send(self, content: str, parts: tuple[bytes, ...]) -> DirectWaiting:
        self._number += 1
        letter = Letter("call", self._session, self._number, content, parts)
        registry = self._rig.registry
        first = self._number == 1
        work = registry.begin(self._name, self._run, letter) if first else registry.call(self._name, letter)
        return DirectWaiting(asyncio.run_coroutine_threadsafe(work, self._rig.loop), self._index)


class DirectWaiting:
    def __init__(self, answer: Future[Letter | Lost], index: int):
        self._answer, self._index = answer, index

    def result(self, timeout_s: float | None) -> Letter:
        _ONE_AT_A_TIME.release()
        try:
            outcome = self._answer.result(WAIT_S if timeout_s is None else timeout_s)
        except TimeoutError:
            raise DeviceLostError("late", self._index, late=True) from None
        finally:
            _ONE_AT_A_TIME.acquire()
        if isinstance(outcome, Lost):
            raise DeviceLostError(outcome.reason, self._index)
        return outcome

    def is_there(self) -> bool:
        return self._answer.done() and isinstance(self._answer.result(), Letter)


@contextmanager
def gateway(folder: Path, *names: str, **limits: Any) -> Iterator[Rig]:
    """Run a gateway that knows some devices."""
    rig = Rig(folder, names or ("attic", "kitchen"), **limits)
    try:
        with _ONE_AT_A_TIME:
            yield rig
    finally:
        rig.close()
