"""The device side in this process, for tests, notebooks and search trials."""

from __future__ import annotations

from collections.abc import Sequence

from raysplit.config import SplitConfig
from raysplit.schedules.base import Decision
from raysplit.train.device import Device, DeviceFacts, Finished, LocalScore, Score, Split, TailAnswer, Uplink
from raysplit.train.device_side import DeviceSide
from raysplit.train.virtual_devices import VirtualDevices


class LocalDevice:
    """A device that answers each call before it returns."""

    def __init__(self, config: SplitConfig, index: int = 0):
        self._side = DeviceSide(config, index)

    def describe(self) -> Finished[DeviceFacts]:
        return Finished(self._side.describe())

    def begin_epoch(self, epoch: int, decision: Decision) -> Finished[None]:
        self._side.begin_epoch(epoch, decision)
        return Finished(None)

    def forward(self) -> Finished[Uplink]:
        return Finished(self._side.forward())

    def backward(self, gradient: bytes) -> Finished[None]:
        self._side.backward(gradient)
        return Finished(None)

    def exchange(self, gradient: bytes) -> Finished[Uplink]:
        return Finished(self._side.exchange(gradient))

    def answer(self, features: bytes) -> Finished[TailAnswer]:
        return Finished(self._side.answer(features))

    def score(self, features: bytes) -> Finished[Score]:
        return Finished(self._side.score(features))

    def train_alone(self) -> Finished[LocalScore]:
        return Finished(self._side.train_alone())

    def hand_over(self) -> Finished[bytes]:
        return Finished(self._side.hand_over())

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Finished[None]:
        self._side.agree(mean, std)
        return Finished(None)

    def weights(self) -> Finished[bytes]:
        return Finished(self._side.weights())

    def adopt(self, weights: bytes) -> Finished[None]:
        self._side.adopt(weights)
        return Finished(None)

    def evaluate(self, split: Split, index: int) -> Finished[Uplink]:
        return Finished(self._side.evaluate(split, index))

    def evaluate_alone(self, split: Split, index: int) -> Finished[LocalScore]:
        return Finished(self._side.evaluate_alone(split, index))

    def state(self) -> Finished[bytes]:
        return Finished(self._side.state())

    def restore(self, state: bytes) -> Finished[None]:
        self._side.restore(state)
        return Finished(None)

    def is_ready(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to release."""


def make_local_devices(config: SplitConfig) -> Sequence[Device]:
    """Return all devices of a run."""
    if config.devices.kind == "virtual":
        return VirtualDevices(config)
    return [LocalDevice(config, index) for index in range(config.devices.count)]
