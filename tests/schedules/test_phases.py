"""Where each phase begins, written out by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.schedules import phase_starts
from raysplit.schedules.phases import PhasePosition, phase_position
from tests.schedules.histories import decisions, deprune


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


def test_phase_positions():
    phases = deprune(2, 1).phases
    assert phase_position(phases, 0, 6) == PhasePosition(index=0, start=0, end=4, epoch=0)
    assert phase_position(phases, 3, 6) == PhasePosition(index=0, start=0, end=4, epoch=3)
    entered = phase_position(phases, 4, 6)
    assert entered == PhasePosition(index=1, start=4, end=6, epoch=4)
    assert entered.entering and entered.span == (4, 2)
    assert not phase_position(phases, 0, 6).entering and not phase_position(phases, 5, 6).entering


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8), st.integers(0, 60))
def test_every_phase_has_an_epoch(shares, more):
    epochs = len(shares) + more
    starts = phase_starts(deprune(*shares).phases, epochs)
    assert len(starts) == len(shares) and starts[0] == 0 and starts[-1] < epochs
    assert all(a < b for a, b in itertools.pairwise(starts))
    decided = decisions(deprune(*shares), epochs)
    assert [e for e, d in enumerate(decided) if d.fresh_optimizer] == list(starts[1:])
    assert len({d.reason for d in decided}) == len(shares)
