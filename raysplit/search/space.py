"""Search spaces: a Python file with `param_space`, and what one of its points means as a config."""

from __future__ import annotations

import inspect
import itertools
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ray.tune.search.sample import Categorical, Domain, Float, Integer

from raysplit.config import EnsembleConfig, SplitConfig, describe
from raysplit.errors import ConfigError
from raysplit.utils.user_code import load_function

Config = SplitConfig | EnsembleConfig
Point = dict[str, Any]


class Space:
    """A space around a recipe.

    `param_space(recipe)` in the file returns Tune's domains by key. A key is a setting of the recipe, like `cut` or
    `schedule.level.channels`; or an argument of the function `recipe(recipe, *, …)`, if the file has one, which
    returns the recipe for those.
    """

    def __init__(self, name: str, base: Config):
        """Raises ConfigError for a file or function that is missing, and for keys and values that no config has."""
        self.name, self.base = name, base
        where = name if name.endswith(".py") else f"{name.replace('.', '/')}.py"
        if not Path(where).is_file():
            raise ConfigError(f"space '{name}': there is no file {where} here; name it like tune_spaces.cut_and_level")
        function = load_function(f"{where}:param_space")
        self._recipe: Callable[..., Config] | None = function.__globals__.get("recipe")
        self._own = set() if self._recipe is None else set(list(inspect.signature(self._recipe).parameters)[1:])
        self.domains: dict[str, Domain] = function(base)
        self._check()

    def config(self, point: Point) -> Config:
        """Return the recipe of a point; ConfigError where it has a key or value that no config has."""
        own = {key: value for key, value in point.items() if key in self._own}
        config = self.base
        if self._recipe is not None:
            try:
                config = self._recipe(config, **own)
            except ValidationError as err:
                raise ConfigError(f"space '{self.name}': {own}: {describe(err)}") from None
        settings = [f"{key}={_text(value)}" for key, value in point.items() if key not in own]
        try:
            return config.with_settings(settings)
        except ConfigError as err:
            raise ConfigError(f"space '{self.name}': {err}") from None

    def points(self) -> Iterator[Point] | None:
        """Return every point in turn, or None where there is no end of them."""
        values = [_values(domain) for domain in self.domains.values()]
        if any(found is None for found in values):
            return None
        return (dict(zip(self.domains, found, strict=True)) for found in itertools.product(*values))  # type: ignore[arg-type]

    def some(self, most: int, draw: random.Random) -> list[Point]:
        """Return every point, or as many drawn where there are more; none where there is no end of them."""
        values = [_values(domain) for domain in self.domains.values()]
        if any(found is None for found in values):
            return []
        finite: list[list[Any]] = values  # type: ignore[assignment]
        if math.prod(map(len, finite)) <= most:
            return list(self.points() or ())
        return [dict(zip(self.domains, map(draw.choice, finite), strict=True)) for _ in range(most)]

    def _check(self) -> None:
        """Build a config for each value of each key, the others at their first."""
        if not isinstance(self.domains, dict) or not self.domains:
            raise ConfigError(
                f"space '{self.name}': param_space returns a dict of Tune's domains, not {self.domains!r}"
            )
        for key, domain in self.domains.items():
            if not isinstance(domain, Categorical | Integer | Float):
                raise ConfigError(
                    f"space '{self.name}': {key} is {domain!r}; use tune.choice, randint, uniform or loguniform"
                )
        if lacking := self._own - set(self.domains):
            raise ConfigError(
                f"space '{self.name}': its function `recipe` wants {sorted(lacking)[0]}, param_space lacks it"
            )
        first = {key: _ends(domain)[0] for key, domain in self.domains.items()}
        for key, domain in self.domains.items():
            for value in _ends(domain):
                self.config(first | {key: value})


def _values(domain: Domain) -> list[Any] | None:
    if isinstance(domain, Categorical):
        return list(domain.categories)
    return list(range(domain.lower, domain.upper)) if isinstance(domain, Integer) else None


def _ends(domain: Any) -> list[Any]:
    """Return the values of a domain, or the lowest and highest of many."""
    if isinstance(domain, Categorical):
        return list(domain.categories)
    return [domain.lower, domain.upper - 1] if isinstance(domain, Integer) else [domain.lower, domain.upper]


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
