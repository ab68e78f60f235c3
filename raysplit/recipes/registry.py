"""The registry of recipes: configs by name, and those of a user's own files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from raysplit.config import EnsembleConfig, SplitConfig, describe, loads
from raysplit.errors import ConfigError, RaysplitError, nearest
from raysplit.utils.settings import read_text_file
from raysplit.utils.user_code import load_function

Config = TypeVar("Config", SplitConfig, EnsembleConfig)

_JOBS: dict[type, str] = {SplitConfig: "jobs/train_split.py", EnsembleConfig: "jobs/build_ensemble.py"}
_RECIPES: dict[str, SplitConfig | EnsembleConfig] = {}


def add(config: SplitConfig | EnsembleConfig) -> None:
    """Register a config under its own name; a later one replaces it."""
    _RECIPES[config.name] = config


def find_any(name: str) -> SplitConfig | EnsembleConfig:
    """Return a recipe's config of either kind; raises like `find`."""
    _check_name(name)
    try:
        return find(name, SplitConfig)
    except ConfigError as err:
        try:
            return find(name, EnsembleConfig)
        except ConfigError:
            raise err from None


def find(name: str, kind: type[Config]) -> Config:
    """Return a recipe's config by name, by `path.py:function`, or from a JSON file like a run's config.json.

    Raises ConfigError for an unknown name, for what is no text, and for a recipe of the other kind.
    """
    _check_name(name)
    if name.endswith(".json"):
        file = Path(name).expanduser()
        if not file.exists():
            raise ConfigError(f"recipe file {file} does not exist")
        return loads(kind, read_text_file(file, "a recipe"), where=str(file))
    if ".py:" in name:
        function = load_function(name)
        try:
            config = function()
        except ValidationError as err:
            raise ConfigError(f"{name}: {describe(err)}") from None
        except RaysplitError:
            raise
        except Exception as err:
            reason = " ".join(str(err).split())
            raise ConfigError(
                f"{name} raised {type(err).__name__}: {reason}; a recipe is called without arguments"
            ) from err
        if type(config) not in _JOBS:
            raise ConfigError(f"{name} returned {type(config).__name__}; a recipe returns a {kind.__name__}")
    elif name in _RECIPES:
        config = _RECIPES[name]
    else:
        raise ConfigError(f"no recipe is called '{name}'. {nearest(name, names(kind))}")
    if not isinstance(config, kind):
        raise ConfigError(f"recipe {name} is a {type(config).__name__}; it is for {_JOBS[type(config)]}")
    return config


def _check_name(name: object) -> None:
    if isinstance(name, str) and name:
        return
    if isinstance(name, SplitConfig | EnsembleConfig):
        raise ConfigError(f"{name.name} is a config already, which needs no recipe(); use it as it is")
    got = f"an object of {type(name).__name__}" if name != "" else "empty text"
    hint = "; call the function, it returns the config" if callable(name) else ""
    raise ConfigError(f"a recipe is a name, path.py:function or a .json file, as text; this is {got}{hint}")


def names(kind: type) -> list[str]:
    """Return the names of all recipes of a kind."""
    return sorted(name for name, config in _RECIPES.items() if isinstance(config, kind))
