"""Which trials are worth keeping: the Pareto front, its hypervolume, and its knee.

Objectives are names with a direction, like `{"accuracy": "max", "bytes": "min"}`; a trial is a mapping that has a
number for each name, and may hold more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from raysplit.config.search import Objectives, SearchConfig
from raysplit.errors import ConfigError
from raysplit.folders.search_dir import SearchDir
from raysplit.records.trial import TrialReport

Array = npt.NDArray[np.float64]


class TuneResult(Protocol):
    """What a `ray.tune.Result` has."""

    metrics: dict[str, Any] | None
    error: Exception | None


def extract_metrics(results: Iterable[TuneResult]) -> list[dict[str, Any]]:
    """Return the last metrics of each trial in a `ray.tune.ResultGrid`, in its order; empty for a failed trial."""
    return [{} if result.error else dict(result.metrics or {}) for result in results]


def pareto_front(trials: Sequence[Mapping[str, Any]], objectives: Objectives) -> list[int]:
    """Return the indices of the non-dominated trials, best first objective first.

    A trial dominates another one if it is no worse in any objective and better in at least one. Trials that lack an
    objective, or have no finite number for it, have failed and are never on the front. Of equal trials the first is
    taken.

    >>> trials = [{"accuracy": 0.9, "bytes": 50}, {"accuracy": 0.7, "bytes": 60}, {"accuracy": 0.8, "bytes": 10}]
    >>> pareto_front(trials, {"accuracy": "max", "bytes": "min"})
    [0, 2]
    """
    costs = _costs(trials, objectives)
    front: list[int] = []
    for index in np.lexsort(costs.T[::-1]):
        row = costs[index]
        if np.isfinite(row).all() and not any((costs[other] <= row).all() for other in front):
            front.append(int(index))
    return front


def joins_front(search: SearchConfig, folder: SearchDir, report: TrialReport) -> bool:
    """Return whether no finished trial in a search's folder is as good as one with this last report."""
    finished = [trial.objectives for trial in folder.trials() if trial.state == "finished"]
    return len(finished) in pareto_front([*finished, report.objectives], search.directions)


def hypervolume(trials: Sequence[Mapping[str, Any]], objectives: Objectives, worst: Mapping[str, float]) -> float:
    """Return the volume between the front and the reference point `worst`, in the product of the objectives' units.

    Trials beyond `worst` add nothing. (Zitzler and Thiele, 1998; computed by slices along the last objective.)
    Raises ConfigError if `worst` lacks an objective.

    >>> trials = [{"accuracy": 0.9, "bytes": 50}, {"accuracy": 0.8, "bytes": 10}]
    >>> round(hypervolume(trials, {"accuracy": "max", "bytes": "min"}, {"accuracy": 0.0, "bytes": 100}), 6)
    77.0
    """
    if lacking := [name for name in objectives if name not in worst]:
        raise ConfigError(f"the worst point has no '{lacking[0]}'; give a value for every objective")
    corner = _costs([worst], objectives)[0]
    costs = _costs(trials, objectives)[pareto_front(trials, objectives)] if trials else np.empty((0, len(corner)))
    return _volume(costs[(costs < corner).all(1)], corner)


@dataclass(frozen=True)
class KneePoint:
    """The best trade-off on a front."""

    index: int
    """Of the trial."""
    reason: str


def knee_point(trials: Sequence[Mapping[str, Any]], objectives: Objectives, max_loss: float | None = None) -> KneePoint:
    """Return the trial on the front with the smallest total loss, each objective scaled from its best to its worst.

    0 is the front's best value of an objective and 1 its worst, so that units do not matter. With two objectives this
    is the trial furthest from the line between the front's ends (Das, Struct. Optim. 18, 1999). With `max_loss`, the
    front has only trials whose accuracy is at most that much below the best one's. Raises ConfigError if no trial
    succeeded.

    >>> trials = [{"accuracy": a, "bytes": b} for a, b in ((0.9, 100), (0.88, 20), (0.3, 10))]
    >>> knee_point(trials, {"accuracy": "max", "bytes": "min"}).index
    1
    """
    front = pareto_front(trials, objectives)
    floor = ""
    if front and max_loss is not None and objectives.get("accuracy") == "max":
        best = max(trials[index]["accuracy"] for index in front)
        front = [index for index in front if trials[index]["accuracy"] >= best - max_loss]
        floor = f" with an accuracy of at least {best - max_loss:.4g}"
    if not front:
        raise ConfigError("no trial has a number for every objective, so there is no front; look at why they failed")
    if len(front) == 1:
        return KneePoint(front[0], f"the only trial on the front{floor}")
    costs = _costs(trials, objectives)[front]
    span = np.ptp(costs, axis=0)
    scaled = (costs - costs.min(0)) / np.where(span > 0, span, 1.0)
    chosen = int(scaled.sum(1).argmin())
    signs = [-1.0 if direction == "max" else 1.0 for direction in objectives.values()]
    losses = [
        f"{name} {sign * costs[chosen, column]:.4g} is {scaled[chosen, column]:.0%} of the way from the best "
        f"({sign * costs[:, column].min():.4g}) to the worst ({sign * costs[:, column].max():.4g})"
        for column, (name, sign) in enumerate(zip(objectives, signs, strict=True))
    ]
    return KneePoint(front[chosen], f"the best trade-off of the {len(front)} on the front{floor}: {'; '.join(losses)}")


def _costs(trials: Sequence[Mapping[str, Any]], objectives: Objectives) -> Array:
    """Return float64 (trials, objectives), less is better; NaN where a trial has no number."""
    if not objectives:
        raise ConfigError("there is no objective; name at least one, like accuracy")
    costs = np.full((len(trials), len(objectives)), np.nan)
    for row, trial in enumerate(trials):
        for column, (name, direction) in enumerate(objectives.items()):
            value = trial.get(name)
            if isinstance(value, int | float | np.number):
                costs[row, column] = -float(value) if direction == "max" else float(value)
    return costs


def _volume(costs: Array, corner: Array) -> float:
    """Return the volume that points dominate, all of them below a corner."""
    if not len(costs):
        return 0.0
    if costs.shape[1] == 1:
        return float(corner[0] - costs.min())
    order = costs[:, -1].argsort(kind="stable")
    costs, total = costs[order], 0.0
    heights = np.append(costs[1:, -1], corner[-1]) - costs[:, -1]
    for count, height in enumerate(heights, start=1):
        if height > 0:
            total += float(height) * _volume(costs[:count, :-1], corner[:-1])
    return total
