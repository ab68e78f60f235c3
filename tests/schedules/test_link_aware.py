"""The link-aware schedule, against scripted histories."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.config import LinkAware
from raysplit.errors import ConfigError
from raysplit.records.epoch import EpochRecord
from raysplit.schedules import Decision
from raysplit.wire.level import Level
from tests.schedules.histories import BYTES, LADDER, LOOSE, MIDDLE, STEPS, TIGHT, context, record


def measured(*epochs: tuple[Level, float, float]) -> list[EpochRecord]:
    """Epochs by level, milliseconds a step on the link, and bytes relative to the bound."""
    return [
        record(level, 0.5, round(STEPS * BYTES[level] * part), STEPS * ms / 1000, STEPS * 0.01)
        for level, ms, part in epochs
    ]


@pytest.mark.parametrize(
    ("history", "level", "reason"),
    [
        pytest.param([], TIGHT, "tightest first: the link is not measured yet", id="first"),
        pytest.param([(TIGHT, 20, 1)], MIDDLE, "about 90 ms a step, target 100 ms", id="20 ms per 1000 bytes"),
        # 1 µs a byte and 19 ms for each step, as the second level shows.
        pytest.param([(TIGHT, 20, 1), (MIDDLE, 23, 1)], LOOSE, "about 45 ms a step, target 100 ms", id="latency"),
        pytest.param(
            [(TIGHT, 20, 1), (MIDDLE, 80, 1)], MIDDLE, "about 90 ms a step, target 100 ms", id="bandwidth, two levels"
        ),
        pytest.param(
            [(TIGHT, 20, 1), (MIDDLE, 23, 1), (LOOSE, 400, 1)],
            TIGHT,
            "about 35 ms a step, target 100 ms",
            id="slower at the loosest",
        ),
        pytest.param(
            [(TIGHT, 20, 1), (MIDDLE, 23, 1), (LOOSE, 35, 1), (TIGHT, 20, 1), (MIDDLE, 23, 1), (LOOSE, 35, 1)],
            LOOSE,
            "about 45 ms a step, target 100 ms",
            id="steady",
        ),
        pytest.param([(MIDDLE, 80, 1), (MIDDLE, 160, 1)], TIGHT, "about 50 ms a step, target 100 ms", id="slower"),
        pytest.param([(TIGHT, 80, 1), (TIGHT, 20, 1)], MIDDLE, "about 90 ms a step, target 100 ms", id="faster"),
        pytest.param(
            [(TIGHT, 20, 1), (TIGHT, 200, 1)], TIGHT, "no level fits: about 210 ms a step, target 100 ms", id="none"
        ),
        pytest.param([(TIGHT, 0, 1)], LOOSE, "about 10 ms a step, target 100 ms", id="no link time"),
        # zstd found a little more in one epoch: that is no second level to draw a line through.
        pytest.param(
            [(TIGHT, 20, 0.99), (TIGHT, 20.01, 1.01)], MIDDLE, "about 89 ms a step, target 100 ms", id="zstd noise"
        ),
    ],
)
def test_link_aware(history, level, reason):
    decided = LinkAware(ladder=LADDER, step_s=0.1).decide(context(), measured(*history))
    assert (decided.level, decided.reason) == (level, reason)


def test_compute_alone_may_be_too_slow():
    slow = [record(TIGHT, 0.5, 10_000, 0.0, STEPS * 0.2)]
    decided = LinkAware(ladder=LADDER, step_s=0.1).decide(context(), slow)
    assert (decided.level, decided.reason) == (TIGHT, "no level fits: about 200 ms a step, target 100 ms")


@pytest.mark.parametrize(
    ("ladder", "link_ms", "levels"),
    [
        ((TIGHT, LOOSE), {TIGHT: 0, LOOSE: 300}, [TIGHT, LOOSE] + [TIGHT] * 8),
        (LADDER, {TIGHT: 0, MIDDLE: 0, LOOSE: 300}, [TIGHT, LOOSE] + [MIDDLE] * 8),
        (LADDER, {TIGHT: 0, MIDDLE: 300, LOOSE: 300}, [TIGHT, LOOSE, MIDDLE] + [TIGHT] * 7),
    ],
    ids=["two levels", "three levels", "the tightest alone fits"],
)
def test_it_settles_where_compute_hides_the_link(ladder, link_ms, levels):
    schedule, history, made = LinkAware(ladder=ladder, step_s=0.1), [], []
    for _ in levels:
        made.append(schedule.decide(context(), history).level)
        history += measured((made[-1], link_ms[made[-1]], 1))
    assert made == levels


@pytest.mark.parametrize(("local", "mode"), [(False, "joint"), (True, "local")])
def test_the_link_changes_levels_without_resets(local, mode):
    schedule = LinkAware(ladder=LADDER, step_s=0.1)
    decided = schedule.decide(context(9, local), [record(TIGHT)])
    assert decided == Decision(MIDDLE, "about 90 ms a step, target 100 ms", mode=mode)


def test_a_ladder_out_of_order_is_refused():
    text = (
        r"^schedule.ladder: all·b32/b32 \(16,000 B a step at most\) stands before c16·b32/b32 \(4,000 B\); "
        "list the tightest level first$"
    )
    with pytest.raises(ConfigError, match=text):
        LinkAware(ladder=(TIGHT, LOOSE, MIDDLE), step_s=0.1).decide(context(), [])
    LinkAware(ladder=LADDER, step_s=0.1).decide(context(), [])


@given(
    st.floats(1e-3, 1.0),
    st.lists(st.tuples(st.sampled_from(LADDER), st.floats(0, 1e4), st.floats(0.01, 1)), min_size=1, max_size=8),
)
def test_a_slower_link_never_loosens(step_s, epochs):
    schedule, history = LinkAware(ladder=LADDER, step_s=step_s), measured(*epochs)
    before = schedule.decide(context(), history).level
    slower = [replace(one, train_s=one.train_compute_s + 2 * one.train_link_s) for one in history]
    after = schedule.decide(context(), slower).level
    assert BYTES[after] <= BYTES[before]
