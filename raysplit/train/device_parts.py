"""The network that a device of a run holds, and what it trains it with alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from raysplit.config import SplitConfig
from raysplit.train.halves import BuiltDevice, Shape, build_device_half, build_server_half


@dataclass(frozen=True)
class DeviceParts:
    """The network of a device: the half before the cut, and what the device trains it with alone."""

    built: BuiltDevice
    head: nn.Module | None
    """The classifier of the local loss or, in `fedavg`, the rest of the network."""


def build_parts(config: SplitConfig, classes: int, shape: Shape) -> DeviceParts:
    """Build what a device of a run holds for images of `shape`; raises what `build_device_half` raises."""
    built = build_device_half(config, classes, shape)
    fedavg = config.devices.mode == "fedavg"
    return DeviceParts(built, build_server_half(config, classes, shape).half if fedavg else built.head)
