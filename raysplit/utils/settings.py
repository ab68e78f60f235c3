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
from raysplit.utils.typed_yaml import kind_of_entry, read_as, read_setting
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
    """Read a config from JSON text; ConfigError for what is not JSON, for a key that is there twice, and as `parse`.

    >>> from raysplit.config import TrainConfig
    >>> loads(TrainConfig, '{"epochs": 3}', where="config.json").epochs
    3
    """
    try:
        tree = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as err:
        raise ConfigError(f"{where} is not JSON: {err}") from None
    except _TwiceError as err:
        raise ConfigError(f"{where}: {err}") from None
    return parse(kind, tree, where)


class _TwiceError(ValueError):
    """A key that a JSON object has twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        name = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
        raise _TwiceError(f"the key '{name}' is there twice; leave one out")
    return found


def read_text_file(path: Path, what: str) -> str:
    """Return the content of a text file; ConfigError, which says `what` was wanted, where it cannot be read.

    >>> read_text_file(Path("nothing.json"), "a recipe")
    Traceback (most recent call last):
    raysplit.errors.ConfigError: nothing.json cannot be read: No such file or directory; give the path of a recipe
    """
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except OSError as err:
        raise ConfigError(f"{path} cannot be read: {err.strerror}; give the path of {what}") from None
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path} is not UTF-8 text ({err.reason}); give the path of {what}") from None


def read_yaml(path: str, kind: Any) -> Any:
    """Return the content of a YAML file that describes a `kind`, whose texts stay texts (`typed_yaml.read_as`).

    Raises ConfigError, one line that names the file, where it cannot be read.
    """
    text = read_text_file(Path(path), "a YAML file")
    try:
        return read_as(text, kind)
    except yaml.YAMLError as err:
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
    return parse(kind, read_yaml(text, kind), where=f"{what} file '{text}'")


def with_settings(config: Config, settings: Iterable[str], where: str) -> Config:
    """Return a copy with `key.path=value` settings applied; values are read by `read_setting`.

    Objects that the config holds in memory are kept, unless a setting replaces them. Raises ConfigError for a
    setting without `=`, an unknown key or a value of the wrong kind.

    >>> from raysplit.config import TrainConfig
    >>> with_settings(TrainConfig(), ["epochs=3", "lr=1e-3"], where="demo").lr
    0.001
    """
    if isinstance(settings, str):
        raise ConfigError(f"settings are a list of texts, not one text; write ['{settings}']")
    tree = _entries(config)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"setting '{setting}' has no '='; write key.path=value")
        _put(tree, config, path, setting, text)
    return parse(type(config), tree, where)


def _put(tree: dict[str, Any], config: BaseModel, path: str, setting: str, text: str) -> None:
    """Set one value; every node on the way to it becomes a dict or list of its own, all others stay as they are."""
    keys = path.split(".")
    node: Any = tree
    kind: Any = type(config)
    origin: Any = config
    """What the config had in the node's place: it tells the kind where the field alone does not."""
    for depth, name in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            key: Any = int(name)
        elif isinstance(node, dict) and (name in node or (last and depth and keys[depth - 1] == "args")):
            key = name
        else:
            raise _unknown(node, name, ".".join(keys[:depth]), path)
        kind, origin = kind_of_entry(kind, name), _entry(origin, key)
        if last:
            node[key] = read_setting(setting, text, kind)
        else:
            kind = type(origin) if isinstance(origin, BaseModel) else kind
            node[key] = node = _editable(node[key])


def _entries(model: BaseModel) -> dict[str, Any]:
    """Return a model's entries by the names that files have for them: a field's alias, if it has one."""
    return {field.alias or name: getattr(model, name) for name, field in type(model).model_fields.items()}


def _entry(node: Any, key: str | int) -> Any:
    if isinstance(node, BaseModel):
        return _entries(node).get(str(key))
    if isinstance(node, list | tuple) and isinstance(key, int):
        return node[key] if key < len(node) else None
    return None


def _editable(node: Any) -> Any:
    """Return a copy of a node whose entries can be set: a dict, a list, or the node itself where it has none."""
    if isinstance(node, str) and re.fullmatch(CLASS_PATH, node):
        node = UserClass(target=node)  # its `args` follow
    if isinstance(node, BaseModel):
        return _entries(node)
    if isinstance(node, dict):
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
