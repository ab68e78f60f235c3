"""A user's own schedule: a class in a file, or an object in memory."""

from __future__ import annotations

from functools import cached_property

from raysplit.errors import ConfigError
from raysplit.schedules.base import Decision, History, RunContext, Schedule, check_schedule
from raysplit.utils.user_code import ObjectRecord, UserClass
from raysplit.wire.level import Level


class UserSchedule(UserClass):
    """A schedule in a user's own file, `path.py:Class`. The file runs when the schedule is first used.

    >>> UserSchedule(target="mine.py:Halving", args={"start": 16}).target
    'mine.py:Halving'
    """

    def levels(self) -> tuple[Level, ...]:
        """Return every level that the user's schedule lists; ConfigError when it cannot be loaded."""
        return self._schedule.levels()

    def decide(self, context: RunContext, history: History) -> Decision:
        """Return what the user's schedule decides."""
        return self._schedule.decide(context, history)

    @property
    def measures(self) -> bool:
        """Whether its decisions depend on what the run measures."""
        return bool(getattr(self._schedule, "measures", False))

    @property
    def for_each_device(self) -> bool:
        """Whether it decides for each of many devices."""
        return bool(getattr(self._schedule, "for_each_device", False))

    @property
    def hands_over(self) -> bool:
        """Whether the server takes over the head of a device that has one."""
        return bool(getattr(self._schedule, "hands_over", False))

    @cached_property
    def _schedule(self) -> Schedule:
        try:
            return check_schedule(self.create())
        except ValueError as err:
            raise ConfigError(f"schedule {self.target}: {err}") from None


class ScheduleRecord(ObjectRecord):
    """The record of a schedule that was an object in memory: reports can name it, but no run can use it.

    >>> ScheduleRecord(name="Mine").levels()
    Traceback (most recent call last):
    raysplit.errors.ConfigError: schedule was an object in memory (Mine), which config.json cannot hold: ...
    """

    def levels(self) -> tuple[Level, ...]:
        """Raise ConfigError: the object is lost."""
        raise self.lost("schedule")

    def decide(self, context: RunContext, history: History) -> Decision:
        """Raise ConfigError: the object is lost."""
        raise self.lost("schedule")
