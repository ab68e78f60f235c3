"""The clock of virtual devices: how long each round would take on their machines and links, and who is there then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError
from raysplit.hardware.link import Link, get_link
from raysplit.hardware.machine import Machine, get_machine
from raysplit.models import build
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord
from raysplit.split import profile
from raysplit.torch_utils.seeds import generator
from raysplit.train.predict import predict_epoch_s

_DAY = 24.0
Found = TypeVar("Found")
_PASSES = 3
"""Forward passes that a training step costs: the backward pass has two products for its one."""


@dataclass(frozen=True)
class Compute:
    """1e9 operations of a forward pass for one image; a MAC is 2."""

    device: float
    server: float

    @classmethod
    def of(cls, config: SplitConfig, classes: int, shape: tuple[int, int, int]) -> Compute:
        """Return what each side computes, the bottleneck and a local head left out; in `fedavg` all is on the device.

        Raises what `raysplit.split.profile` raises.
        """
        model = config.model.module if config.model.module is not None else build(config.model, classes, shape)
        cut = next(cut for cut in profile(model, shape) if cut.name == config.cut)
        if config.devices.mode == "fedavg":
            return cls(cut.device_gflops + cut.server_gflops, 0.0)
        return cls(cut.device_gflops, cut.server_gflops)


class VirtualClock:
    """Time as it would pass for the devices of a run, a pure function of its config and of the bytes that cross.

    >>> from raysplit.config import DevicesConfig
    >>> from raysplit.recipes import get
    >>> devices = DevicesConfig(kind="virtual", count=4, links={"lte": 3, "wifi": 1})
    >>> clock = VirtualClock(get("mnist5k_vgg11_deprune").replaced(devices=devices), Compute(0.1, 0.2))
    >>> sorted({clock.link(device).name for device in range(4)}) in (["lte"], ["lte", "wifi"], ["wifi"])
    True
    """

    def __init__(self, config: SplitConfig, compute: Compute):
        """Draw the machine and the link of each device; ConfigError for a name that is neither known nor a file."""
        self._config, self._compute = config, compute
        devices, seed = config.devices, config.train.seed
        self._machines = [_find(get_machine, name, "devices.machines") for name in devices.machines]
        self._links = [_find(get_link, name, "devices.links") for name in devices.links]
        self._machine_of = _draw(list(devices.machines.values()), devices.count, "machines", seed)
        self._link_of = _draw(list(devices.links.values()), devices.count, "links", seed)
        self._server = get_machine("server")
        self._wakes = torch.rand(devices.count, generator=generator("hours", seed)) * _DAY
        self.now_s = 0.0
        """Seconds since the run began."""

    def machine(self, device: int) -> Machine:
        """Return the machine of a device."""
        return self._machines[int(self._machine_of[device])]

    def link(self, device: int) -> Link:
        """Return the link of a device."""
        return self._links[int(self._link_of[device])]

    def there(self, hours: float) -> torch.Tensor:
        """Return of each device, bool (devices,), whether it is there so many hours after the run began."""
        return (hours - self._wakes) % _DAY < self._config.devices.availability.hours

    def wait_s(self) -> float:
        """Return the seconds until the next device is there: 0 unless all are away."""
        hours = self.now_s / 3600
        if bool(self.there(hours).any()):
            return 0.0
        return float(((self._wakes - hours) % _DAY).min()) * 3600

    def ready(self) -> torch.Tensor:
        """Return of each device whether it is there when the next round begins."""
        return self.there((self.now_s + self.wait_s()) / 3600 + 1e-6)

    def drops_out(self, device: int, epoch: int) -> bool:
        """Return whether a device drops out of a round."""
        share = self._config.devices.availability.dropout
        return share > 0 and self._chance("dropout", device, epoch) < share

    def is_slow(self, device: int, epoch: int) -> bool:
        """Return whether a device is slow in a round."""
        share = self._config.devices.availability.stragglers
        return share > 0 and self._chance("stragglers", device, epoch) < share

    def stamp(
        self, own: Sequence[DeviceRecord], checked: Sequence[int], record: EpochRecord
    ) -> tuple[list[DeviceRecord], EpochRecord]:
        """Return the rows of a round and of its devices with the seconds that they would have taken, and let them pass.

        Devices that work side by side take as long as the slowest, others as long as all together. `checked` says on
        how many images each was validated.
        """
        stamped = [self._stamp(one, images) for one, images in zip(own, checked, strict=True)]
        seconds = [one.virtual_s for one in stamped]
        spent = self.wait_s() + (max(seconds) if self._config.devices.side_by_side else sum(seconds))
        self.now_s += spent
        return stamped, replace(record, virtual_s=spent)

    def _stamp(self, own: DeviceRecord, checked: int) -> DeviceRecord:
        machine, link, epoch = self.machine(own.device), self.link(own.device), own.epoch
        device_s = self._compute.device / machine.gflops_per_s
        server_s = 0.0 if epoch.mode == "alone" else self._compute.server / self._server.gflops_per_s
        passes = 1 if epoch.mode == "frozen" or self._config.device_rests else _PASSES
        trained = own.samples * passes * device_s, own.samples * _PASSES * server_s
        timed = replace(
            epoch,
            device_s=trained[0] + checked * device_s,
            server_s=trained[1] + checked * server_s,
            train_compute_s=sum(trained),
        )
        seconds = predict_epoch_s(timed, self._config.train.in_flight, link) if timed.device_s + timed.server_s else 0.0
        if self.is_slow(own.device, epoch.epoch):
            seconds *= self._config.devices.availability.slowdown
        return replace(own, machine=machine.name, link=link.name, virtual_s=seconds)

    def _chance(self, name: str, device: int, epoch: int) -> float:
        return float(torch.rand(1, generator=generator(name, self._config.train.seed, epoch, device)))


def _find(get: Callable[[str], Found], name: str, setting: str) -> Found:
    try:
        return get(name)
    except ConfigError as err:
        raise ConfigError(f"{setting}: {err}") from None


def _draw(weights: list[float], count: int, name: str, seed: int) -> torch.Tensor:
    """Return which of some things each device has, int16 (count,), by their weights."""
    chances = torch.tensor(weights, dtype=torch.float64)
    return torch.multinomial(chances, count, replacement=True, generator=generator(name, seed)).to(torch.int16)
