"""Which device runs which sub-model, and how large a sub-model may be for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raysplit.ensemble.cost import NetworkCost
from raysplit.ensemble.placement_search import SEARCH_LIMIT, Shortage, assign_devices
from raysplit.errors import ConfigError
from raysplit.hardware.machine import Machine
from raysplit.records.ensemble_summary import DeviceLoad

__all__ = ["SEARCH_LIMIT", "Placement", "Shortage", "find_placement", "fit_sizes", "place_submodels"]


@dataclass(frozen=True)
class Placement:
    """A device for every sub-model."""

    device_of: tuple[str, ...]
    """The device of each sub-model, in their order."""
    loads: tuple[DeviceLoad, ...]
    """Of every device, in the order given, including those without a sub-model."""


def place_submodels(costs: Sequence[NetworkCost], devices: Sequence[Machine], samples: int) -> Placement:
    """Return a placement as `find_placement` does; ConfigError, with what is missing, if there is none.

    >>> cost = NetworkCost(params=1, file_bytes=2**20, flops=10**9)
    >>> devices = [Machine(name=name, memory_mib=2, gflops_per_s=10) for name in ("phone", "camera")]
    >>> place_submodels([cost, cost], devices, samples=100).device_of
    ('phone', 'camera')
    """
    found = find_placement(costs, devices, samples)
    if isinstance(found, Shortage):
        raise ConfigError(f"the sub-models cannot be placed: {found}; lower prune.keep, {found.remedy()}")
    return found


def find_placement(costs: Sequence[NetworkCost], devices: Sequence[Machine], samples: int) -> Placement | Shortage:
    """Assign every sub-model to a device that holds its file and has the energy to run it on `samples` images.

    `costs` are those of each sub-model. Greedy as in ED-ViT (arXiv 2410.11650): sub-models by operations, most first;
    of the devices one fits on, those without a sub-model come first, then those with more energy left, then those
    with more memory left. Where that fails, other choices are tried in the same order, so that a placement is found
    if there is one, up to SEARCH_LIMIT. Raises ConfigError if there is no device.
    """
    if not devices:
        raise ConfigError("there are no devices to place sub-models on; name some in devices")
    chosen = assign_devices(costs, devices, samples)
    if isinstance(chosen, Shortage):
        return chosen
    loads = [
        _sum_load(device, {i: costs[i] for i, of in enumerate(chosen) if of == index}, samples)
        for index, device in enumerate(devices)
    ]
    return Placement(tuple(devices[i].name for i in chosen), tuple(loads))


def fit_sizes(
    cost_of: Callable[[int, int], NetworkCost], n: int, top: int, devices: Sequence[Machine], samples: int
) -> tuple[tuple[int, ...], Placement]:
    """Return the largest sizes k of `n` sub-models, at most `top`, at which all can be placed, and their placement.

    `cost_of(i, k)` is the cost of sub-model i at size k, never less at a larger k. All start at `top` and shrink
    together until they can be placed; then the smallest ones grow by one in turn as long as they can still be placed.
    So none is made small for the sake of another, and at the end none alone could be larger. Raises ConfigError, with
    what is missing, if they cannot be placed at k = 1.
    """

    def attempt(sizes: Sequence[int]) -> Placement | Shortage:
        return find_placement([cost_of(i, k) for i, k in enumerate(sizes)], devices, samples)

    floor = top
    while isinstance(found := attempt([floor] * n), Shortage):
        if floor == 1:
            raise ConfigError(f"even the smallest sub-models cannot be placed: {found}; {found.remedy()}")
        floor -= 1
    sizes = [floor] * n
    growing = [i for i in range(n) if floor < top]
    while growing:
        i = min(growing, key=lambda i: (sizes[i], i))
        larger = attempt([k + (j == i) for j, k in enumerate(sizes)])
        if isinstance(larger, Placement):
            sizes[i], found = sizes[i] + 1, larger
        if isinstance(larger, Shortage) or sizes[i] == top:
            growing.remove(i)
    return tuple(sizes), found


def _sum_load(device: Machine, costs: dict[int, NetworkCost], samples: int) -> DeviceLoad:
    size, flops = sum(cost.file_bytes for cost in costs.values()), sum(cost.flops for cost in costs.values())
    return DeviceLoad(
        device=device.name,
        submodels=tuple(str(index) for index in costs),
        bytes=size,
        flops=flops,
        seconds=flops / (device.gflops_per_s * 1e9),
        memory_share=size / (device.memory_mib * 2**20),
        energy_share=None if device.energy_gflops is None else flops * samples / (device.energy_gflops * 1e9),
    )
