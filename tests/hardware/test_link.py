"""The virtual clock against closed forms."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.errors import ConfigError
from raysplit.hardware.link import NAMED, Link, MicroBatchCost, evaluation_seconds, get_link, train_seconds

LINK = Link(name="test", up_bit_s=8e6, down_bit_s=4e6, round_trip_s=0.02, message_bytes=1000)
MICRO = MicroBatchCost(up_bytes=99_000, down_bytes=49_000, forward_s=0.01, backward_s=0.02, server_s=0.05)
START, END = 0.03, 0.01  # the epoch's opening call, the first request on its way; the last answer on its way


def test_lock_step_is_a_sum():
    # Asymmetric: 100 kB at 1 MB/s up, 50 kB at 0.5 MB/s down; with framing.
    step = 0.01 + (0.1 + 0.01) + 0.05 + (0.1 + 0.01) + 0.02
    assert train_seconds(LINK, 7, 1, MICRO) == pytest.approx(START + 7 * step + END)


def test_two_in_flight_hide_all_but_the_longest():
    """Bandwidth-bound up: two uploads follow each other, and the rest hangs on the second."""
    half = replace(MICRO, up_bytes=499_000)
    step = 0.01 + 2 * 0.5 + 0.01 + 0.05 + (0.1 + 0.01) + 0.02
    assert train_seconds(LINK, 5, 2, half) == pytest.approx(START + 5 * step + END)


def test_two_in_flight_bound_by_the_server():
    busy = replace(MICRO, server_s=1.0)
    step = 0.01 + (0.1 + 0.01) + 2 * 1.0 + (0.1 + 0.01) + 0.02
    assert train_seconds(LINK, 5, 2, busy) == pytest.approx(START + 5 * step + END)


def test_nothing_crosses():
    still = replace(MICRO, up_bytes=0, down_bytes=0)
    assert train_seconds(LINK, 10, 2, still) == pytest.approx(10 * 2 * 0.08)
    assert evaluation_seconds(LINK, 4, 0, 0.06) == pytest.approx(4 * 0.06)


def test_nothing_comes_down():
    """A frozen device is one micro-batch ahead: with little delay the slowest of the three gives the pace."""
    frozen = replace(MICRO, down_bytes=0, backward_s=0.0)
    assert train_seconds(LINK, 10, 1, frozen) == pytest.approx(START + 0.01 + 10 * 0.1 + 0.01 + 0.05)
    assert train_seconds(LINK, 5, 2, frozen) == train_seconds(LINK, 10, 1, frozen)
    fast = LINK.replaced(up_bit_s=8e9)
    assert train_seconds(fast, 10, 1, frozen) == pytest.approx(START + 0.01 + 0.0001 + 0.01 + 10 * 0.05)


def test_nothing_comes_down_over_a_long_way():
    """Two round trips of work are under way at most: each pair waits for the pair before."""
    frozen = replace(MICRO, down_bytes=0, backward_s=0.0)
    far = LINK.replaced(up_bit_s=8e9, round_trip_s=10.0)
    each = 0.01 + 0.0001 + 5 + 0.05  # forward, up, the way, server
    assert train_seconds(far, 6, 1, frozen) == pytest.approx(15 + 3 * each + 2 * 5 + 0.05)


def test_evaluation_is_lock_step():
    # 99 kB up with framing, an empty request down, a round trip.
    assert evaluation_seconds(LINK, 4, 99_000, 0.06) == pytest.approx(4 * (0.02 + 0.1 + 0.002 + 0.06))


def test_a_call_without_a_message_still_takes_its_way():
    # The framing of an empty request down, that of a small answer up, a round trip.
    assert LINK.call_s(0) == pytest.approx(0.02 + 0.002 + 0.001)
    assert evaluation_seconds(LINK, 4, 99_000, 0.06) == pytest.approx(4 * (LINK.call_s(99_000) + 0.06))


seconds = st.floats(0, 2)
sizes = st.integers(0, 10**7)
micros = st.builds(MicroBatchCost, sizes, sizes, seconds, seconds, seconds)
rates = st.floats(1e4, 1e10)
links = st.builds(
    Link, name=st.just("any"), up_bit_s=rates, down_bit_s=rates, round_trip_s=seconds, message_bytes=sizes
)


@given(links, micros, st.integers(1, 5), st.integers(1, 4), st.floats(1, 100))
def test_monotone_and_deterministic(link, micro, steps, k, factor):
    took = train_seconds(link, steps, k, micro)
    assert took == train_seconds(link, steps, k, micro)
    assert took >= steps * k * micro.server_s * (1 - 1e-9)
    slack = 1e-9 * (1 + took)
    assert train_seconds(link.replaced(up_bit_s=link.up_bit_s * factor), steps, k, micro) <= took + slack
    assert train_seconds(link.replaced(down_bit_s=link.down_bit_s * factor), steps, k, micro) <= took + slack
    assert train_seconds(link.replaced(round_trip_s=link.round_trip_s * factor), steps, k, micro) >= took - slack
    checked = evaluation_seconds(link, steps, micro.up_bytes, micro.server_s)
    faster = link.replaced(up_bit_s=link.up_bit_s * factor, round_trip_s=link.round_trip_s / factor)
    assert evaluation_seconds(faster, steps, micro.up_bytes, micro.server_s) <= checked + slack


def test_named():
    assert list(NAMED) == ["wifi", "lte", "ethernet", "iot"]
    assert get_link("lte") is NAMED["lte"]
    took = {name: train_seconds(link, 10, 1, MICRO) for name, link in NAMED.items()}
    assert took["ethernet"] < took["wifi"] < took["lte"] < took["iot"]
    with pytest.raises(ConfigError, match=r"^'ltte' is neither a link nor a file that describes one. Nearest: lte.$"):
        get_link("ltte")


def test_a_link_from_a_file(tmp_path):
    file = tmp_path / "link.yaml"
    file.write_text("{name: barn, up_bit_s: 2.0e+6, down_bit_s: 8000000, round_trip_s: 0.02, message_bytes: 0}")
    assert get_link(str(file)) == Link(name="barn", up_bit_s=2e6, down_bit_s=8e6, round_trip_s=0.02, message_bytes=0.0)


@pytest.mark.parametrize(
    "text",
    [
        "{name: barn, up_bit_s: 2}",
        "{name: barn, up_bit_s: fast, down_bit_s: 8, round_trip_s: 0, message_bytes: 0}",
        "{name: barn, up_bit_s: 0, down_bit_s: 8, round_trip_s: 0, message_bytes: 0}",
        "{name: barn, up_bit_s: 1, down_bit_s: 8, round_trip_s: -1, message_bytes: 0}",
        "[",
        "7",
    ],
)
def test_files_that_describe_no_link(tmp_path, text):
    file = tmp_path / "link.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="link.yaml"):
        get_link(str(file))
