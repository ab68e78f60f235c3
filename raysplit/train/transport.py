"""How the loop reaches a device: the same verbs and messages in one process or across Ray."""

from __future__ import annotations

from typing import Any, Protocol

from raysplit.config import SplitConfig
from raysplit.train.device import DeviceSide


class Pending(Protocol):
    """A call under way."""

    def result(self) -> Any:
        """Wait for the answer; raises what the device raised, or ClusterError if it does not answer."""


class Transport(Protocol):
    """One device. Calls run in the order they are made."""

    def call(self, verb: str, *args: Any) -> Pending:
        """Start a method of DeviceSide."""


class Done:
    """A call that was finished when it was made."""

    def __init__(self, answer: Any):
        self._answer = answer

    def result(self) -> Any:
        return self._answer


class Local:
    """The device side in this process, for tests, notebooks and search trials."""

    def __init__(self, config: SplitConfig):
        self._device = DeviceSide(config)

    def call(self, verb: str, *args: Any) -> Done:
        return Done(getattr(self._device, verb)(*args))
