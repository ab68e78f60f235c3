"""Schedules that look back, against scripted histories."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raysplit.schedules.adaptive import Past, budgeted, link_aware, plateau
from raysplit.schedules.decide import RunContext, decide

from raysplit.config import ByteBudget, Level, LinkAware, Plateau
from raysplit.errors import ConfigError

TIGHT, MIDDLE, LOOSE = Level(channels=4), Level(channels=16), Level()
LADDER = (TIGHT, MIDDLE, LOOSE)
BYTES = {TIGHT: 1_000, MIDDLE: 4_000, LOOSE: 16_000}
STEPS = 10


def scored(*runs: tuple[Level, list[float]]) -> list[Past]:
    """Epochs by level and validation accuracy in percent."""
    return [Past(str(level), percent / 100, 1, 0.0, 0.1) for level, percents in runs for percent in percents]


@pytest.mark.parametrize(
    ("history", "level", "reason"),
    [
        ([], TIGHT, "tightest first"),
        ([(TIGHT, [50])], TIGHT, "0 of 2 epochs without gain"),
        ([(TIGHT, [50, 50.9])], TIGHT, "1 of 2 epochs without gain"),
        ([(TIGHT, [50, 49, 48])], MIDDLE, "stalled at 50.0 % for 2 epochs"),
        ([(TIGHT, [50, 50, 52])], TIGHT, "0 of 2 epochs without gain"),
        ([(TIGHT, [50, 50, 52, 51])], TIGHT, "1 of 2 epochs without gain"),
        ([(TIGHT, [50, 50, 52, 51, 52.5])], MIDDLE, "stalled at 52.0 % for 2 epochs"),
        # Gains that are too small for one epoch add up.
        ([(TIGHT, [50, 50.8, 51.6])], TIGHT, "0 of 2 epochs without gain"),
        ([(TIGHT, [50, 50.8, 51.6, 52.4])], TIGHT, "1 of 2 epochs without gain"),
        # The best at the level before is forgotten: the first epochs at a new level may be worse.
        ([(TIGHT, [50, 50, 50]), (MIDDLE, [20])], MIDDLE, "0 of 2 epochs without gain"),
        ([(TIGHT, [50, 50, 50]), (MIDDLE, [20, 40])], MIDDLE, "0 of 2 epochs without gain"),
        ([(TIGHT, [50, 50, 50]), (MIDDLE, [20, 40, 40, 40])], LOOSE, "stalled at 40.0 % for 2 epochs"),
        ([(TIGHT, [50, 50, 50]), (LOOSE, [60, 60, 60, 60])], LOOSE, "stalled for 3 epochs at the loosest level"),
    ],
)
def test_plateau(history, level, reason):
    schedule = Plateau(ladder=LADDER, patience=2, min_gain=0.01)
    assert plateau(schedule, scored(*history), BYTES.__getitem__) == (level, reason)


def test_a_steady_creep_is_no_stall():
    schedule = Plateau(ladder=LADDER, patience=2, min_gain=0.005)
    creep = [50.0, 50.4, 50.8, 51.2, 51.6, 52.0, 52.4]
    assert {plateau(schedule, scored((TIGHT, creep[:n])), BYTES.__getitem__)[0] for n in range(1, len(creep) + 1)} == {
        TIGHT
    }


def test_the_same_accuracy_again_is_no_gain_however_small_a_gain_may_be():
    schedule = Plateau(ladder=LADDER, patience=2, min_gain=0)
    assert plateau(schedule, scored((TIGHT, [10, 10, 10])), BYTES.__getitem__)[0] == MIDDLE
    assert plateau(schedule, scored((TIGHT, [10, 10, 10.1])), BYTES.__getitem__)[0] == TIGHT


def measured(*epochs: tuple[Level, float, float]) -> list[Past]:
    """Epochs by level, milliseconds a step on the link, and bytes relative to the bound."""
    return [
        Past(str(level), 0.5, round(STEPS * BYTES[level] * part), STEPS * ms / 1000, STEPS * 0.01)
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
    schedule = LinkAware(ladder=LADDER, step_s=0.1)
    assert link_aware(schedule, STEPS, BYTES.__getitem__, measured(*history)) == (level, reason)


def test_compute_alone_may_be_too_slow():
    slow = [Past(str(TIGHT), 0.5, 10_000, 0.0, STEPS * 0.2)]
    level, reason = link_aware(LinkAware(ladder=LADDER, step_s=0.1), STEPS, BYTES.__getitem__, slow)
    assert (level, reason) == (TIGHT, "no level fits: about 200 ms a step, target 100 ms")


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
        made.append(link_aware(schedule, STEPS, BYTES.__getitem__, history)[0])
        history += measured((made[-1], link_ms[made[-1]], 1))
    assert made == levels


@pytest.mark.parametrize(
    "choose",
    [
        lambda ladder: decide(LinkAware(ladder=ladder, step_s=0.1), 0, RunContext(5, STEPS, BYTES.__getitem__)),
        lambda ladder: plateau(Plateau(ladder=ladder), [], BYTES.__getitem__),
    ],
    ids=["link_aware", "plateau"],
)
def test_a_ladder_out_of_order_is_refused(choose):
    text = (
        r"^schedule.ladder: all·b32/b32 \(16,000 B a step at most\) stands before c16·b32/b32 \(4,000 B\); "
        "list the tightest level first$"
    )
    with pytest.raises(ConfigError, match=text):
        choose((TIGHT, LOOSE, MIDDLE))
    choose(LADDER)


@settings(deadline=None)
@given(
    st.floats(1e-3, 1.0),
    st.lists(st.tuples(st.sampled_from(LADDER), st.floats(0, 1e4), st.floats(0.01, 1)), min_size=1, max_size=8),
)
def test_a_slower_link_never_loosens(step_s, epochs):
    schedule, history = LinkAware(ladder=LADDER, step_s=step_s), measured(*epochs)
    before = link_aware(schedule, STEPS, BYTES.__getitem__, history)[0]
    slower = [Past(p.level, p.val_accuracy, p.bytes, 2 * p.link_s, p.compute_s) for p in history]
    after = link_aware(schedule, STEPS, BYTES.__getitem__, slower)[0]
    assert BYTES[after] <= BYTES[before]


def spent(megabytes: float, part: float, epochs: int = 5) -> list[tuple[Level, str]]:
    """Decisions of a budget, where each epoch costs `part` of its bound."""
    schedule, history, made = ByteBudget(ladder=LADDER, megabytes=megabytes), [], []
    for epoch in range(epochs):
        made.append(budgeted(schedule, epoch, epochs, STEPS, BYTES.__getitem__, history))
        level = made[-1][0]
        history.append(Past(str(level), 0.5, round(STEPS * BYTES[level] * part), 0.0, 0.1))
    return made


def test_a_budget_is_tight_then_loose():
    assert spent(0.19, 1.0) == [
        (TIGHT, "0.19 MB left for 5 epochs"),
        (MIDDLE, "0.18 MB left for 4 epochs"),
        (MIDDLE, "0.14 MB left for 3 epochs"),
        (MIDDLE, "0.1 MB left for 2 epochs"),
        (MIDDLE, "0.06 MB left for 1 epochs"),
    ]
    assert [level for level, _ in spent(0.4, 1.0)] == [MIDDLE, MIDDLE, MIDDLE, MIDDLE, LOOSE]


def test_what_was_saved_loosens_earlier():
    assert [level for level, _ in spent(0.4, 0.5)] == [MIDDLE, MIDDLE, MIDDLE, LOOSE, LOOSE]


def test_a_budget_that_is_exactly_enough():
    assert {level for level, _ in spent(0.05, 1.0)} == {TIGHT}
    assert {level for level, _ in spent(0.8, 1.0)} == {LOOSE}


@pytest.mark.parametrize("ladder", [LADDER, LADDER[::-1]])
def test_too_small_a_budget_says_what_is_needed(ladder):
    text = (
        r"schedule.megabytes=0.049 is too little: 5 epochs at the tightest level c4·b32/b32 may take 0.05 MB; "
        "allow more or add a tighter level"
    )
    with pytest.raises(ConfigError, match=text):
        decide(ByteBudget(ladder=ladder, megabytes=0.049), 0, RunContext(5, STEPS, BYTES.__getitem__))


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 10**4), st.integers(1, 10**9))
@example(3, 41, 100_003)  # 12.300369 MB
def test_the_megabytes_that_the_error_asks_for_are_accepted(epochs, steps, cost):
    course = RunContext(epochs, steps, lambda level: cost)
    with pytest.raises(ConfigError) as refused:
        decide(ByteBudget(ladder=(TIGHT,), megabytes=epochs * steps * cost / 1e6 * 0.999), 0, course)
    [needed] = re.findall(r"may take ([0-9.]+) MB", str(refused.value))
    assert decide(ByteBudget(ladder=(TIGHT,), megabytes=float(needed)), 0, course).level == TIGHT


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_budget_is_never_exceeded_whatever_epochs_cost(data):
    costs = data.draw(st.lists(st.integers(1, 10**7), min_size=1, max_size=6), "bytes of a step")
    table = {Level(channels=i + 1): cost for i, cost in enumerate(costs)}
    ladder = tuple(data.draw(st.permutations(list(table)), "ladder"))
    epochs, steps = data.draw(st.integers(1, 12), "epochs"), data.draw(st.integers(1, 2000), "steps")
    least, most = (epochs * steps * cost / 1e6 for cost in (min(costs), max(costs)))
    schedule = ByteBudget(ladder=ladder, megabytes=data.draw(st.floats(least / 2, 1.2 * most), "megabytes"))
    course, history, levels = RunContext(epochs, steps, table.__getitem__), [], []
    for epoch in range(epochs):
        try:
            level = decide(schedule, epoch, course, history).level
        except ConfigError:
            assert epoch == 0 and least > schedule.megabytes
            return
        true = data.draw(st.integers(0, steps * table[level]), "true bytes")
        history.append(Past(str(level), 0.0, true, 0.0, 0.0))
        levels.append(level)
    assert sum(past.bytes for past in history) / 1e6 <= schedule.megabytes
    assert all(table[a] <= table[b] for a, b in itertools.pairwise(levels))
