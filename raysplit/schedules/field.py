"""The schedule in a config: one of this package, a user's own by `path.py:Class`, or an object in memory."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field, PlainSerializer, PlainValidator, TypeAdapter

from raysplit.errors import nearest
from raysplit.schedules.base import Schedule, check_schedule
from raysplit.schedules.byte_budget import ByteBudget
from raysplit.schedules.deprune import Deprune
from raysplit.schedules.fixed import Fixed
from raysplit.schedules.freeze_and_cache import FreezeAndCache
from raysplit.schedules.link_aware import LinkAware
from raysplit.schedules.nested import Nested
from raysplit.schedules.plateau import Plateau
from raysplit.schedules.prune import Prune
from raysplit.schedules.user import ScheduleRecord, UserSchedule
from raysplit.utils.user_code import ObjectRecord

_Described = (
    Fixed | Deprune | Nested | Prune | Plateau | LinkAware | ByteBudget | FreezeAndCache | UserSchedule | ScheduleRecord
)
_DESCRIBED: TypeAdapter[_Described] = TypeAdapter(Annotated[_Described, Field(discriminator="kind")])
_KINDS: dict[str, type[BaseModel]] = {kind.model_fields["kind"].default: kind for kind in get_args(_Described)}


def read_schedule(value: Any) -> Schedule:
    """Return the schedule that a config describes: a dict with its `kind`, `path.py:Class`, or the object itself.

    Raises ValueError for what is none of them.

    >>> read_schedule({"kind": "fixed", "level": "c4.b4/b4"}).levels()[0].channels
    4
    """
    if isinstance(value, str):
        value = {"kind": "user", "target": value}
    if not isinstance(value, dict):
        return check_schedule(value)
    kind = value.get("kind", "")
    if kind not in _KINDS:
        raise ValueError(f"'{kind}' is not a kind of schedule. {nearest(str(kind), _KINDS, count=2)}")
    return _DESCRIBED.validate_python(value)


def _write(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as plain data; an object in memory leaves its record."""
    # Not isinstance: an object of a user's subclass is not what its `kind` says.
    if isinstance(schedule, BaseModel) and type(schedule) in _KINDS.values():
        return schedule.model_dump(mode="json")
    return ObjectRecord.of(schedule).model_dump()


AnySchedule = Annotated[Schedule, PlainValidator(read_schedule), PlainSerializer(_write)]
"""A schedule as a config field: in JSON an object with its `kind`."""
