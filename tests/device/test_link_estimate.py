"""What is known of a link: round trip and rate from sizes and times alone."""

from __future__ import annotations

import random

import pytest

from raysplit.device.link_estimate import LinkEstimate


def seconds(size: int, round_trip_s: float, bit_s: float) -> float:
    return round_trip_s + 8 * size / bit_s


@pytest.mark.parametrize("round_trip_s, bit_s", [(0.01, 20e6), (0.05, 2e6), (0.2, 250e3)])
def test_round_trip_and_rate_are_found(round_trip_s, bit_s):
    rng = random.Random(0)
    link = LinkEstimate(round_trip_s)
    for _ in range(60):
        size = rng.choice([500, 4000, 20000])
        link.observe(size, seconds(size, round_trip_s, bit_s) * rng.uniform(0.95, 1.05))
    for size in (500, 4000, 20000):
        assert link.forecast(size).seconds == pytest.approx(seconds(size, round_trip_s, bit_s), rel=0.15)
    assert link.bit_s == pytest.approx(bit_s, rel=0.25)


def test_one_stray_exchange_changes_nothing_and_two_say_that_the_link_has_changed():
    link = LinkEstimate(0.01)
    for _ in range(30):
        link.observe(10_000, seconds(10_000, 0.01, 20e6))
    before = link.forecast(10_000).seconds
    link.observe(10_000, 1.0)
    assert link.forecast(10_000).seconds == before
    for _ in range(4):
        link.observe(10_000, seconds(10_000, 0.01, 2e6))
    assert link.forecast(10_000).seconds == pytest.approx(0.05, rel=0.2)


def test_a_forecast_is_wider_where_less_is_known():
    link = LinkEstimate(0.01)
    for _ in range(20):
        link.observe(500, seconds(500, 0.01, 20e6))
    near, far = link.forecast(500), link.forecast(50_000)
    assert far.std_s > near.std_s
    assert far.lower_s < far.seconds < far.upper_s
