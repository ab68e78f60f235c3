"""Which point to try next: Optuna's samplers, without repeated and infeasible points."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ray.tune.search.optuna import OptunaSearch

from raysplit.config.search import Objectives, Recipe
from raysplit.errors import ConfigError, MissingExtra
from raysplit.records.trial import RefusedPoint
from raysplit.search.pareto import pareto_front
from raysplit.search.space import Point, Space

try:
    import optuna
except ImportError as err:
    raise MissingExtra.of("optuna", "search", "a search") from err

_MAX_ASKS = 50
"""Points that Optuna proposes in vain before one is drawn from those that are left."""
_STARTUP_TRIALS = 8
"""Trials before the model-based sampler takes over."""
_MAX_FORECASTS = 2000
"""Points that are costed before the first one is tried."""


@dataclass(frozen=True)
class Candidate:
    """A point to try, and its config."""

    point: Point
    config: Recipe


class Sampler:
    """Proposes points and learns from what they reached.

    Args:
        space: where points come from.
        objectives: names with their directions.
        kind: Optuna's multi-objective TPE, or random points.
        seed: of the sampler.
        find_fault: returns why a config is infeasible, or None.
        forecast: returns the objectives of a config that are known before training, or None.

    A point that no other one dominates in its forecast objectives is on the front whatever its accuracy: TPE starts
    with such points, where the space is finite (of more than 2,000 points, from a random sample of as many).
    `refused` has the points that were rejected.
    """

    def __init__(
        self,
        space: Space,
        objectives: Objectives,
        kind: Literal["tpe", "random"],
        seed: int,
        find_fault: Callable[[Recipe], str | None],
        forecast: Callable[[Recipe], Mapping[str, float] | None],
    ):
        self._space, self._objectives, self._find_fault = space, objectives, find_fault
        self._distributions = OptunaSearch.convert_search_space(space.domains)
        self._random = random.Random(seed)
        self._study = _create_study(objectives, kind, seed)
        self._tried: set[str] = set()
        self._running: dict[str, optuna.trial.Trial] = {}
        self.refused: list[RefusedPoint] = []
        if kind != "random":
            for point in self._starting_points(forecast):
                self._study.enqueue_trial(point)

    def ask(self) -> Candidate | None:
        """Return a point that was not tried yet; None if there is none left."""
        for _ in range(_MAX_ASKS):
            proposal = self._study.ask(self._distributions)
            config = self._accept(proposal.params)
            if config is not None:
                self._running[_key(config)] = proposal
                return Candidate(dict(proposal.params), config)
            self._study.tell(proposal, state=optuna.trial.TrialState.FAIL)
        points = list(self._space.points() or ())
        self._random.shuffle(points)
        for point in points:
            config = self._accept(point)
            if config is not None:
                return Candidate(point, config)
        return None

    def tell(self, point: Point, objectives: Mapping[str, float] | None) -> None:
        """Learn what a point reached, also one that an earlier search tried; None: it failed."""
        config = self._space.build_config(point)
        self._tried.add(_key(config))
        proposal = self._running.pop(_key(config), None)
        values = None if objectives is None else [float(objectives[name]) for name in self._objectives]
        if proposal is not None:
            self._study.tell(proposal, values, state=optuna.trial.TrialState.FAIL if values is None else None)
        elif values is not None:
            self._study.add_trial(
                optuna.trial.create_trial(params=point, distributions=self._distributions, values=values)
            )

    def _starting_points(self, forecast: Callable[[Recipe], Mapping[str, float] | None]) -> list[Point]:
        """Return points that are certain to be on the front, at most `_STARTUP_TRIALS`, evenly along it."""
        costed: dict[str, tuple[Point, Mapping[str, float]]] = {}
        for point in self._space.sample_points(_MAX_FORECASTS, self._random):
            try:
                config = self._space.build_config(point)
            except ConfigError:
                continue
            if self._find_fault(config) is None and (known := forecast(config)):
                costed.setdefault(_key(config), (point, known))
        points = [point for point, _ in costed.values()]
        values = [value for _, value in costed.values()]
        objectives = {name: way for name, way in self._objectives.items() if values and name in values[0]}
        if not objectives:
            return []
        front = pareto_front(values, objectives)
        step = max(1.0, (len(front) - 1) / (_STARTUP_TRIALS - 1))
        chosen = [front[round(i * step)] for i in range(min(len(front), _STARTUP_TRIALS))]
        self._random.shuffle(chosen)
        return [points[index] for index in chosen]

    def _accept(self, point: Point) -> Recipe | None:
        """Return the config of a point that is new and feasible; keep the reason for one that is refused."""
        try:
            config = self._space.build_config(point)
        except ConfigError as err:
            if self._is_new(repr(sorted(point.items()))):
                self.refused.append(RefusedPoint(point=point, reason=str(err)))
            return None
        if not self._is_new(_key(config)):
            return None
        fault = self._find_fault(config)
        if fault is not None:
            self.refused.append(RefusedPoint(point=point, reason=fault))
            return None
        return config

    def _is_new(self, key: str) -> bool:
        """Return whether a key is met for the first time, and remember it."""
        if key in self._tried:
            return False
        self._tried.add(key)
        return True


def _create_study(objectives: Objectives, kind: Literal["tpe", "random"], seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    up, down = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
    directions = [up if direction == "max" else down for direction in objectives.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler: optuna.samplers.BaseSampler
        if kind == "tpe":
            sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=_STARTUP_TRIALS, multivariate=True, constant_liar=True
            )
        else:
            sampler = optuna.samplers.RandomSampler(seed=seed)
        return optuna.create_study(sampler=sampler, directions=directions)


def _key(config: Recipe) -> str:
    """Return what distinguishes a config from others: all but its name."""
    return config.replaced(name="point").model_dump_json()
