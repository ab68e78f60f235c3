"""What each schedule decides for each epoch, written out by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raysplit.schedules.adaptive import Past
from raysplit.schedules.decide import Decision, RunContext, decide, foresee, phase_starts

from raysplit.config import (
    UNCOMPRESSED,
    ByteBudget,
    Deprune,
    Fixed,
    FreezeAndCache,
    Level,
    LinkAware,
    Phase,
    Plateau,
    Prune,
    Stage,
)

TIGHT, MIDDLE = Level(channels=4), Level(channels=16)
BYTES = {TIGHT: 1_000, MIDDLE: 4_000, UNCOMPRESSED: 16_000}


def course(epochs: int, local: bool = False) -> RunContext:
    return RunContext(epochs, 10, BYTES.__getitem__, local)


def ahead(schedule, epochs: int, local: bool = False) -> list[Decision]:
    """Decisions of a schedule that does not look back."""
    return [decide(schedule, epoch, course(epochs, local)) for epoch in range(epochs)]


def seen(level: Level, accuracy: float = 0.5, cost: int = 10_000) -> Past:
    return Past(str(level), accuracy, cost, link_s=0.2, compute_s=0.1)


def deprune(*shares, **options):
    levels = [TIGHT, MIDDLE, UNCOMPRESSED]
    phases = tuple(Phase(level=levels[i % 3], share=share) for i, share in enumerate(shares))
    return Deprune(phases=phases, **options)


@pytest.mark.parametrize(("local", "mode"), [(False, "joint"), (True, "local")])
@pytest.mark.parametrize("epoch", [0, 1, 9])
def test_fixed(epoch, local, mode):
    assert decide(Fixed(level=TIGHT), epoch, course(10, local)) == Decision(TIGHT, "fixed", mode=mode)


@pytest.mark.parametrize(
    ("shares", "epochs", "starts"),
    [
        ((15, 7), 22, (0, 15)),
        ((25, 12), 37, (0, 25)),
        ((30, 15, 15), 60, (0, 30, 45)),
        ((15, 7), 10, (0, 7)),
        ((1, 1), 3, (0, 2)),
        ((1, 1, 1), 10, (0, 3, 7)),
        ((1,), 5, (0,)),
        ((1,), 1, (0,)),
        ((1000, 1), 4, (0, 3)),
        ((1, 1000), 4, (0, 1)),
        ((1000, 1, 1), 3, (0, 1, 2)),
        ((1, 1, 1000), 5, (0, 1, 2)),
        ((0.1, 0.2), 3, (0, 1)),
    ],
)
def test_phase_starts(shares, epochs, starts):
    assert phase_starts(deprune(*shares).phases, epochs) == starts


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8), st.integers(0, 60))
def test_every_phase_has_an_epoch(shares, more):
    epochs = len(shares) + more
    starts = phase_starts(deprune(*shares).phases, epochs)
    assert len(starts) == len(shares) and starts[0] == 0 and starts[-1] < epochs
    assert all(a < b for a, b in itertools.pairwise(starts))
    decisions = ahead(deprune(*shares), epochs)
    assert [e for e, d in enumerate(decisions) if d.fresh_optimizer] == list(starts[1:])
    assert len({d.reason for d in decisions}) == len(shares)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(("local", "mode"), [(False, "joint"), (True, "local")])
def test_deprune(reset, fresh, local, mode):
    schedule = deprune(2, 1, 1, reset_logits=reset, fresh_optimizer=fresh)
    assert ahead(schedule, 6, local) == [
        Decision(TIGHT, "phase 1 of 3", mode=mode),
        Decision(TIGHT, "phase 1 of 3", mode=mode),
        Decision(TIGHT, "phase 1 of 3", mode=mode),
        Decision(MIDDLE, "phase 2 of 3", reset, fresh, mode),
        Decision(UNCOMPRESSED, "phase 3 of 3", reset, fresh, mode),
        Decision(UNCOMPRESSED, "phase 3 of 3", mode=mode),
    ]


def test_prune_keeps_a_model_at_the_end_of_each_stage():
    """Nothing is reset between stages; each has a learning-rate span and peak of its own."""
    stages = (
        Stage(level=UNCOMPRESSED, share=3),
        Stage(level=MIDDLE, share=1, lr_scale=0.5),
        Stage(level=TIGHT, share=2, lr_scale=0.1),
    )
    base, second, third = "base of the family", "level 2 of 3, by transfer", "level 3 of 3, by transfer"
    assert ahead(Prune(phases=stages), 6) == [
        Decision(UNCOMPRESSED, base, span=(0, 3)),
        Decision(UNCOMPRESSED, base, span=(0, 3)),
        Decision(UNCOMPRESSED, base, span=(0, 3), ends_level=True),
        Decision(MIDDLE, second, span=(3, 1), lr_scale=0.5, ends_level=True),
        Decision(TIGHT, third, span=(4, 2), lr_scale=0.1),
        Decision(TIGHT, third, span=(4, 2), lr_scale=0.1, ends_level=True),
    ]


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(0, 20))
def test_spans_tile_the_run_and_end_where_the_level_ends(shares, more):
    epochs = len(shares) + more
    stages = tuple(Stage(level=Level(channels=9 - i), share=share) for i, share in enumerate(shares))
    decisions = ahead(Prune(phases=stages), epochs)
    ends = [epoch for epoch, decision in enumerate(decisions) if decision.ends_level]
    assert len(ends) == len(shares) and ends[-1] == epochs - 1
    for epoch, decision in enumerate(decisions):
        first, count = decision.span
        assert first <= epoch < first + count and decision.ends_level == (epoch == first + count - 1)


LEARN = Stage(level=TIGHT, share=2)
SEND = Stage(level=MIDDLE, share=3, lr_scale=0.5)
FINISH = Stage(level=UNCOMPRESSED, share=1, lr_scale=0.1)
VIEWS = [
    "frozen, view 1 of 2 is sent and kept",
    "frozen, view 2 of 2 is sent and kept",
    "frozen, from what the server kept",
]


@pytest.mark.parametrize(
    ("local", "first"),
    [(True, ("the device learns alone", "alone")), (False, ("before the device half is frozen", "joint"))],
)
@pytest.mark.parametrize("finish", [None, FINISH])
@pytest.mark.parametrize("head", [True, False])
def test_freeze_and_cache(local, first, finish, head):
    """The local head crosses once, before the first epoch that sends, where there is one and the device half stays."""
    schedule = FreezeAndCache(learn=LEARN, send=SEND, views=2, finish=finish, head=head)
    reason, mode = first
    crosses = {"hand_over": head and local and finish is None, "fresh_optimizer": True}
    expected = [
        Decision(TIGHT, reason, mode=mode, span=(0, 2)),
        Decision(TIGHT, reason, mode=mode, span=(0, 2)),
        Decision(MIDDLE, VIEWS[0], mode="frozen", span=(2, 3), lr_scale=0.5, **crosses),
        Decision(MIDDLE, VIEWS[1], mode="frozen", span=(2, 3), lr_scale=0.5),
        Decision(MIDDLE, VIEWS[2], mode="cached", span=(2, 3), lr_scale=0.5),
    ]
    if finish is not None:
        expected.append(Decision(UNCOMPRESSED, "finish together", False, True, "joint", span=(5, 1), lr_scale=0.1))
    assert ahead(schedule, len(expected), local) == expected


def test_more_views_than_epochs_never_come_to_the_cache():
    schedule = FreezeAndCache(learn=LEARN, send=SEND, views=9)
    assert [decision.mode for decision in ahead(schedule, 5)] == ["joint", "joint", "frozen", "frozen", "frozen"]


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
def test_plateau_resets_where_the_level_changes(reset, fresh):
    schedule = Plateau(ladder=(TIGHT, MIDDLE), patience=1, reset_logits=reset, fresh_optimizer=fresh)
    stalled = [seen(TIGHT), seen(TIGHT)]
    changed = Decision(MIDDLE, "stalled at 50.0 % for 1 epochs", reset, fresh)
    assert decide(schedule, 0, course(9)) == Decision(TIGHT, "tightest first")
    assert decide(schedule, 1, course(9), stalled[:1]) == Decision(TIGHT, "0 of 1 epochs without gain")
    assert decide(schedule, 2, course(9), stalled) == changed
    after = [*stalled, seen(MIDDLE)]
    assert decide(schedule, 3, course(9, True), after) == Decision(MIDDLE, "0 of 1 epochs without gain", mode="local")


@pytest.mark.parametrize(("local", "mode"), [(False, "joint"), (True, "local")])
def test_link_and_budget_change_levels_without_resets(local, mode):
    link = LinkAware(ladder=(TIGHT, MIDDLE, UNCOMPRESSED), step_s=0.1)
    assert decide(link, 1, course(9, local), [seen(TIGHT)]) == Decision(
        MIDDLE, "about 90 ms a step, target 100 ms", mode=mode
    )
    budget = ByteBudget(ladder=(TIGHT, MIDDLE, UNCOMPRESSED), megabytes=0.19)
    assert decide(budget, 1, course(5, local), [seen(TIGHT)]) == Decision(
        MIDDLE, "0.18 MB left for 4 epochs", mode=mode
    )


def test_what_is_foreseen():
    freeze = FreezeAndCache(learn=LEARN, send=SEND)
    for schedule in (Fixed(level=TIGHT), deprune(2, 1, 1), Prune(phases=(LEARN, SEND)), freeze):
        assert foresee(schedule, course(5)) == ahead(schedule, 5)
    budget = ByteBudget(ladder=(TIGHT, MIDDLE, UNCOMPRESSED), megabytes=0.19)
    assert [decision.level for decision in foresee(budget, course(5))] == [TIGHT, MIDDLE, MIDDLE, MIDDLE, MIDDLE]
    assert foresee(Plateau(ladder=(TIGHT,)), course(5)) is None
    assert foresee(LinkAware(ladder=(TIGHT,), step_s=1), course(5)) is None
