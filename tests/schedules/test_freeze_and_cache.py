"""What freeze-and-cache decides for each epoch, written out by hand."""

from __future__ import annotations

import pytest

from raysplit.config import FreezeAndCache, Stage
from raysplit.schedules import Decision
from tests.schedules.histories import LOOSE, MIDDLE, TIGHT, decisions

LEARN = Stage(level=TIGHT, share=2)
SEND = Stage(level=MIDDLE, share=3, lr_scale=0.5)
FINISH = Stage(level=LOOSE, share=1, lr_scale=0.1)
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
        expected.append(Decision(LOOSE, "finish together", False, True, "joint", span=(5, 1), lr_scale=0.1))
    assert decisions(schedule, len(expected), local) == expected


def test_more_views_than_epochs_never_come_to_the_cache():
    schedule = FreezeAndCache(learn=LEARN, send=SEND, views=9)
    assert [decision.mode for decision in decisions(schedule, 5)] == ["joint", "joint", "frozen", "frozen", "frozen"]
