"""Search spaces: a Python file with `param_space`, and the config that each point stands for."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError
from ray.tune.search.sample import Categorical, Domain, Float, Integer

from raysplit.config.search import Recipe
from raysplit.errors import ConfigError
from raysplit.search.space_file import find_space_file
from raysplit.utils.frozen import describe
from raysplit.utils.user_code import create, load_function

Point = dict[str, Any]
"""A value for each key of a space."""


class Space:
    """A space around a recipe.

    `param_space(recipe)` in the file returns Tune's domains by key. A key is a setting of the recipe, like `cut` or
    `schedule.level.channels`, or an argument of the file's own function `recipe(recipe, *, …)`, if it has one, which
    returns the recipe for those arguments.

    Raises ConfigError for a missing file or function, and for keys and values that no config has.
    """

    def __init__(self, name: str, base: Recipe):
        self.name, self.base = name, base
        function = load_function(f"{find_space_file(name)}:param_space")
        self._make_recipe: Callable[..., Recipe] | None = function.__globals__.get("recipe")
        self._recipe_args: set[str] = set()
        if self._make_recipe is not None:
            self._recipe_args = set(list(inspect.signature(self._make_recipe).parameters)[1:])
        self.domains: dict[str, Domain] = create(function, f"space '{name}'", base)
        self._check()

    def build_config(self, point: Point) -> Recipe:
        """Return the recipe of a point; ConfigError if it has a key or a value that no config has."""
        args = {key: value for key, value in point.items() if key in self._recipe_args}
        config = self.base
        if self._make_recipe is not None:
            try:
                config = self._make_recipe(config, **args)
            except ValidationError as err:
                raise ConfigError(f"space '{self.name}': {args}: {describe(err)}") from None
        settings = [f"{key}={_format_setting(value)}" for key, value in point.items() if key not in args]
        try:
            return config.with_settings(settings)
        except ConfigError as err:
            raise ConfigError(f"space '{self.name}': {err}") from None

    def points(self) -> Iterator[Point] | None:
        """Return every point in turn, or None for an infinite space."""
        values = self._finite_values()
        if values is None:
            return None
        return (dict(zip(self.domains, combination, strict=True)) for combination in itertools.product(*values))

    def sample_points(self, limit: int, rng: random.Random) -> list[Point]:
        """Return every point, or `limit` random ones of a larger space; none of an infinite space."""
        values = self._finite_values()
        if values is None:
            return []
        if math.prod(map(len, values)) <= limit:
            return list(self.points() or ())
        return [dict(zip(self.domains, map(rng.choice, values), strict=True)) for _ in range(limit)]

    def _finite_values(self) -> list[list[Any]] | None:
        """Return the values of each key, or None if a key has infinitely many."""
        values = []
        for domain in self.domains.values():
            if isinstance(domain, Categorical):
                values.append(list(domain.categories))
            elif isinstance(domain, Integer):
                values.append(list(range(domain.lower, domain.upper)))
            else:
                return None
        return values

    def _check(self) -> None:
        """Build a config for each value of each key, the other keys at their first value."""
        if not isinstance(self.domains, dict) or not self.domains:
            raise ConfigError(
                f"space '{self.name}': param_space must return a dict of Tune's domains, not {self.domains!r}"
            )
        for key, domain in self.domains.items():
            if not isinstance(domain, Categorical | Integer | Float):
                raise ConfigError(
                    f"space '{self.name}': {key} is {domain!r}; use tune.choice, randint, uniform or loguniform"
                )
        if missing := self._recipe_args - set(self.domains):
            raise ConfigError(
                f"space '{self.name}': its function `recipe` takes {sorted(missing)[0]}, which param_space lacks"
            )
        first = {key: _boundary_values(domain)[0] for key, domain in self.domains.items()}
        for key, domain in self.domains.items():
            for value in _boundary_values(domain):
                self.build_config(first | {key: value})


def _boundary_values(domain: Domain) -> list[Any]:
    """Return all values of a choice, the lowest and the highest of a range."""
    if isinstance(domain, Categorical):
        return list(domain.categories)
    if isinstance(domain, Integer):
        return [domain.lower, domain.upper - 1]
    assert isinstance(domain, Float)
    return [domain.lower, domain.upper]


def _format_setting(value: Any) -> str:
    """Return a value as the text of a setting; text is quoted, so that it stays text."""
    return json.dumps(value, ensure_ascii=False, default=str)
