"""The fixed schedule: one level, whatever happened."""

from __future__ import annotations

import pytest

from raysplit.config import Fixed
from raysplit.schedules import Decision
from tests.schedules.histories import TIGHT, context, record


@pytest.mark.parametrize(("local", "mode"), [(False, "joint"), (True, "local")])
@pytest.mark.parametrize("epoch", [0, 1, 9])
def test_fixed(epoch, local, mode):
    decided = Fixed(level=TIGHT).decide(context(10, local), [record(TIGHT)] * epoch)
    assert decided == Decision(TIGHT, "fixed", mode=mode)
