"""Which level is picked."""

from __future__ import annotations

from itertools import pairwise

from raysplit.device.level_policy import LevelPolicy
from raysplit.device.link_estimate import LinkEstimate

SIZES = [40_000, 10_000, 1_000]


def learnt(bit_s: float, times: int = 30) -> LinkEstimate:
    link = LinkEstimate(0.01)
    for turn in range(times):
        size = SIZES[turn % 3]
        link.observe(size, 0.01 + 8 * size / bit_s)
    return link


def test_the_loosest_level_that_keeps_the_target():
    assert LevelPolicy(0.1).choose(SIZES, 0.01, learnt(20e6)) == 0  # 26 ms on the link
    assert LevelPolicy(0.1).choose(SIZES, 0.01, learnt(2e6)) == 1  # 170, 50 ms
    assert LevelPolicy(0.1).choose(SIZES, 0.01, learnt(500e3)) == 2  # 650, 170, 26 ms
    assert LevelPolicy(0.1).choose(SIZES, 0.08, learnt(2e6)) == 2  # compute leaves 20 ms


def test_the_tightest_level_where_none_keeps_it():
    assert LevelPolicy(0.001).choose(SIZES, 0.01, learnt(20e6)) == 2


def test_a_looser_level_is_tried_now_and_then_and_less_often_after_each_failure():
    target_s, bit_s = 0.06, 1e6  # 18 ms for the tightest, 90 ms for the next looser one
    policy, link, tries = LevelPolicy(target_s), learnt(bit_s), []
    for turn in range(400):
        index = policy.choose(SIZES, 0.0, link)
        took = 0.01 + 8 * SIZES[index] / bit_s
        link.observe(SIZES[index], took)
        policy.record(took <= target_s)
        if index < 2:
            tries.append(turn)
    waits = [b - a for a, b in pairwise(tries)]
    assert len(tries) > 2 and min(waits) > 8 and waits == sorted(waits)
