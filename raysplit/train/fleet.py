"""The devices of a run as the loop sees them, and the weights that they hold in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError
from raysplit.records.device import DeviceRecord
from raysplit.records.epoch import EpochRecord
from raysplit.schedules.base import Decision
from raysplit.torch_utils.seeds import generator
from raysplit.train.clock import Clock
from raysplit.train.device import Call, Device, DeviceFacts
from raysplit.train.device_data import count_steps
from raysplit.train.fleet_facts import agree_on, join_facts, require_rows
from raysplit.train.shared_weights import average
from raysplit.train.traffic import Traffic
from raysplit.wire.message import Message, parse


@dataclass
class Member:
    """One device of a run."""

    index: int
    device: Device
    facts: DeviceFacts
    steps: int
    """Optimizer steps in an epoch in which it takes part."""
    held: int = 0
    """Which version of the common weights it holds."""
    packed: bytes | None = None
    """Its state, unless it has trained since it was fetched."""
    away: bool = False
    """Whether it is lost, and not there again yet."""


class HasMember(Protocol):
    """What one device does in an epoch."""

    member: Member


Taking = TypeVar("Taking", bound=HasMember)


class Fleet:
    """All devices of a run.

    Their halves start equal. What they train is averaged at the end of an epoch or handed on after each turn: that is
    a new version of the common weights, which a device takes before it next needs them. A run of one device has no
    other versions, and nothing crosses for them.
    """

    def __init__(self, config: SplitConfig, devices: Sequence[Device]):
        self._run, self._config = config, config.devices
        self._seed = config.train.seed
        self._trains = not config.device_rests
        found = [call.result() for call in [device.describe() for device in devices]]
        require_rows(config, found)
        self.facts = join_facts(config, found)
        """Of all devices together."""
        if len(devices) > 1 and (agreed := agree_on(found)) is not None:
            self._agree(devices, *agreed)
        self.members = [
            Member(index, device, facts, count_steps(facts.train_rows, config.train.batch_size, config.devices))
            for index, (device, facts) in enumerate(zip(devices, found, strict=True))
        ]
        self.checkpoint_bytes = 0
        """Bytes of the devices' states that checkpoints fetched and restores sent."""
        self._version = 0
        self._common: bytes | None = None

    def _agree(self, devices: Sequence[Device], mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        for call in [device.agree(mean, std) for device in devices]:
            call.result()

    @property
    def many(self) -> bool:
        """Whether there is more than one device."""
        return len(self.members) > 1

    @property
    def present(self) -> list[Member]:
        """The devices that are there."""
        return [member for member in self.members if not member.away]

    @property
    def steps(self) -> int:
        """The most optimizer steps that the devices of one epoch take together."""
        return sum(self._largest())

    @property
    def longest(self) -> int:
        """The most optimizer steps that one device takes in an epoch."""
        return self._largest()[0]

    def _largest(self) -> list[int]:
        return sorted((member.steps for member in self.members), reverse=True)[: self._config.per_round]

    def draw(self, epoch: int) -> list[Member]:
        """Return the devices that take part in an epoch, in the order in which they do."""
        ready = torch.tensor(self._ready(epoch))
        chosen = ready.nonzero().flatten()
        if self._config.per_round is not None:
            order = torch.randperm(len(ready), generator=generator("devices", self._seed, epoch))
            chosen = order[ready[order]][: self._config.per_round].sort().values
        if self._config.mode == "splitfed_v2":
            chosen = chosen[torch.randperm(len(chosen), generator=generator("turns", self._seed, epoch))]
        there = [self.members[index] for index in chosen.tolist() if not self.members[index].away]
        return there or self.present[: self._config.per_round]

    def _ready(self, epoch: int) -> list[bool]:
        """Return of each device whether it may be drawn for an epoch."""
        return [True] * len(self.members)

    def begin(self, epoch: int, decision: Decision, own: Mapping[int, Decision]) -> dict[int, Call[None]]:
        """Begin an epoch on every device; return the calls to those that take part, by their own decisions."""
        calls = {}
        for member in self.present:
            call = member.device.begin_epoch(epoch, own.get(member.index, decision))
            member.packed = None
            if member.index in own:
                calls[member.index] = call
        return calls

    def groups(self, parts: Sequence[Taking]) -> list[list[Taking]]:
        """Return which of some devices that train alone do so at the same time: all of them."""
        return [list(parts)]

    def hand(self, taking: Iterable[tuple[Member, Traffic, Clock]], evaluation: bool = False) -> None:
        """Send the common weights to the devices that do not hold them; counted as training unless for `evaluation`."""
        calls: list[tuple[Member, Clock, Call[None]]] = []
        for member, traffic, clock in taking:
            if member.held == self._version or self._common is None:
                continue
            with clock:
                message = parse(self._common)
            if evaluation:
                traffic.count_evaluation(message)
            else:
                traffic.count(message, "down")
            calls.append((member, clock, member.device.adopt(self._common)))
        for member, clock, call in calls:
            clock.wait(call)
            member.held, member.packed = self._version, None

    def collect(self, giving: Sequence[tuple[Member, Traffic, Clock]], samples: Sequence[int]) -> None:
        """Make the average of what some devices have trained, on so many samples each, the common weights."""
        if not self.many or not self.shares:
            return
        calls = [member.device.weights() for member, _, _ in giving]
        messages: list[Message] = []
        for (_, traffic, clock), call in zip(giving, calls, strict=True):
            messages.append(clock.wait_message(call))
            traffic.count(messages[-1], "up")
        with giving[0][2]:
            self._common = average(messages, self.weigh(samples)).to_bytes()
        self._version += 1
        if len(giving) == 1:
            giving[0][0].held = self._version

    def stamp(self, own: list[DeviceRecord], record: EpochRecord) -> tuple[list[DeviceRecord], EpochRecord]:
        """Return the rows of a round and of its devices, virtual ones with their own time."""
        return own, record

    def pass_time(self, seconds: float) -> None:
        """Let time pass for virtual devices."""

    def weigh(self, samples: Sequence[int]) -> Sequence[int]:
        """Return how much devices that trained on so many samples count in an average."""
        return [1] * len(samples) if self._config.weighting == "equal" else samples

    @property
    def shares(self) -> bool:
        """Whether anything of the device halves is trained, and so crosses to become common."""
        return self._trains and self.members[0].facts.shared_bytes > 0

    def current(self) -> Member:
        """Return the first device that holds the common weights; it gets them where none does any more."""
        for member in self.present:
            if member.held == self._version:
                return member
        first = self.present[0]
        self.hand([(first, Traffic(), Clock())])
        return first

    def states(self) -> list[bytes]:
        """Fetch the state of every device, unless it has not trained since the last time."""
        calls = [(member, member.device.state()) for member in self.present if member.packed is None]
        for member, call in calls:
            member.packed = call.result()
            self.checkpoint_bytes += len(member.packed)
        return [member.packed or b"" for member in self.members]

    def bring(self, member: Member, packed: bytes | None, held: int) -> None:
        """Give a device that was started anew, or is there again, the state that it had, and version `held`."""
        if self.many and self.facts.normalized_by == "data":
            member.device.agree(self.facts.mean, self.facts.std).result()
        if packed:
            member.device.restore(packed).result()
            self.checkpoint_bytes += len(packed)
        member.packed, member.held = packed, held

    def go_back(self, states: Sequence[bytes], state: dict[str, Any]) -> None:
        """Go back to what `states` and `state` returned; the devices themselves do when they begin the epoch again."""
        for member, packed, held in zip(self.members, states, state["held"], strict=True):
            member.packed, member.held = packed, held
        self._version, self._common = state["version"], state["common"]

    def state_of(self, member: Member) -> bytes:
        """Fetch the state of one device, as `states` does."""
        if member.packed is None:
            member.packed = member.device.state().result()
            self.checkpoint_bytes += len(member.packed)
        return member.packed

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the devices' states."""
        return {"version": self._version, "held": [member.held for member in self.members], "common": self._common}

    def restore(self, states: Sequence[bytes], state: dict[str, Any] | None, checkpoint_bytes: int) -> None:
        """Go back to what `states`, `state` (None: of a run of one device) and `checkpoint_bytes` were."""
        _restore_all(self.members, states)
        found = [call.result() for call in [member.device.describe() for member in self.members]]
        self.facts = join_facts(self._run, found)
        held = [0] * len(states) if state is None else state["held"]
        for member, packed, version, facts in zip(self.members, states, held, found, strict=True):
            member.packed, member.held, member.facts = packed, version, facts
        if state is not None:
            self._version, self._common = state["version"], state["common"]
        self.checkpoint_bytes = checkpoint_bytes + sum(map(len, states))


def _restore_all(members: Sequence[Member], states: Sequence[bytes]) -> None:
    """Restore the state of each device; one ConfigError names all devices that lack theirs."""
    calls: list[Call[None]] = []
    faults: list[str] = []
    for member, packed in zip(members, states, strict=True):
        try:
            calls.append(member.device.restore(packed))
        except ConfigError as err:  # a device in this process answers at once
            faults.append(str(err))
    for call in calls:
        try:
            call.result()
        except ConfigError as err:
            faults.append(str(err))
    if faults:
        raise ConfigError("; ".join(faults))
