"""Which device runs which sub-model, and how large a sub-model may be for that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raysplit.errors import ConfigError
from raysplit.hardware.machine import Machine

SEARCH_LIMIT = 10_000
"""Partial placements that are tried, a fraction of a second: all there are for five sub-models on five devices.
With more, a placement that exists may be missed where greedy fails, and sub-models get smaller than they had to."""


@dataclass(frozen=True)
class Demand:
    """What one sub-model needs."""

    name: str
    bytes: int
    """Of its file."""
    flops: int
    """Operations for one image; a MAC is 2."""


@dataclass(frozen=True)
class Load:
    """What one device has to do for an image."""

    device: str
    submodels: tuple[str, ...]
    bytes: int
    flops: int
    """Operations for one image, all its sub-models."""
    seconds: float
    """For one image, its sub-models one after the other, at the device's `gflops_per_s`."""
    memory_share: float
    """Of its memory, 0..1."""
    energy_share: float | None
    """Of its energy, 0..1, after all images; None: it has no limit."""


@dataclass(frozen=True)
class Placement:
    device_of: tuple[str, ...]
    """The device of each sub-model, in the order of the demands."""
    loads: tuple[Load, ...]
    """Of every device, in the order given; one without a sub-model too."""


@dataclass(frozen=True)
class Shortage:
    """Why sub-models cannot be placed; its text says which constraint is missed and by how much."""

    who: str
    where: str
    bytes: float
    """Of memory that are missing there, 0: none."""
    operations: float
    """That the energy there does not allow, for all images, 0: none."""

    def __str__(self) -> str:
        missing = [f"{_number(self.bytes / 2**20)} MiB of memory"] * (self.bytes > 0)
        missing += [f"{_number(self.operations / 1e9)} GFLOPs of energy"] * (self.operations > 0)
        return f"{self.who} on {self.where}: {' and '.join(missing)} missing"

    def remedy(self) -> str:
        """Return what a user can change, as the end of an error's text."""
        changes = ["raise memory_mib, use precision=int8"] * (self.bytes > 0)
        changes += ["raise energy_gflops, lower samples"] * (self.operations > 0)
        return f"{', '.join(changes)} or add devices"


def place(demands: Sequence[Demand], devices: Sequence[Machine], samples: int) -> Placement:
    """Return a placement as `attempt` does; ConfigError, with what is missing, if there is none."""
    found = attempt(demands, devices, samples)
    if isinstance(found, Shortage):
        raise ConfigError(f"the sub-models cannot be placed: {found}; lower prune.keep, {found.remedy()}")
    return found


def attempt(demands: Sequence[Demand], devices: Sequence[Machine], samples: int) -> Placement | Shortage:
    """Give every sub-model a device that holds its file and has the energy to run it on `samples` images.

    Greedy as ED-ViT (arXiv 2410.11650): sub-models by operations, most first; of the devices where one fits,
    those without a sub-model come first, then those with more energy left, then with more memory left. Where that
    leads nowhere, other choices are tried in the same order, so that a placement is found if there is one, up to
    SEARCH_LIMIT. Raises ConfigError if there is no device.
    """
    if not devices:
        raise ConfigError("there are no devices to place sub-models on; name some in devices")
    rooms = [_Room.of(device) for device in devices]
    works = [_Work(demand.name, demand.bytes, demand.flops * samples) for demand in demands]
    shortage = _plain_shortage(works, rooms)
    if shortage:
        return shortage
    search = _Search(works, rooms)
    if not search.run():
        return search.shortage
    loads = [
        _load(device, [d for d, i in zip(demands, search.chosen, strict=True) if i == index], samples)
        for index, device in enumerate(devices)
    ]
    return Placement(tuple(devices[i].name for i in search.chosen), tuple(loads))


def fit(
    demand_of: Callable[[int, int], Demand], n: int, top: int, devices: Sequence[Machine], samples: int
) -> tuple[tuple[int, ...], Placement]:
    """Return the largest sizes k of `n` sub-models, at most `top`, at which all can be placed, and where.

    `demand_of(i, k)` is what sub-model i needs at size k, never less at a larger k. All start at `top` and get
    smaller together until they can be placed; then the smallest grows by one, in turn, as long as there is a
    place for it. So none is small for another's sake, and in the end none alone can be larger. Raises
    ConfigError, with what is missing, if they cannot be placed at k = 1.
    """

    def tried(ks: Sequence[int]) -> Placement | Shortage:
        return attempt([demand_of(i, k) for i, k in enumerate(ks)], devices, samples)

    floor = top
    while isinstance(found := tried([floor] * n), Shortage):
        if floor == 1:
            raise ConfigError(f"even the smallest sub-models cannot be placed: {found}; {found.remedy()}")
        floor -= 1
    ks = [floor] * n
    growing = [i for i in range(n) if floor < top]
    while growing:
        i = min(growing, key=lambda i: (ks[i], i))
        larger = tried([k + (j == i) for j, k in enumerate(ks)])
        if isinstance(larger, Placement):
            ks[i], found = ks[i] + 1, larger
        if isinstance(larger, Shortage) or ks[i] == top:
            growing.remove(i)
    return tuple(ks), found


@dataclass(frozen=True)
class _Work:
    name: str
    bytes: int
    operations: int
    """For all images."""


@dataclass
class _Room:
    """A device while sub-models are placed on it."""

    name: str
    memory: float
    energy: float
    # Used amounts are whole numbers: sums of what is left would be rounded.
    bytes: int = 0
    operations: int = 0

    @classmethod
    def of(cls, device: Machine) -> _Room:
        energy = math.inf if device.energy_gflops is None else device.energy_gflops * 1e9
        return cls(device.name, device.memory_mib * 2**20, energy)

    def lacks(self, work: _Work) -> tuple[float, float]:
        """Return the bytes and operations that are missing for one more sub-model."""
        missing = self.bytes + work.bytes - self.memory, self.operations + work.operations - self.energy
        return max(0, missing[0]), max(0, missing[1])

    def take(self, work: _Work, sign: int = 1) -> None:
        self.bytes += sign * work.bytes
        self.operations += sign * work.operations

    def rank(self) -> tuple[bool, float, float]:
        return self.bytes > 0, self.operations - self.energy, self.bytes - self.memory

    def state(self) -> tuple[float, float, int, int]:
        return self.memory, self.energy, self.bytes, self.operations


def _plain_shortage(works: Sequence[_Work], rooms: Sequence[_Room]) -> Shortage | None:
    """Return what rules out every placement: one sub-model that no device holds, or all together."""
    for work in works:
        if all(any(room.lacks(work)) for room in rooms):
            return _nearest(work, rooms, f"sub-model {work.name} fits on no device, and nearest")
    memory = sum(work.bytes for work in works) - sum(room.memory for room in rooms)
    energy = sum(work.operations for work in works) - sum(room.energy for room in rooms)
    if memory <= 0 and energy <= 0:
        return None
    names = ", ".join(room.name for room in rooms)
    return Shortage(f"all {len(works)} do not fit", f"{names} together", max(0, memory), max(0, energy))


def _nearest(work: _Work, rooms: Sequence[_Room], who: str) -> Shortage:
    def distance(room: _Room) -> float:
        memory, energy = room.lacks(work)
        return max(memory / max(1, work.bytes), energy / max(1, work.operations))

    room = min(rooms, key=distance)
    return Shortage(who, room.name, *room.lacks(work))


class _Search:
    """Depth first; the first descent is the greedy placement."""

    def __init__(self, works: Sequence[_Work], rooms: Sequence[_Room]):
        self._works, self._rooms = works, rooms
        self._order = sorted(range(len(works)), key=lambda i: (-works[i].operations, -works[i].bytes, i))
        self._failed: set[tuple] = set()
        self._tried = 0
        self.chosen = [0] * len(works)
        self.shortage: Shortage
        """What the greedy placement could not place."""

    def run(self, depth: int = 0) -> bool:
        """Place what is left in the order; return whether that was possible."""
        if depth == len(self._order):
            return True
        # Rooms that are alike are interchangeable.
        state = (depth, *sorted(room.state() for room in self._rooms))
        if state in self._failed or self._tried >= SEARCH_LIMIT:
            return False
        self._tried += 1
        index = self._order[depth]
        work = self._works[index]
        fitting = [i for i, room in enumerate(self._rooms) if not any(room.lacks(work))]
        if not fitting and not self._failed:
            who = f"sub-model {work.name} fits beside the others on no device, and nearest"
            self.shortage = _nearest(work, self._rooms, who)
        for i in sorted(fitting, key=lambda i: self._rooms[i].rank()):
            self.chosen[index] = i
            self._rooms[i].take(work)
            if self.run(depth + 1):
                return True
            self._rooms[i].take(work, -1)
        self._failed.add(state)
        return False


def _load(device: Machine, demands: Sequence[Demand], samples: int) -> Load:
    size, flops = sum(d.bytes for d in demands), sum(d.flops for d in demands)
    return Load(
        device=device.name,
        submodels=tuple(d.name for d in demands),
        bytes=size,
        flops=flops,
        seconds=flops / (device.gflops_per_s * 1e9),
        memory_share=size / (device.memory_mib * 2**20),
        energy_share=None if device.energy_gflops is None else flops * samples / (device.energy_gflops * 1e9),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
