"""Sub-models on devices."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.config import Machine
from raysplit.ensemble.cost import NetworkCost
from raysplit.ensemble.placement import Placement, Shortage, find_placement, fit_sizes, place_submodels
from raysplit.errors import ConfigError
from tests.examples import examples

MIB = 2**20


def device(name: str, mib: float = 8, gflops: float | None = None, speed: float = 10) -> Machine:
    return Machine(name=name, memory_mib=mib, gflops_per_s=speed, energy_gflops=gflops)


def cost(file_bytes: int, flops: int) -> NetworkCost:
    return NetworkCost(params=1, file_bytes=file_bytes, flops=flops)


def costs(*sizes: tuple[float, float]) -> list[NetworkCost]:
    """Return costs of (MiB, GFLOPs)."""
    return [cost(int(mib * MIB), int(gflops * 1e9)) for mib, gflops in sizes]


def test_greedy_gives_the_heaviest_to_the_one_with_most_energy():
    found = place_submodels(
        costs((1, 1), (1, 3), (1, 2)), [device("x", 8, 30), device("y", 8, 50), device("z", 8, 40)], 10
    )
    assert found.device_of == ("x", "y", "z")


def test_every_device_works_before_one_works_twice():
    found = place_submodels(costs(*[(1, 1)] * 4), [device("x", 100), device("y", 2), device("z", 2)], 1)
    assert sorted(found.device_of) == ["x", "x", "y", "z"]
    assert [len(load.submodels) for load in found.loads] == [2, 1, 1]


def test_what_a_device_bears():
    found = place_submodels(
        costs((2, 3), (1, 2)), [device("x", 8, 100, speed=20), device("y", 8, None), device("z", 1, 1)], 10
    )
    assert found.device_of == ("y", "x"), "no limit is the most energy"
    x, y, z = found.loads
    assert (x.device, x.submodels, x.bytes, x.flops) == ("x", ("1",), MIB, 2 * 10**9)
    assert (x.seconds, x.memory_share, x.energy_share) == (0.1, 1 / 8, 0.2)
    assert y.submodels == ("0",) and y.energy_share is None
    assert z.submodels == () and z.seconds == 0 and z.memory_share == 0


def test_a_greedy_dead_end_is_left_again():
    """The heaviest goes where there is most energy, which is the only place that has the memory for the next."""
    found = place_submodels(costs((1, 3), (8, 2)), [device("x", 8, 50), device("y", 1, 30)], 10)
    assert found.device_of == ("y", "x")


def test_a_device_can_be_filled_to_the_last_byte():
    full = [cost(5 * MIB + 1, 1), cost(3 * MIB - 1, 1)]
    assert place_submodels(full, [device("x", 8)], 1).loads[0].memory_share == 1
    assert isinstance(find_placement([*full, cost(1, 1)], [device("x", 8)], 1), Shortage)


@examples(300)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(1, 10), st.none() | st.integers(1, 10)), min_size=1, max_size=3),
    st.integers(1, 2),
)
def test_a_placement_is_found_iff_there_is_one(sizes, rooms, samples):
    work = costs(*sizes)
    devices = [device(str(i), mib, energy) for i, (mib, energy) in enumerate(rooms)]

    def holds(chosen: tuple[int, ...]) -> bool:
        return all(
            sum(mib for (mib, _), c in zip(sizes, chosen, strict=True) if c == i) <= room.memory_mib
            and sum(f for (_, f), c in zip(sizes, chosen, strict=True) if c == i) * samples
            <= (room.energy_gflops or float("inf"))
            for i, room in enumerate(devices)
        )

    found = find_placement(work, devices, samples)
    if any(holds(chosen) for chosen in product(range(len(devices)), repeat=len(work))):
        assert isinstance(found, Placement)
        assert holds(tuple(int(name) for name in found.device_of))
        assert sum(load.bytes for load in found.loads) == sum(one.file_bytes for one in work)
    else:
        assert isinstance(found, Shortage) and (found.bytes > 0 or found.operations > 0)


def test_a_large_search_ends():
    """Two of the ten devices hold only two of the 30, which the sum does not say: trying all would take forever."""
    many = [cost(334 * MIB + i, 10**9 + i) for i in range(30)]
    assert isinstance(find_placement(many, [device(str(i), 1001 + i) for i in range(10)], 1), Shortage)


@pytest.mark.parametrize(
    ("sizes", "devices", "says"),
    [
        (
            [(1, 1), (9, 1)],
            [device("x", 4), device("y", 8)],
            "sub-model 1 fits on no device; the nearest is y: 1 MiB of memory missing; "
            "lower prune.keep, raise memory_mib, use precision=int8 or add devices",
        ),
        (
            [(1, 2)],
            [device("x", 8, 15)],
            "sub-model 0 fits on no device; the nearest is x: 5 GFLOPs of energy missing; "
            "lower prune.keep, raise energy_gflops, lower samples or add devices",
        ),
        (
            [(4, 1)] * 5,
            [device("x", 8, 30), device("y", 8, 30)],
            "all 5 do not fit on x, y together: 4 MiB of memory missing; ",
        ),
        (
            [(4, 1)] * 3,
            [device("x", 6, 30), device("y", 7, 30)],
            "sub-model 2 fits on no device beside the others; the nearest is y: 1 MiB of memory missing; ",
        ),
        (
            [(4, 1)] * 9,
            [device("x", 8, 30), device("y", 8, 30)],
            "all 9 do not fit on x, y together: 20 MiB of memory and 30 GFLOPs of energy missing; lower prune.keep, "
            "raise memory_mib, use precision=int8, raise energy_gflops, lower samples or add devices",
        ),
    ],
)
def test_a_shortage_says_what_is_missing_where(sizes, devices, says):
    with pytest.raises(ConfigError, match=f"^the sub-models cannot be placed: {says}"):
        place_submodels(costs(*sizes), devices, 10)


def test_no_device_at_all():
    with pytest.raises(ConfigError, match="^there are no devices to place sub-models on; name some in devices$"):
        place_submodels(costs((1, 1)), [], 1)


def square(i: int, k: int) -> NetworkCost:
    """k² MiB and k² GFLOPs, as a ViT's."""
    return cost(k * k * MIB, k * k * 10**9)


def test_all_keep_everything_where_there_is_room():
    ks, found = fit_sizes(square, 3, 4, [device(str(i), 16) for i in range(3)], 1)
    assert ks == (4, 4, 4) and sorted(found.device_of) == ["0", "1", "2"]


def test_pruning_gets_harder_until_all_fit():
    ks, found = fit_sizes(square, 3, 4, [device(str(i), 10) for i in range(3)], 1)
    assert ks == (3, 3, 3) and [load.bytes for load in found.loads] == [9 * MIB] * 3


def test_one_device_shares_its_memory_evenly():
    """20 MiB: four of 4 MiB, then one after the other to 9 as long as it fits."""
    ks, found = fit_sizes(square, 4, 6, [device("x", 21)], 1)
    assert sorted(ks) == [2, 2, 2, 3] and found.loads[0].bytes == 21 * MIB


def test_a_small_device_does_not_make_the_others_small():
    ks, found = fit_sizes(square, 3, 5, [device("big", 25), device("mid", 16), device("small", 9)], 1)
    assert dict(zip(found.device_of, ks, strict=True)) == {"big": 5, "mid": 4, "small": 3}


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.none() | st.integers(1, 20)), min_size=1, max_size=3), st.integers(1, 3)
)
def test_no_sub_model_alone_can_be_larger(rooms, n):
    devices = [device(str(i), mib, energy) for i, (mib, energy) in enumerate(rooms)]
    try:
        ks, _ = fit_sizes(square, n, 4, devices, 1)
    except ConfigError:
        assert isinstance(find_placement([square(i, 1) for i in range(n)], devices, 1), Shortage)
        return
    assert isinstance(find_placement([square(i, k) for i, k in enumerate(ks)], devices, 1), Placement)
    for raised in range(n):
        larger = [square(i, k + (i == raised)) for i, k in enumerate(ks)]
        assert ks[raised] == 4 or isinstance(find_placement(larger, devices, 1), Shortage)


def test_energy_counts_for_all_samples():
    assert fit_sizes(square, 1, 4, [device("x", 100, 95)], 10)[0] == (3,)


def test_the_error_says_by_how_much_even_the_smallest_are_too_large():
    says = (
        "^even the smallest sub-models cannot be placed: all 10 do not fit on x, y together: "
        "2.5 MiB of memory missing; raise memory_mib, use precision=int8 or add devices$"
    )
    with pytest.raises(ConfigError, match=says):
        fit_sizes(square, 10, 12, [device("x", 3), device("y", 4.5)], 1)
