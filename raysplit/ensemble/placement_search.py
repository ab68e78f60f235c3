"""The search behind placement: depth first, its first descent the greedy placement of ED-ViT (arXiv 2410.11650)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from raysplit.ensemble.cost import NetworkCost
from raysplit.hardware.machine import Machine

SEARCH_LIMIT = 10_000
"""Partial placements that are tried, a fraction of a second: enough to try all for five sub-models on five devices.
With more, a placement that exists may be missed where greedy fails, and sub-models get smaller than necessary."""


@dataclass(frozen=True)
class Shortage:
    """Why sub-models cannot be placed; its text says which constraint is violated and by how much.

    >>> print(Shortage("sub-model 1 fits on no device; the nearest is", "phone", bytes=2**20, operations=0))
    sub-model 1 fits on no device; the nearest is phone: 1 MiB of memory missing
    """

    what: str
    """The sub-models and their problem, up to the name of the device."""
    where: str
    """A device, or several."""
    bytes: float
    """Of memory missing there, or 0."""
    operations: float
    """For all images, that the energy there does not allow, or 0."""

    def __str__(self) -> str:
        missing = [f"{_number(self.bytes / 2**20)} MiB of memory"] * (self.bytes > 0)
        missing += [f"{_number(self.operations / 1e9)} GFLOPs of energy"] * (self.operations > 0)
        return f"{self.what} {self.where}: {' and '.join(missing)} missing"

    def remedy(self) -> str:
        """Return what a user can change, as the end of an error's text."""
        changes = ["raise memory_mib, use precision=int8"] * (self.bytes > 0)
        changes += ["raise energy_gflops, lower samples"] * (self.operations > 0)
        return f"{', '.join(changes)} or add devices"


def assign_devices(costs: Sequence[NetworkCost], devices: Sequence[Machine], samples: int) -> list[int] | Shortage:
    """Return the index of each sub-model's device, or what is missing; see `placement.find_placement`."""
    needs = [_Need(str(index), cost.file_bytes, cost.flops * samples) for index, cost in enumerate(costs)]
    budgets = [_Budget.of(device) for device in devices]
    return _obvious_shortage(needs, budgets) or _Search(needs, budgets).run()


@dataclass(frozen=True)
class _Need:
    """What one sub-model takes from its device."""

    name: str
    bytes: int
    operations: int
    """For all images."""


@dataclass
class _Budget:
    """A device while sub-models are placed on it."""

    name: str
    memory: float
    """In bytes."""
    energy: float
    """In operations."""
    # What is used is counted in whole numbers: sums of what is left would be rounded.
    bytes: int = 0
    operations: int = 0

    @classmethod
    def of(cls, device: Machine) -> _Budget:
        energy = math.inf if device.energy_gflops is None else device.energy_gflops * 1e9
        return cls(device.name, device.memory_mib * 2**20, energy)

    def missing(self, need: _Need) -> tuple[float, float]:
        """Return the bytes and operations that one more sub-model lacks."""
        missing = self.bytes + need.bytes - self.memory, self.operations + need.operations - self.energy
        return max(0, missing[0]), max(0, missing[1])

    def take(self, need: _Need) -> None:
        self.bytes += need.bytes
        self.operations += need.operations

    def release(self, need: _Need) -> None:
        self.bytes -= need.bytes
        self.operations -= need.operations

    def rank(self) -> tuple[bool, float, float]:
        """Return the key that sorts devices by preference."""
        return self.bytes > 0, self.operations - self.energy, self.bytes - self.memory

    def state(self) -> tuple[float, float, int, int]:
        return self.memory, self.energy, self.bytes, self.operations


def _obvious_shortage(needs: Sequence[_Need], budgets: Sequence[_Budget]) -> Shortage | None:
    """Return what rules out every placement: a sub-model that no device holds, or all of them together."""
    for need in needs:
        if all(any(budget.missing(need)) for budget in budgets):
            return _nearest_shortage(need, budgets, f"sub-model {need.name} fits on no device; the nearest is")
    memory = sum(need.bytes for need in needs) - sum(budget.memory for budget in budgets)
    energy = sum(need.operations for need in needs) - sum(budget.energy for budget in budgets)
    if memory <= 0 and energy <= 0:
        return None
    names = ", ".join(budget.name for budget in budgets)
    return Shortage(f"all {len(needs)} do not fit on", f"{names} together", max(0, memory), max(0, energy))


def _nearest_shortage(need: _Need, budgets: Sequence[_Budget], what: str) -> Shortage:
    """Return what is missing on the device that lacks least."""

    def distance(budget: _Budget) -> float:
        memory, energy = budget.missing(need)
        return max(memory / max(1, need.bytes), energy / max(1, need.operations))

    budget = min(budgets, key=distance)
    return Shortage(what, budget.name, *budget.missing(need))


class _Search:
    """Tries devices for the sub-models one after the other, those with the most operations first."""

    def __init__(self, needs: Sequence[_Need], budgets: Sequence[_Budget]):
        self._needs, self._budgets = needs, budgets
        self._order = sorted(range(len(needs)), key=lambda i: (-needs[i].operations, -needs[i].bytes, i))
        self._failed: set[tuple[object, ...]] = set()
        self._tried = 0
        self._chosen = [0] * len(needs)
        self._shortage: Shortage
        """What the greedy placement could not place."""

    def run(self) -> list[int] | Shortage:
        """Return the index of each sub-model's device, or what the greedy placement lacked."""
        return self._chosen if self._place_from(0) else self._shortage

    def _place_from(self, depth: int) -> bool:
        """Place the sub-models from `depth` in the order; return whether that was possible."""
        if depth == len(self._order):
            return True
        # Equal devices are interchangeable.
        state = (depth, *sorted(budget.state() for budget in self._budgets))
        if state in self._failed or self._tried >= SEARCH_LIMIT:
            return False
        self._tried += 1
        index = self._order[depth]
        need = self._needs[index]
        fitting = [i for i, budget in enumerate(self._budgets) if not any(budget.missing(need))]
        if not fitting and not self._failed:
            what = f"sub-model {need.name} fits on no device beside the others; the nearest is"
            self._shortage = _nearest_shortage(need, self._budgets, what)
        for i in sorted(fitting, key=lambda i: self._budgets[i].rank()):
            self._chosen[index] = i
            self._budgets[i].take(need)
            if self._place_from(depth + 1):
                return True
            self._budgets[i].release(need)
        self._failed.add(state)
        return False


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
