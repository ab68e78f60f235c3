"""Which trials are worth having: the Pareto front, its hypervolume, and the point where it bends.

Objectives are given by name with a direction, `accuracy` up, `bytes` and `seconds` down; trials as dicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from raysplit.errors import ConfigError

Direction = Literal["max", "min"]
Objectives = Mapping[str, Direction]


class _Result(Protocol):
    metrics: dict[str, Any] | None
    error: Exception | None


def trials_of(grid: Iterable[_Result]) -> list[dict[str, Any]]:
    """Return the last metrics of each trial in a `ray.tune.ResultGrid`, in its order; nothing of those that failed."""
    return [{} if result.error else dict(result.metrics or {}) for result in grid]


def front(trials: Sequence[Mapping[str, Any]], objectives: Objectives) -> list[int]:
    """Return the numbers of the trials that no other one beats, in the order of the first objective, best first.

    One trial beats another when it is nowhere worse and somewhere better. Trials that lack an objective, or have no
    finite number for it, failed: they are never on the front. Of equal ones the first is taken.
    """
    values = _costs(trials, objectives)
    found: list[int] = []
    for index in np.lexsort(values.T[::-1]):
        row = values[index]
        if np.isfinite(row).all() and not any((values[other] <= row).all() for other in found):
            found.append(int(index))
    return found


def hypervolume(trials: Sequence[Mapping[str, Any]], objectives: Objectives, worst: Mapping[str, float]) -> float:
    """Return the volume between the front and the point `worst`, which is as bad as can be in every objective.

    In the product of the objectives' units. Trials beyond `worst` add nothing. (Zitzler and Thiele, 1998; computed by
    slices along the last objective.) Raises ConfigError where `worst` lacks an objective.
    """
    if lacking := [name for name in objectives if name not in worst]:
        raise ConfigError(f"the worst point has no '{lacking[0]}'; give a value for every objective")
    corner = _costs([worst], objectives)[0]
    values = _costs(trials, objectives)[front(trials, objectives)] if trials else np.empty((0, len(corner)))
    return _volume(values[(values < corner).all(1)], corner)


@dataclass(frozen=True)
class Knee:
    """The point of a front that is furthest from the line between its ends."""

    index: int
    """Of the trial."""
    reason: str


def knee(trials: Sequence[Mapping[str, Any]], objectives: Objectives) -> Knee:
    """Return where a front bends most: the trial that gives up least in all.

    What is given up is counted from the front's best, 0, to its worst, 1, for each objective, so that units do not
    matter; with two objectives it is the trial furthest from the line through the best of each (Das, Struct. Optim. 18,
    1999). Raises ConfigError when no trial succeeded.
    """
    on_front = front(trials, objectives)
    if not on_front:
        raise ConfigError("no trial has a number for every objective, so there is no front; look at why they failed")
    values = _costs(trials, objectives)[on_front]
    span = np.ptp(values, axis=0)
    scaled = (values - values.min(0)) / np.where(span > 0, span, 1.0)
    chosen = int(scaled.sum(1).argmin())
    signs = [-1.0 if direction == "max" else 1.0 for direction in objectives.values()]
    given = [
        f"{name} {sign * values[chosen, column]:.4g}: {scaled[chosen, column]:.0%} of the way from the front's best "
        f"({sign * values[:, column].min():.4g}) to its worst ({sign * values[:, column].max():.4g})"
        for column, (name, sign) in enumerate(zip(objectives, signs, strict=True))
    ]
    return Knee(on_front[chosen], f"least given up in all, of {len(on_front)} on the front; " + "; ".join(given))


def _costs(trials: Sequence[Mapping[str, Any]], objectives: Objectives) -> np.ndarray:
    """Return float64 (trials, objectives), less is better; NaN where a trial has no number."""
    if not objectives:
        raise ConfigError("there is no objective; name at least one, like accuracy")
    rows = np.full((len(trials), len(objectives)), np.nan)
    for row, trial in enumerate(trials):
        for column, (name, direction) in enumerate(objectives.items()):
            value = trial.get(name)
            if isinstance(value, int | float | np.number):
                rows[row, column] = -float(value) if direction == "max" else float(value)
    return rows


def _volume(values: np.ndarray, corner: np.ndarray) -> float:
    """Return the volume that points, all below a corner, dominate."""
    if not len(values):
        return 0.0
    if values.shape[1] == 1:
        return float(corner[0] - values.min())
    order = values[:, -1].argsort(kind="stable")
    values, total = values[order], 0.0
    heights = np.append(values[1:, -1], corner[-1]) - values[:, -1]
    for count, height in enumerate(heights, start=1):
        if height > 0:
            total += float(height) * _volume(values[:count, :-1], corner[:-1])
    return total
