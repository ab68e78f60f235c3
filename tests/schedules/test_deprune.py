"""What deprune decides for each epoch, written out by hand."""

from __future__ import annotations

import pytest

from raysplit.schedules import Decision
from tests.schedules.histories import LOOSE, MIDDLE, TIGHT, decisions, deprune


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(("local", "mode"), [(False, "joint"), (True, "local")])
def test_deprune(reset, fresh, local, mode):
    schedule = deprune(2, 1, 1, reset_logits=reset, fresh_optimizer=fresh)
    assert decisions(schedule, 6, local) == [
        Decision(TIGHT, "phase 1 of 3", mode=mode),
        Decision(TIGHT, "phase 1 of 3", mode=mode),
        Decision(TIGHT, "phase 1 of 3", mode=mode),
        Decision(MIDDLE, "phase 2 of 3", reset, fresh, mode),
        Decision(LOOSE, "phase 3 of 3", reset, fresh, mode),
        Decision(LOOSE, "phase 3 of 3", mode=mode),
    ]
