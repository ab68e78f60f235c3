"""Configs from plain data: recipe settings `key.path=value`, JSON, YAML; every error is one line that names its key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from raysplit.errors import ConfigError, nearest
from raysplit.utils.frozen import describe
from raysplit.utils.user_code import CLASS_PATH, UserClass

Config = TypeVar("Config", bound=BaseModel)


def parse(kind: type[Config], tree: Any, where: str) -> Config:
    """Build a config from plain data; everything wrong is one ConfigError line that names each key.

    >>> from raysplit.config import TrainConfig
    >>> parse(TrainConfig, {"epochs": 3, "lr": -1}, where="recipe demo")
    Traceback (most recent call last):
    raysplit.errors.ConfigError: recipe demo: lr: Input should be greater than 0 (got -1)
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as err:
        raise ConfigError(f"{where}: {describe(err)}") from None


def loads(kind: type[Config], text: str, where: str) -> Config:
    """Read a config from JSON text; ConfigError for what is not JSON, and as `parse`.

    >>> from raysplit.config import TrainConfig
    >>> loads(TrainConfig, '{"epochs": 3}', where="config.json").epochs
    3
    """
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
        raise ConfigError(f"{path} cannot be read: {err.strerror}; give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(err).split())}") from None


def read_named_or_file(kind: type[Config], named: Mapping[str, Config], text: str, what: str, hint: str = "") -> Config:
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

    Objects that the config holds in memory are kept, unless a setting replaces them. Raises ConfigError for a
    setting without `=`, an unknown key or a value of the wrong kind.

    >>> from raysplit.config import TrainConfig
    >>> with_settings(TrainConfig(), ["epochs=3", "lr=1e-3"], where="demo").lr
    0.001
    """
    tree = dict(config)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
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
    """Set one value; every node on the way to it becomes a dict or list of its own, all others stay as they are."""
    keys = path.split(".")
    node: Any = tree
    for depth, name in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            key: Any = int(name)
        elif isinstance(node, dict) and (name in node or (last and depth and keys[depth - 1] == "args")):
            key = name
        else:
            raise _unknown(node, name, ".".join(keys[:depth]), path)
        if last:
            node[key] = value
        else:
            node[key] = node = _editable(node[key])


def _editable(node: Any) -> Any:
    """Return a copy of a node whose entries can be set: a dict, a list, or the node itself where it has none."""
    if isinstance(node, str) and re.fullmatch(CLASS_PATH, node):
        node = UserClass(target=node)  # its `args` follow
    if isinstance(node, BaseModel | dict):
        return dict(node)
    return list(node) if isinstance(node, list | tuple) else node


def _unknown(node: Any, key: str, at: str, path: str) -> ConfigError:
    if node is None:
        return ConfigError(f"{at} is null, so {path} cannot be set; set all of it: '{at}={{{key}: …}}'")
    if not isinstance(node, dict | list | str | int | float):
        return ConfigError(
            f"{at} is an object in memory ({type(node).__name__}), so {path} cannot be set; replace {at}"
        )
    known = map(str, range(len(node))) if isinstance(node, list) else node if isinstance(node, dict) else ()
    return ConfigError(f"unknown key '{key}' in {at or 'the recipe'} (setting {path}). {nearest(key, known)}".rstrip())
