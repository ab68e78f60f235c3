"""Configs from plain data: recipe settings `key.path=value`, JSON of a run record, one clear line for each fault."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from raysplit.errors import ConfigError, nearest
from raysplit.utils.frozen import Frozen, describe

Config = TypeVar("Config", bound=Frozen)
Model = TypeVar("Model", bound=BaseModel)


def parse(kind: type[Model], tree: Any, where: str) -> Model:
    """Build a config or a record from plain data; every fault becomes one ConfigError line that names its key."""
    try:
        return kind.model_validate(tree)
    except ValidationError as err:
        raise ConfigError(f"{where}: {describe(err)}") from None


def loads(kind: type[Model], text: str, where: str) -> Model:
    """Read a config or a record from JSON text, as a run record holds it."""
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as err:
        raise ConfigError(f"{where} is not JSON: {err}") from None
    return parse(kind, tree, where)


def read_yaml(path: str) -> Any:
    """Return the content of a YAML file; ConfigError, one line that names the file, where it cannot be read."""
    try:
        return yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(f"{path} cannot be read: {err.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(err).split())}") from None


def named_or_file(kind: type[Config], named: Mapping[str, Config], text: str, what: str, hint: str = "") -> Config:
    """Return one of the configs that are known by name, or one from a YAML file.

    Raises ConfigError, with the nearest name and `hint`, for what is neither, and for a file that does not describe
    a `kind`.
    """
    if text in named:
        return named[text]
    if not Path(text).expanduser().is_file():
        raise ConfigError(
            f"'{text}' is neither a {what} nor a file that describes one. {nearest(text, named)} {hint}".rstrip()
        )
    return parse(kind, read_yaml(text), where=f"{what} file '{text}'")


def with_settings(config: Config, settings: Iterable[str], where: str) -> Config:
    """Return a copy with `key.path=value` settings applied; values are read as YAML.

    Raises ConfigError for a setting without `=`, an unknown key or a value of the wrong kind.
    """
    tree = config.model_dump(mode="json")
    for setting in settings:
        path, eq, text = setting.partition("=")
        if not eq:
            raise ConfigError(f"setting '{setting}' has no '='; write key.path=value")
        _put(tree, path, _value(setting, text))
    return parse(type(config), tree, where)


def _value(setting: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as err:
        reason = " ".join(str(err).split())
        raise ConfigError(f"the value of setting '{setting}' is not YAML: {reason}") from None
    try:
        # YAML 1.1 reads 1e-3 as text, because it has no dot.
        return float(value) if isinstance(value, str) and value[:1] in "+-.0123456789" else value
    except ValueError:
        return value


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    keys = path.split(".")
    here: Any = tree
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(here, list) and key.isdigit() and int(key) < len(here):
            place: Any = int(key)
        elif isinstance(here, dict) and (key in here or (last and keys[-3:-1] == ["model", "args"])):
            place = key
        else:
            known = [str(i) for i in range(len(here))] if isinstance(here, list) else list(here) if here else []
            at = ".".join(keys[:depth]) or "the recipe"
            if here is None:
                raise ConfigError(f"{at} is null, so {path} cannot be set; set all of it: '{at}={{{key}: …}}'")
            raise ConfigError(f"unknown key '{key}' in {at} (setting {path}). {nearest(key, known)}")
        if last:
            here[place] = value
        else:
            here = here[place] if isinstance(here, list) else here.get(place)
