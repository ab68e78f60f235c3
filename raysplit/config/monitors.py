"""Who is told of a run's epochs while it trains: monitors by name, or of one's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import PlainSerializer, PlainValidator

from raysplit.errors import nearest
from raysplit.utils.user_code import ObjectRecord, UserClass

NamedMonitor = Literal["csv", "tensorboard", "mlflow"]
METHODS = ("begin", "epoch", "end")
"""What every monitor has."""
MonitorSource = NamedMonitor | UserClass | ObjectRecord | object
"""A name, a class in a file, the record of an object in memory, or the object itself."""


def read_monitors(value: Any) -> tuple[MonitorSource, ...]:
    """Return the monitors of a config: names, `path.py:Class`, dicts with `target` and `args`, or objects.

    Raises ValueError for anything else, and for an object that lacks a monitor's methods.

    >>> read_monitors(["csv", "mine.py:Beep"])
    ('csv', UserClass(kind='user', target='mine.py:Beep', args={}))
    """
    given = [value] if isinstance(value, str | dict) or not isinstance(value, list | tuple) else value
    found = tuple(_read(one) for one in given)
    for one in found:
        if found.count(one) > 1:
            raise ValueError(f"{describe_monitor(one)} is there twice; name each monitor once")
    return found


def describe_monitor(source: MonitorSource) -> str:
    """Return the name of a monitor for an error's text.

    >>> describe_monitor("csv"), describe_monitor(UserClass(target="mine.py:Beep"))
    ('csv', 'mine.py:Beep')
    """
    if isinstance(source, str):
        return source
    if isinstance(source, UserClass):
        return source.target
    return source.name if isinstance(source, ObjectRecord) else type(source).__name__


def _read(value: Any) -> MonitorSource:
    if isinstance(value, str):
        names = get_args(NamedMonitor)
        if value in names:
            return value
        if ".py:" in value:
            return UserClass(target=value)
        raise ValueError(f"no monitor is called '{value}'. {nearest(value, names)} Your own: path.py:Class")
    if isinstance(value, dict):
        return ObjectRecord.model_validate(value) if value.get("kind") == "object" else UserClass.model_validate(value)
    if isinstance(value, UserClass | ObjectRecord):
        return value
    missing = [name for name in METHODS if not callable(getattr(value, name, None))]
    if missing or isinstance(value, type):
        what = f"the class {value.__name__}: pass an object" if isinstance(value, type) else type(value).__name__
        lacks = f", which has no method {', '.join(missing)}" if missing else ""
        raise ValueError(f"expected a monitor, got {what}{lacks}")
    source: object = value
    return source


def _write(sources: tuple[MonitorSource, ...]) -> list[Any]:
    return [
        source
        if isinstance(source, str)
        else (source if isinstance(source, UserClass | ObjectRecord) else ObjectRecord.of(source)).model_dump(
            mode="json"
        )
        for source in sources
    ]


Monitors = Annotated[tuple[MonitorSource, ...], PlainValidator(read_monitors), PlainSerializer(_write)]
"""Monitors as a config field."""
