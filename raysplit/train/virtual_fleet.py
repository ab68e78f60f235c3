"""The virtual devices of a run as the loop sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from raysplit.config import SplitConfig
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord
from raysplit.schedules.base import Decision
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.train.device import Call, Device
from raysplit.train.fleet import Fleet, Member, Taking
from raysplit.train.virtual_clock import Compute, VirtualClock
from raysplit.train.virtual_devices import VirtualDevices


class VirtualFleet(Fleet):
    """Virtual devices: what concerns all of them is said to their workers once, and no state of theirs crosses."""

    def __init__(self, config: SplitConfig, devices: VirtualDevices):
        self._virtual = devices
        super().__init__(config, devices)
        self._clock = VirtualClock(config, Compute.of(config, len(self.facts.classes), self.facts.shape))

    def _agree(self, devices: Sequence[Device], mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self._virtual.agree(mean, std)

    def _ready(self, epoch: int) -> list[bool]:
        there = self._clock.ready().tolist()
        return [ready and member.steps > 0 for ready, member in zip(there, self.members, strict=True)]

    def draw(self, epoch: int) -> list[Member]:
        drawn = super().draw(epoch)
        return [member for member in drawn if not self._clock.drops_out(member.index, epoch)] or drawn[:1]

    def stamp(self, own: list[DeviceRecord], record: EpochRecord) -> tuple[list[DeviceRecord], EpochRecord]:
        return self._clock.stamp(own, [self.members[one.device].facts.val_rows for one in own], record)

    def pass_time(self, seconds: float) -> None:
        self._clock.now_s += seconds

    def begin(self, epoch: int, decision: Decision, own: Mapping[int, Decision]) -> dict[int, Call[None]]:
        self._virtual.begin_epoch(epoch, decision, own)
        return {}

    def groups(self, parts: Sequence[Taking]) -> list[list[Taking]]:
        """Return groups of devices that train alone: one of each worker."""
        count = self._virtual.worker_count
        queues = [[part for part in parts if part.member.index % count == worker] for worker in range(count)]
        return [[part for part in group if part is not None] for group in zip_longest(*queues)]

    def states(self) -> list[bytes]:
        """Return the state of all devices as one."""
        return [pack_state(self._virtual.snapshot())]

    def state_of(self, member: Member) -> bytes:
        return member.device.state().result()

    def restore(self, states: Sequence[bytes], state: dict[str, Any] | None, checkpoint_bytes: int) -> None:
        (packed,) = states
        snapshot = unpack_state(packed)
        if state is not None:
            self._version, self._common = state["version"], state["common"]
            for member, version in zip(self.members, state["held"], strict=True):
                member.held = version
        holders = [member.index for member in self.members if member.held == self._version]
        self._virtual.restore(snapshot, holders if self._common is not None else [], self._common or b"")
        weights, (normalized_by, mean, std) = snapshot["start"]
        self.facts = replace(self.facts, weights=weights, normalized_by=normalized_by, mean=mean, std=std)
        self.checkpoint_bytes = checkpoint_bytes


def make_fleet(config: SplitConfig, devices: Device | Sequence[Device]) -> Fleet:
    """Return the fleet of one device, of many, or of virtual ones."""
    if isinstance(devices, VirtualDevices):
        return VirtualFleet(config, devices)
    return Fleet(config, devices if isinstance(devices, Sequence) else [devices])
