"""The byte budget, against scripted histories."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raysplit.config import ByteBudget, Level
from raysplit.errors import ConfigError
from raysplit.records.epoch import total_traffic
from raysplit.schedules import Decision, RunContext
from tests.examples import examples
from tests.schedules.histories import BYTES, LADDER, LOOSE, MIDDLE, STEPS, TIGHT, context, record


def spent(megabytes: float, part: float, epochs: int = 5) -> list[tuple[Level, str]]:
    """Levels and reasons of a budget, where each epoch costs `part` of its bound."""
    schedule, history, made = ByteBudget(ladder=LADDER, megabytes=megabytes), [], []
    for _ in range(epochs):
        decided = schedule.decide(context(epochs), history)
        made.append((decided.level, decided.reason))
        history.append(record(decided.level, 0.5, round(STEPS * BYTES[decided.level] * part), 0.0, 0.1))
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


@pytest.mark.parametrize(("local", "mode"), [(False, "joint"), (True, "local")])
def test_a_budget_changes_levels_without_resets(local, mode):
    budget = ByteBudget(ladder=LADDER, megabytes=0.19)
    decided = budget.decide(context(5, local), [record(TIGHT)])
    assert decided == Decision(MIDDLE, "0.18 MB left for 4 epochs", mode=mode)


@pytest.mark.parametrize("ladder", [LADDER, LADDER[::-1]])
def test_too_small_a_budget_says_what_is_needed(ladder):
    text = (
        r"schedule.megabytes=0.049 is too little: 5 epochs at the tightest level c4·b32/b32 may take 0.05 MB; "
        "allow more or add a tighter level"
    )
    with pytest.raises(ConfigError, match=text):
        ByteBudget(ladder=ladder, megabytes=0.049).decide(context(5), [])


@given(st.integers(1, 500), st.integers(1, 10**4), st.integers(1, 10**9))
@example(3, 41, 100_003)  # 12.300369 MB
def test_the_megabytes_that_the_error_asks_for_are_accepted(epochs, steps, cost):
    run = RunContext(epochs, steps, lambda level: cost)
    with pytest.raises(ConfigError) as refused:
        ByteBudget(ladder=(TIGHT,), megabytes=epochs * steps * cost / 1e6 * 0.999).decide(run, [])
    [needed] = re.findall(r"may take ([0-9.]+) MB", str(refused.value))
    assert ByteBudget(ladder=(TIGHT,), megabytes=float(needed)).decide(run, []).level == TIGHT


@examples(300)
@given(st.data())
def test_a_budget_is_never_exceeded_whatever_epochs_cost(data):
    costs = data.draw(st.lists(st.integers(1, 10**7), min_size=1, max_size=6), "bytes of a step")
    table = {Level(channels=i + 1): cost for i, cost in enumerate(costs)}
    ladder = tuple(data.draw(st.permutations(list(table)), "ladder"))
    epochs, steps = data.draw(st.integers(1, 12), "epochs"), data.draw(st.integers(1, 2000), "steps")
    least, most = (epochs * steps * cost / 1e6 for cost in (min(costs), max(costs)))
    schedule = ByteBudget(ladder=ladder, megabytes=data.draw(st.floats(least / 2, 1.2 * most), "megabytes"))
    run, history, levels = RunContext(epochs, steps, table.__getitem__), [], []
    for epoch in range(epochs):
        try:
            level = schedule.decide(run, history).level
        except ConfigError:
            assert epoch == 0 and least > schedule.megabytes
            return
        true = data.draw(st.integers(0, steps * table[level]), "true bytes")
        history.append(record(level, 0.0, true, 0.0, 0.0))
        levels.append(level)
    assert total_traffic(history) / 1e6 <= schedule.megabytes
    assert all(table[a] <= table[b] for a, b in itertools.pairwise(levels))
