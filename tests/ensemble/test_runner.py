"""The runner of this process."""

from __future__ import annotations

from raysplit.ensemble.runner import LocalRunner


def test_tasks_run_in_order_and_are_logged_when_they_are_done():
    events = []
    LocalRunner().run_each(events.append, [2, 0], "part {}".format, events.append)
    assert events == [2, "part 2 is done", 0, "part 0 is done"]
