"""The rule that turns numbers into a verdict: none is written by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What was found about a claim."""

    REACHED = "reached"
    MISSED = "missed"
    NOT_COMPARABLE = "not comparable"
    NOT_MEASURED = "not measured yet"


@dataclass(frozen=True)
class Check:
    """One thing that a claim needs, with the numbers that decide it."""

    text: str
    holds: bool
    condition: bool = False
    """Whether it is needed for the figures to be comparable at all."""


@dataclass(frozen=True)
class Measured:
    """Our figures for one claim, from one result."""

    rows: str
    """The rows that were compared."""
    figure: str
    seeds: int | None
    """How many the figures are the mean of; None: nothing was trained for them."""
    result: str
    """Name of the result file."""
    commits: tuple[str, ...]
    """At which the rows were trained."""
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        if any(check.condition and not check.holds for check in self.checks):
            return Verdict.NOT_COMPARABLE
        return Verdict.REACHED if all(check.holds for check in self.checks) else Verdict.MISSED

    @property
    def reason(self) -> str:
        """The checks that decided: of a claim that was reached all targets, of another those that failed."""
        if self.verdict is Verdict.REACHED:
            return "; ".join(check.text for check in self.checks if not check.condition)
        condition = self.verdict is Verdict.NOT_COMPARABLE
        return "; ".join(check.text for check in self.checks if not check.holds and check.condition == condition)


def in_short(found: Sequence[Measured]) -> str:
    """Return the verdicts on a claim in a few words.

    >>> in_short([])
    'not measured yet'
    """
    if not found:
        return Verdict.NOT_MEASURED.value
    counts = Counter(one.verdict for one in found)
    parts = [f"{verdict.value} in {counts[verdict]} of {len(found)}" for verdict in Verdict if counts[verdict]]
    return ", ".join(parts)


def at_least(what: str, ours: float, needed: float, unit: str) -> Check:
    """Return the check that a figure is as large as the published one.

    >>> at_least("traffic", 2.993, 4, "×")
    Check(text='traffic 2.99× (4 needed)', holds=False, condition=False)
    """
    return Check(f"{what} {number(ours)}{unit} ({needed:g} needed)", ours >= needed)


def at_most(what: str, ours: float, allowed: float, unit: str) -> Check:
    """Return the check that a loss is as small as allowed."""
    return Check(f"{what} {number(ours)}{unit} (at most {allowed:g})", ours <= allowed)


def alike(what: str, ours: int | None, other: int | None) -> Check:
    """Return the condition that two numbers are equal; one that is not known equals none."""
    texts = ("not known" if one is None else f"{one:,}" for one in (ours, other))
    return Check(f"{what}: {' against '.join(texts)}", ours is not None and ours == other, condition=True)


def needed(text: str, holds: bool) -> Check:
    """Return a condition of another kind; `text` says what is wrong where it fails."""
    return Check(text, holds, condition=True)


def number(value: float, sign: str = "") -> str:
    """Return a number with two decimals and a real minus.

    >>> number(-0.081), number(1.5, "+")
    ('−0.08', '+1.50')
    """
    return f"{value:{sign}.2f}".replace("-", "−")
