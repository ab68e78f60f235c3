"""The devices that have joined a run at the gateway on its Ray cluster: stand-ins over a Serve handle."""

from __future__ import annotations

import logging
import secrets
import threading
from typing import Any

import ray
from ray import serve

from raysplit.config import SplitConfig
from raysplit.errors import ClusterError, DeviceLostError, RequestError
from raysplit.train.joined_device import JoinedDevice
from raysplit.wire.gateway_api import APPLICATION, Letter, Lost

_log = logging.getLogger(__name__)
_HEAR_S = 10.0
"""How often the gateway hears of a run: its lease is longer."""
_GONE = (ray.exceptions.RayError, serve.exceptions.RayServeException)


class GatewayRun:
    """The devices of one run at the gateway."""

    def __init__(self, config: SplitConfig, run: str):
        """Raises ClusterError if the cluster has no gateway."""
        self._config, self._run = config, run
        try:
            self._gateway: Any = serve.get_app_handle(APPLICATION)
        except serve.exceptions.RayServeException:
            raise ClusterError(
                f"devices.from is gateway, and this Ray cluster serves no application '{APPLICATION}'; first "
                "`serve run serve_configs/gateway.yaml`"
            ) from None
        self._names: tuple[str, ...] = ()
        self._over = threading.Event()

    def claim(self) -> None:
        """Wait for the devices of the run; ClusterError, which says who is there, if they do not come in time."""
        devices = self._config.devices
        count = devices.count - devices.inside
        names = self._ask(self._gateway.claim.remote(self._run, count, devices.names, devices.join_timeout_s))
        self._names = tuple(names)
        threading.Thread(target=self._be_heard, daemon=True).start()

    def start(self, config: SplitConfig, index: int) -> JoinedDevice:
        """Begin to have a device build its half; those on the cluster have the first numbers."""
        name = self._names[index - config.devices.inside]
        return JoinedDevice(
            _Line(self._gateway, self._run, name, index, config.ray.call_timeout_s), config, index, name
        )

    def release(self, reason: str) -> None:
        """Let the devices go: they end, and print the reason."""
        self._over.set()
        try:
            self._ask(self._gateway.release.remote(self._run, reason))
        except ClusterError as err:
            _log.warning(f"{err}; the devices of the run wait for another one")

    def _be_heard(self) -> None:
        while not self._over.wait(_HEAR_S):
            try:
                self._gateway.hear.remote(self._run).result(timeout_s=_HEAR_S)
            except (*_GONE, TimeoutError):
                continue  # calls to the devices say so

    def _ask(self, response: Any) -> Any:
        try:
            return response.result()
        except ray.exceptions.RayTaskError as err:
            if isinstance(err.cause, RequestError):
                raise ClusterError(str(err.cause)) from None
            raise
        except _GONE as err:
            raise ClusterError(f"the gateway does not answer: {err}") from None


class _Line:
    """Calls to one device in one session, by the methods of `joined_device.Post`. Its first call begins the session."""

    def __init__(self, gateway: Any, run: str, name: str, index: int, timeout_s: float):
        self._gateway, self._run, self._name, self._index, self._timeout_s = gateway, run, name, index, timeout_s
        self._session, self._number = secrets.token_hex(8), 0
        self._first: _Waiting | None = None

    def send(self, content: str, parts: tuple[bytes, ...]) -> _Waiting:
        self._number += 1
        letter = Letter("call", self._session, self._number, content, parts)
        if self._first is None:
            self._first = self._wait_for(self._gateway.begin.remote(self._name, self._run, letter))
            return self._first
        if not self._first.is_there():
            self._first.result(None)
        return self._wait_for(self._gateway.call.remote(self._name, letter))

    def _wait_for(self, response: Any) -> _Waiting:
        return _Waiting(response, self._name, self._index, self._timeout_s)


class _Waiting:
    """A call under way, by the methods of `joined_device.Waiting`."""

    def __init__(self, response: Any, name: str, index: int, timeout_s: float):
        self._response, self._index, self._timeout_s = response, index, timeout_s
        self._who = f"device {index} ({name})"
        self._outcome: Letter | Lost | None = None

    def result(self, timeout_s: float | None) -> Letter:
        if self._outcome is None:
            self._outcome = self._ask(timeout_s)
        if isinstance(self._outcome, Lost):
            raise DeviceLostError(f"{self._who} is lost: {self._outcome.reason}", self._index)
        return self._outcome

    def is_there(self) -> bool:
        if self._outcome is None:
            try:
                self._outcome = self._ask(0.0)
            except DeviceLostError as err:
                return not err.late
        return True

    def _ask(self, timeout_s: float | None) -> Letter | Lost:
        timeout, setting = self._timeout_s, "ray.call_timeout_s"
        if timeout_s is not None and timeout_s < timeout:
            timeout, setting = timeout_s, "devices.deadline_s"
        try:
            outcome: Letter | Lost = self._response.result(timeout_s=timeout)
            return outcome
        except TimeoutError:
            raise DeviceLostError(
                f"{self._who} did not answer within {timeout:g} s; look at it, and at its link to the gateway, or "
                f"raise {setting}",
                self._index,
                late=True,
            ) from None
        except _GONE as err:
            raise DeviceLostError(f"{self._who} is lost: the gateway does not answer: {err}", self._index) from None
