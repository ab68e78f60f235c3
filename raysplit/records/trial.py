"""One trial of a search: what it has reached after an epoch, how it ended, and points that were never tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from typing_extensions import Self

from raysplit.utils.frozen import Record

TrialState = Literal["finished", "stopped", "failed"]
"""stopped: ended early, because trials before it were better at the same epoch."""
OBJECTIVES = ("accuracy", "bytes", "seconds", "image_bytes", "answer_s", "mib")
"""Every objective that a search can have; `raysplit.config.search` says what each one measures."""


class TrialReport(Record):
    """What a trial has reached after an epoch.

    >>> report = TrialReport(epoch=2, trained=1, last=False, objectives={"accuracy": 0.5, "bytes": 100})
    >>> report.to_row()
    {'epoch': 2, 'trained': 1, 'last': False, 'accuracy': 0.5, 'bytes': 100}
    >>> TrialReport.from_row(report.to_row() | {"time_total_s": 3.0}) == report
    True
    """

    epoch: int
    """From 1."""
    trained: int
    """Epochs that this trial trained itself, without those taken over from another trial."""
    last: bool
    """The trial ends with this epoch."""
    objectives: dict[str, int | float]
    """By name, as far as the trial has come."""

    def to_row(self) -> dict[str, Any]:
        """Return the report as flat JSON data, each objective under its own name."""
        return self.model_dump(exclude={"objectives"}) | self.objectives

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read a flat report; other keys are ignored. Raises pydantic's ValidationError for a row that is not one."""
        return cls.model_validate({**row, "objectives": _objectives(row)})


class TrialRecord(Record):
    """How a trial ended: `trials/N.json` of a search's folder (docs/search.md)."""

    number: int
    """From 0, in the order in which trials began."""
    state: TrialState
    point: dict[str, Any]
    """The point of the search space: a value for each key."""
    recipe: str
    """The trial's config as JSON text."""
    fault: str | None = None
    """Why a trial failed."""
    epochs: int
    """How far the trial came."""
    trained: int
    """Epochs that this trial trained itself, without those taken over from another trial."""
    start_s: float | None = None
    """Seconds from the request for the trial to its first step; None: it never took one."""
    wall_s: float
    """Seconds from the request for the trial to its end."""
    objectives: dict[str, int | float]
    """By name, as far as the trial came; only those of finished trials can be compared."""

    def to_row(self, objectives: Iterable[str]) -> dict[str, Any]:
        """Return the record as flat JSON data, each of `objectives` under its own name; null for one it never had."""
        return self.model_dump(exclude={"objectives"}) | {name: self.objectives.get(name) for name in objectives}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read a flat record; other keys are ignored. Raises pydantic's ValidationError for a row that is not one."""
        return cls.model_validate({**row, "objectives": _objectives(row)})


class RefusedPoint(Record):
    """A point of a search space that was never tried, because its config is invalid or infeasible."""

    point: dict[str, Any]
    reason: str


def _objectives(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in OBJECTIVES if row.get(name) is not None}
