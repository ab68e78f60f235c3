"""Devices that are killed: in each round two others, in the middle of their training."""

from __future__ import annotations

from typing import Any, NoReturn

import torch

from raysplit.config import SplitConfig
from raysplit.errors import DeviceLostError
from raysplit.folders.run_dir import STATE, RunDir
from raysplit.schedules.base import Decision
from raysplit.torch_utils.checkpoint import pack_state
from raysplit.torch_utils.seeds import generator
from raysplit.train.epoch import StepCallback
from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from raysplit.train.run import read_newest_state, run
from raysplit.utils.storage import dated

_AT = 3
"""In which of its training calls of a round a device dies."""


class Dead:
    """A call that is never answered."""

    def __init__(self, device: int):
        self._device = device

    def result(self, timeout_s: float | None = None) -> NoReturn:
        """Tell that the device has died."""
        raise DeviceLostError(f"device {self._device} has died", self._device)


class MortalDevice:
    """A device in this process that dies in the rounds that are drawn for it."""

    def __init__(self, config: SplitConfig, index: int, killed: int):
        self._local, self._index, self._killed = LocalDevice(config, index), index, killed
        self._count, self._seed = config.devices.count, config.train.seed
        self._calls, self._dies, self._dead = 0, False, False

    def begin_epoch(self, epoch: int, decision: Decision) -> Any:
        """Begin a round, and learn whether to die in it."""
        order = torch.randperm(self._count, generator=generator("killed", self._seed, epoch))
        self._calls, self._dies = 0, self._index in order[: self._killed].tolist()
        return Dead(self._index) if self._dead else self._local.begin_epoch(epoch, decision)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self._calls += name in ("forward", "exchange", "train_alone")
            self._dead = self._dead or (self._dies and self._calls >= _AT)
            return Dead(self._index) if self._dead else getattr(self._local, name)(*args)

        return call

    def is_ready(self) -> bool:
        """Return whether it lives."""
        return not self._dead

    def close(self) -> None:
        """Nothing to release."""


def train_with_faults(config: SplitConfig, run_dir: str, on_step: StepCallback, killed: int) -> object:
    """Train in this process, as `train_local` does, with so many devices killed in each round."""
    folder = RunDir.at(run_dir)

    def save(loop: Loop) -> None:
        folder.write(f"{dated('checkpoint')}/{STATE}", pack_state(loop.state()))
        for old in folder.checkpoints()[:-1]:
            folder.delete(old)

    def make(index: int) -> MortalDevice:
        return MortalDevice(config, index, killed)

    start = read_newest_state(folder)
    devices = [make(index) for index in range(config.devices.count)]
    loop = Loop(config, devices, on_step, resumed=start is not None, replace_device=make)
    return run(loop, folder, start, save)
