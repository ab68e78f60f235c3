import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.compress.schedule import Decision, decide, phase_starts
from raysplit.config import UNCOMPRESSED, Deprune, Fixed, Level, Phase

TIGHT, MIDDLE = Level(channels=4), Level(channels=16)


def deprune(*shares, **options):
    levels = [TIGHT, MIDDLE, UNCOMPRESSED]
    phases = tuple(Phase(level=levels[i % 3], share=share) for i, share in enumerate(shares))
    return Deprune(phases=phases, **options)


@pytest.mark.parametrize("epoch", [0, 1, 9])
def test_fixed(epoch):
    assert decide(Fixed(level=TIGHT), epoch, 10) == Decision(TIGHT, "fixed")


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
    assert phase_starts(deprune(*shares), epochs) == starts


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8), st.integers(0, 60))
def test_every_phase_has_an_epoch(shares, more):
    epochs = len(shares) + more
    starts = phase_starts(deprune(*shares), epochs)
    assert len(starts) == len(shares) and starts[0] == 0 and starts[-1] < epochs
    assert all(a < b for a, b in itertools.pairwise(starts))
    decisions = [decide(deprune(*shares), epoch, epochs) for epoch in range(epochs)]
    assert [e for e, d in enumerate(decisions) if d.fresh_optimizer] == list(starts[1:])
    assert len({d.reason for d in decisions}) == len(shares)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
def test_deprune(reset, fresh):
    schedule = deprune(2, 1, 1, reset_logits=reset, fresh_optimizer=fresh)
    assert [decide(schedule, epoch, 6) for epoch in range(6)] == [
        Decision(TIGHT, "phase 1 of 3"),
        Decision(TIGHT, "phase 1 of 3"),
        Decision(TIGHT, "phase 1 of 3"),
        Decision(MIDDLE, "phase 2 of 3", reset, fresh),
        Decision(UNCOMPRESSED, "phase 3 of 3", reset, fresh),
        Decision(UNCOMPRESSED, "phase 3 of 3"),
    ]
