"""Which point to try next: Optuna's samplers, without points that were tried and those that cannot be."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ray.tune.search.optuna import OptunaSearch

from raysplit.errors import ConfigError, MissingExtra
from raysplit.search.pareto import Objectives, front
from raysplit.search.space import Config, Point, Space

try:
    import optuna
except ImportError as err:
    raise MissingExtra.of("optuna", "search", "a search") from err

_ASKS = 50
"""Times that the sampler is asked before a point is drawn from those that are left."""
_STARTUP = 8
"""Points before a sampler that learns has its say."""
_LOOKED_AT = 2000
"""Points that are looked at before the first one is tried."""


class Sampler:
    """Hands out points and learns what came of them.

    `fault` tells of a config why it cannot be, or None; `refused` has the points that it refused, with the reason.
    `expected` tells which objectives a config will have, as far as that is known before training, or None. A point
    that no other beats in those is on the front whatever its accuracy: samplers that learn begin with such points,
    where there is an end of them (of more than 2,000, of a draw).
    """

    def __init__(
        self,
        space: Space,
        objectives: Objectives,
        kind: Literal["tpe", "random"],
        seed: int,
        fault: Callable[[Config], str | None],
        expected: Callable[[Config], Mapping[str, float] | None],
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._objectives, self._fault = space, objectives, fault
        self._distributions = OptunaSearch.convert_search_space(space.domains)
        self._random = random.Random(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
                "tpe": lambda: optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=_STARTUP, multivariate=True, constant_liar=True
                ),
                "random": lambda: optuna.samplers.RandomSampler(seed=seed),
            }
            up, down = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
            directions = [up if direction == "max" else down for direction in objectives.values()]
            self._study = optuna.create_study(sampler=samplers[kind](), directions=directions)
        self._tried: set[str] = set()
        self._open: dict[str, optuna.trial.Trial] = {}
        self.refused: list[tuple[Point, str]] = []
        for point in [] if kind == "random" else self._certain(expected):
            self._study.enqueue_trial(point)

    def _certain(self, expected: Callable[[Config], Mapping[str, float] | None]) -> list[Point]:
        """Return points that must be on the front, at most `_STARTUP`, evenly along it."""
        found: dict[str, tuple[Point, Mapping[str, float]]] = {}
        for point in self._space.some(_LOOKED_AT, self._random):
            config, reason = self._judged(point)
            if config is not None and reason is None and (known := expected(config)):
                found.setdefault(_key(config), (point, known))
        every = list(found.values())
        known_ones = {name: way for name, way in self._objectives.items() if every and name in every[0][1]}
        if not known_ones:
            return []
        best = front([known for _, known in every], known_ones)
        step = max(1.0, (len(best) - 1) / (_STARTUP - 1))
        chosen = [best[round(i * step)] for i in range(min(len(best), _STARTUP))]
        self._random.shuffle(chosen)
        return [every[index][0] for index in chosen]

    def next(self) -> tuple[Point, Config] | None:
        """Return a point that was not tried and its config; None when there are none left."""
        for _ in range(_ASKS):
            asked = self._study.ask(self._distributions)
            config = self._new(asked.params)
            if config is not None:
                self._open[_key(config)] = asked
                return dict(asked.params), config
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
        points = list(self._space.points() or ())
        self._random.shuffle(points)
        for point in points:
            config = self._new(point)
            if config is not None:
                return point, config
        return None

    def _new(self, point: Point) -> Config | None:
        """Return the config of a point that was not tried and can be."""
        config, reason = self._judged(point)
        key = repr(sorted(point.items())) if config is None else _key(config)
        if key in self._tried:
            return None
        self._tried.add(key)
        if reason is not None:
            self.refused.append((point, reason))
        return config if reason is None else None

    def _judged(self, point: Point) -> tuple[Config | None, str | None]:
        """Return the config of a point, None where its values do not go together, and why it cannot be."""
        try:
            config = self._space.config(point)
        except ConfigError as err:
            return None, str(err)
        return config, self._fault(config)

    def told(self, point: Point, values: Mapping[str, Any] | None) -> None:
        """Learn what came of a point, also of one that an earlier search tried; None: it failed."""
        config = self._space.config(point)
        self._tried.add(_key(config))
        asked = self._open.pop(_key(config), None)
        found = None if values is None else [float(values[name]) for name in self._objectives]
        fail = optuna.trial.TrialState.FAIL
        if asked is not None:
            self._study.tell(asked, found, state=fail if found is None else None)
        elif found is not None:
            self._study.add_trial(
                optuna.trial.create_trial(params=point, distributions=self._distributions, values=found)
            )


def _key(config: Config) -> str:
    return config.replaced(name="point").model_dump_json()
