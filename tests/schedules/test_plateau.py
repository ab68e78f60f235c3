"""The plateau schedule, against scripted histories."""

from __future__ import annotations

import pytest

from raysplit.config import Plateau
from raysplit.errors import ConfigError
from raysplit.records.epoch import EpochRecord
from raysplit.schedules import Decision
from tests.schedules.histories import LADDER, LOOSE, MIDDLE, TIGHT, context, record


def scored(*runs: tuple[object, list[float]]) -> list[EpochRecord]:
    """Epochs by level and validation accuracy in percent."""
    return [record(level, percent / 100, 1, 0.0, 0.1) for level, percents in runs for percent in percents]


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
    decided = Plateau(ladder=LADDER, patience=2, min_gain=0.01).decide(context(), scored(*history))
    assert (decided.level, decided.reason) == (level, reason)


def test_a_steady_creep_is_no_stall():
    schedule = Plateau(ladder=LADDER, patience=2, min_gain=0.005)
    creep = [50.0, 50.4, 50.8, 51.2, 51.6, 52.0, 52.4]
    levels = {schedule.decide(context(), scored((TIGHT, creep[:n]))).level for n in range(1, len(creep) + 1)}
    assert levels == {TIGHT}


def test_the_same_accuracy_again_is_no_gain_however_small_a_gain_may_be():
    schedule = Plateau(ladder=LADDER, patience=2, min_gain=0)
    assert schedule.decide(context(), scored((TIGHT, [10, 10, 10]))).level == MIDDLE
    assert schedule.decide(context(), scored((TIGHT, [10, 10, 10.1]))).level == TIGHT


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
def test_plateau_resets_where_the_level_changes(reset, fresh):
    schedule = Plateau(ladder=(TIGHT, MIDDLE), patience=1, reset_logits=reset, fresh_optimizer=fresh)
    stalled = [record(TIGHT), record(TIGHT)]
    changed = Decision(MIDDLE, "stalled at 50.0 % for 1 epochs", reset, fresh)
    assert schedule.decide(context(9), []) == Decision(TIGHT, "tightest first")
    assert schedule.decide(context(9), stalled[:1]) == Decision(TIGHT, "0 of 1 epochs without gain")
    assert schedule.decide(context(9), stalled) == changed
    after = [*stalled, record(MIDDLE)]
    assert schedule.decide(context(9, True), after) == Decision(MIDDLE, "0 of 1 epochs without gain", mode="local")


def test_a_ladder_out_of_order_is_refused():
    text = (
        r"^schedule.ladder: all·b32/b32 \(16,000 B a step at most\) stands before c16·b32/b32 \(4,000 B\); "
        "list the tightest level first$"
    )
    with pytest.raises(ConfigError, match=text):
        Plateau(ladder=(TIGHT, LOOSE, MIDDLE)).decide(context(), [])
    Plateau(ladder=LADDER).decide(context(), [])
