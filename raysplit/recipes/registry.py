"""Recipes by name: functions that return a full config, here or in a user's file."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from raysplit.config import EnsembleConfig, SplitConfig, describe
from raysplit.errors import ConfigError, nearest
from raysplit.userfile import load_function

Config = TypeVar("Config", SplitConfig, EnsembleConfig)

_JOBS: dict[type, str] = {SplitConfig: "jobs/train_split.py", EnsembleConfig: "jobs/build_ensemble.py"}
_RECIPES: dict[str, SplitConfig | EnsembleConfig] = {}


def add(config: SplitConfig | EnsembleConfig) -> None:
    """Register a config under its own name."""
    _RECIPES[config.name] = config


def find(name: str, kind: type[Config]) -> Config:
    """Return a recipe's config by name, or by `path.py:function`.

    Raises ConfigError for an unknown name, and for a recipe of something else.
    """
    if ".py:" in name:
        try:
            config = load_function(name)()
        except ValidationError as err:
            raise ConfigError(f"{name}: {describe(err)}") from None
        if type(config) not in _JOBS:
            raise ConfigError(f"{name} returned {type(config).__name__}, a recipe returns a {kind.__name__}")
    elif name in _RECIPES:
        config = _RECIPES[name]
    else:
        raise ConfigError(f"no recipe is called '{name}'. {nearest(name, names(kind))}")
    if not isinstance(config, kind):
        raise ConfigError(f"recipe {name} is a {type(config).__name__}; it is for {_JOBS[type(config)]}")
    return config


def names(kind: type) -> list[str]:
    """Return the names of all recipes of a kind."""
    return sorted(name for name, config in _RECIPES.items() if isinstance(config, kind))
