"""Nested: phases that mix levels, and the draw of each step."""

from __future__ import annotations

from collections import Counter

import pytest

from raysplit.config import Level, Nested, parse
from raysplit.errors import ConfigError
from raysplit.schedules import Decision, WeightedLevel, foresee, next_decision
from raysplit.schedules.mixture import draw_level
from tests.schedules.histories import LOOSE, MIDDLE, STEPS, TIGHT, context, decisions

PAIR = (WeightedLevel(level=TIGHT, weight=3), WeightedLevel(level=LOOSE))
MIXED = {"levels": PAIR, "share": 2}
ALONE = {"levels": (LOOSE,), "share": 1}


@pytest.mark.parametrize(("local", "mode"), [(False, "joint"), (True, "local")])
def test_phases_mix_their_levels_and_are_validated_at_the_last(local, mode):
    mixed, text = "phase 1 of 2: 75 % c4·b32/b32, 25 % all·b32/b32", "phase 2 of 2"
    schedule = Nested(phases=(MIXED, ALONE))
    assert schedule.levels() == (TIGHT, LOOSE)
    assert decisions(schedule, 3, local) == [
        Decision(LOOSE, mixed, mode=mode, mixture=PAIR),
        Decision(LOOSE, mixed, mode=mode, mixture=PAIR),
        Decision(LOOSE, text, mode=mode),
    ]


def test_what_is_kept_ends_its_phase():
    last = {"levels": [TIGHT], "share": 1, "keep": True}
    phases = [{**MIXED, "levels": [LOOSE, TIGHT]}, {**MIXED, "keep": True}, last]
    made = decisions(Nested(phases=phases), 5)
    assert [decision.ends_level for decision in made] == [False, False, False, True, True]
    assert [decision.level for decision in made] == [TIGHT, TIGHT, LOOSE, LOOSE, TIGHT]


def test_a_smooth_schedule_moves_from_phase_to_phase():
    phases = [{"levels": [level], "share": share} for level, share in ((TIGHT, 4), (MIDDLE, 2), (LOOSE, 1))]
    made = decisions(Nested(phases=phases, smooth=True), 7)
    shares = [{entry.level: entry.weight for entry in decision.mixture} for decision in made]
    assert shares == [
        {},
        {TIGHT: 0.75, MIDDLE: 0.25},
        {TIGHT: 0.5, MIDDLE: 0.5},
        {TIGHT: 0.25, MIDDLE: 0.75},
        {},
        {MIDDLE: 0.5, LOOSE: 0.5},
        {},
    ]
    assert [decision.level for decision in made] == 4 * [TIGHT] + 2 * [MIDDLE] + [LOOSE]
    assert made[1].reason == "phase 1 of 3: 75 % c4·b32/b32, 25 % c16·b32/b32"


def test_a_smooth_mixture_keeps_the_weights_of_what_both_have():
    phases = [{"levels": PAIR, "share": 2}, {"levels": [{"level": LOOSE, "weight": 9}], "share": 1}]
    made = decisions(Nested(phases=phases, smooth=True), 3)
    assert [[entry.weight for entry in decision.mixture] for decision in made] == [[0.75, 0.25], [0.375, 0.625], []]


@pytest.mark.parametrize("weights", [(1,), (1, 1), (3, 1), (0.2, 0.5, 0.3), (1, 98, 1)])
def test_steps_draw_by_weight(weights):
    levels = (TIGHT, MIDDLE, LOOSE)
    mixture = [WeightedLevel(level=level, weight=w) for level, w in zip(levels, weights, strict=False)]
    drawn = Counter(draw_level(mixture, 7, step) for step in range(3000))
    for entry in mixture:
        share = entry.weight / sum(weights)
        assert drawn[entry.level] / 3000 == pytest.approx(share, abs=3.5 * (share * (1 - share) / 3000) ** 0.5)


def test_a_draw_depends_on_seed_and_step_alone():
    def draws(seed):
        return [draw_level(PAIR, seed, step) for step in range(200)]

    assert draws(0) == draws(0) != draws(1)
    assert draws(0)[100:] == [draw_level(PAIR, 0, step) for step in range(100, 200)]
    decision = Decision(LOOSE, "", mixture=PAIR)
    assert [decision.level_at(step, 0) for step in range(200)] == draws(0)
    assert {Decision(LOOSE, "").level_at(step, 0) for step in range(9)} == {LOOSE}


def test_what_is_foreseen_is_the_mean():
    """(3 · 1,000 + 16,000) / 4 bytes a step."""
    seen = []

    class Watch(Nested):
        def decide(self, context, history):
            seen.append([record.bytes.traffic for record in history])
            return super().decide(context, history)

    schedule = Watch(phases=(MIXED, ALONE))
    assert foresee(schedule, context(3)) == decisions(Nested(phases=(MIXED, ALONE)), 3)
    assert seen[-1] == [4_750 * STEPS] * 2
    assert Decision(MIDDLE, "").mean_bytes(context().step_bytes) == 4_000


@pytest.mark.parametrize(
    ("phases", "text"),
    [
        ([], "phases: Tuple should have at least 1 item"),
        ([{"levels": [], "share": 1}], "levels: Tuple should have at least 1 item"),
        (
            [
                {
                    "levels": [
                        "c4.b4/b4",
                        "all",
                    ],
                    "share": 1,
                }
            ],
            "'all' is not a level; write it like",
        ),
        ([{"levels": [{"level": "c4.b4/b4", "weight": 0}], "share": 1}], "weight: Input should be greater than 0"),
        ([{"levels": ["c4.b4/b4", "c4·b4/b4"], "share": 1}], "level c4·b4/b4 is in the phase 2 times; give it one"),
        ([{**ALONE, "keep": True}, MIXED], "a phase is kept and the last one is not"),
        ([{**ALONE, "keep": True}, {**MIXED, "keep": True}], "level all·b32/b32 is kept by 2 phases; a family"),
    ],
)
def test_phases_that_cannot_be(phases, text):
    with pytest.raises(ConfigError, match=text):
        parse(Nested, {"phases": phases}, where="schedule")


@pytest.mark.parametrize(
    ("decision", "text"),
    [
        (
            Decision(LOOSE, "", mixture=((TIGHT, 1),)),
            "the mixture of a Decision is a tuple of .*WeightedLevel, decide gave",
        ),
        (
            Decision(LOOSE, "", mixture=PAIR, mode="frozen"),
            "a mixture of levels in the mode 'frozen', .* choose one level",
        ),
        (
            Decision(TIGHT, "", mixture=(WeightedLevel(level="all.b8/b4.ef"), *PAIR)),
            "a mixture of levels with error feedback, .* leave out ef",
        ),
        (
            Decision(LOOSE, "", mixture=(*PAIR, WeightedLevel(level=MIDDLE))),
            "chose the level c16·b32/b32, levels.. lists",
        ),
    ],
)
def test_mixtures_that_cannot_be_trained(decision, text):
    class Own:
        def levels(self):
            return TIGHT, LOOSE, Level("all.b8/b4.ef")

        def decide(self, context, history):
            return decision

    with pytest.raises(ConfigError, match=text):
        next_decision(Own(), context(), [])
