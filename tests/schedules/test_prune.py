"""What prune decides for each epoch, written out by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raysplit.config import Level, Prune, Stage
from raysplit.schedules import Decision
from tests.schedules.histories import LOOSE, MIDDLE, TIGHT, decisions


def test_prune_keeps_a_model_at_the_end_of_each_stage():
    """Nothing is reset between stages; each has a learning-rate span and peak of its own."""
    stages = (
        Stage(level=LOOSE, share=3),
        Stage(level=MIDDLE, share=1, lr_scale=0.5),
        Stage(level=TIGHT, share=2, lr_scale=0.1),
    )
    base, second, third = "base of the family", "level 2 of 3, by transfer", "level 3 of 3, by transfer"
    assert decisions(Prune(phases=stages), 6) == [
        Decision(LOOSE, base, span=(0, 3)),
        Decision(LOOSE, base, span=(0, 3)),
        Decision(LOOSE, base, span=(0, 3), ends_level=True),
        Decision(MIDDLE, second, span=(3, 1), lr_scale=0.5, ends_level=True),
        Decision(TIGHT, third, span=(4, 2), lr_scale=0.1),
        Decision(TIGHT, third, span=(4, 2), lr_scale=0.1, ends_level=True),
    ]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(0, 20))
def test_spans_tile_the_run_and_end_where_the_level_ends(shares, more):
    epochs = len(shares) + more
    stages = tuple(Stage(level=Level(channels=9 - i), share=share) for i, share in enumerate(shares))
    decided = decisions(Prune(phases=stages), epochs)
    ends = [epoch for epoch, decision in enumerate(decided) if decision.ends_level]
    assert len(ends) == len(shares) and ends[-1] == epochs - 1
    for epoch, decision in enumerate(decided):
        first, count = decision.span
        assert first <= epoch < first + count and decision.ends_level == (epoch == first + count - 1)
