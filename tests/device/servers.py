"""Servers in this process: the real application behind Starlette's test client, and a scripted one."""

from __future__ import annotations

import json

from starlette.testclient import TestClient

from raysplit.device.emulated_link import VirtualClock
from raysplit.device.http import Reply, Request, SystemClock


class AppTransport:
    """Carries requests to an ASGI application."""

    def __init__(self, app):
        self.clock = SystemClock()
        self._client = TestClient(app, client=("127.0.0.1", 50000))

    def open(self) -> None:
        pass

    def send(self, request: Request) -> Reply:
        answer = self._client.request(request.method, request.path, content=request.body, headers=dict(request.headers))
        return Reply(answer.status_code, dict(answer.headers), answer.content)

    def close(self) -> None:
        self._client.close()


class Scripted:
    """Answers in `compute_s` seconds of a virtual clock; faults can be planted."""

    def __init__(self, compute_s: float = 0.005, count: int = 1):
        self.clock = VirtualClock()
        self.compute_s, self.count = compute_s, count
        self.faults: list[Exception | Reply] = []
        """One for each of the next requests."""
        self.asked: list[Request] = []
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1

    def send(self, request: Request) -> Reply:
        self.asked.append(request)
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        if request.method == "GET":
            return Reply(200, {}, b"{}")
        self.clock.sleep(self.compute_s)
        says = [[{"name": "7", "probability": 0.9}]] * self.count
        level = request.headers["X-Raysplit-Level"]
        answer = {"level": level, "images": says, "seconds": {"queue": 0.0, "compute": self.compute_s}, "newer": 1}
        return Reply(200, {}, json.dumps(answer).encode())

    def close(self) -> None:
        self.closed += 1
