"""YAML whose plain words are read by the kind of the field that they are for: `1` is text where a field holds text."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from raysplit.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but for numbers without a dot like 1e-3, which it takes for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)
_NULL = ("", "~", "null", "Null", "NULL")


def read_setting(setting: str, text: str, kind: Any) -> Any:
    """Return the value of a setting for a field of a `kind` (a type annotation); ConfigError for what is not YAML.

    A field that holds text takes the whole text as it is; quotes around it are left out. Other fields take YAML.

    >>> read_setting("cut=1", "1", str), read_setting("cut='1'", "'1'", str), read_setting("lr=1e-3", "1e-3", float)
    ('1', '1', 0.001)
    """
    plain = text.strip()
    if takes(kind, str) and plain[:1] not in ("'", '"'):
        return None if _is_null(plain, kind) else plain
    try:
        return read_as(text, kind)
    except yaml.YAMLError as err:
        reason = " ".join(str(err).split())
        remedy = "; put text that begins with * in quotes" if "alias" in reason else ""
        raise ConfigError(f"the value of setting '{setting}' is not YAML: {reason}{remedy}") from None


def read_as(text: str, kind: Any) -> Any:
    """Return the content of YAML text for a field of a `kind`; yaml.YAMLError for what is not YAML.

    >>> read_as("[1, no, 1.50]", list[str])
    ['1', 'no', '1.50']
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _construct(loader, node, kind)
    except RecursionError:
        raise yaml.YAMLError("an alias is part of what it stands for; write it out") from None
    finally:
        loader.dispose()


def kind_of_entry(kind: Any, key: str) -> Any:
    """Return the kind of an entry: a model's field, a sequence's item or a mapping's value; Any if unknown.

    >>> kind_of_entry(list[str], "0"), kind_of_entry(dict[str, int], "some"), kind_of_entry(float, "some")
    (<class 'str'>, <class 'int'>, typing.Any)
    """
    for one in _choices(kind):
        origin, args = get_origin(one), get_args(one)
        if isinstance(one, type) and not args and issubclass(one, BaseModel):
            for name, field in one.model_fields.items():
                if key in (name, field.alias):
                    return field.annotation
        elif isinstance(origin, type) and issubclass(origin, Mapping) and len(args) == 2:
            return args[1]
        elif isinstance(origin, type) and issubclass(origin, Sequence) and not key.isdigit():
            continue
        elif origin is tuple:
            fixed = args and args[-1] is not Ellipsis
            return args[int(key)] if fixed and int(key) < len(args) else args[0] if args else Any
        elif isinstance(origin, type) and issubclass(origin, Sequence) and args:
            return args[0]
    return Any


def _construct(loader: _Loader, node: yaml.Node, kind: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        if takes(kind, str) and node.style is None:
            return None if _is_null(node.value, kind) else node.value
    elif isinstance(node, yaml.SequenceNode):
        return [_construct(loader, item, kind_of_entry(kind, str(at))) for at, item in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode) and not any(key.tag.endswith(":merge") for key, _ in node.value):
        found = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                return loader.construct_object(node, deep=True)
            name = loader.construct_object(key, deep=True)
            if name in found:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{name}' is there twice; leave one out", key.start_mark
                )
            found[name] = _construct(loader, value, kind_of_entry(kind, str(name)))
        return found
    return loader.construct_object(node, deep=True)


def _is_null(text: str, kind: Any) -> bool:
    """Return whether text stands for no value; empty text does everywhere, for there is nothing to name."""
    return text == "" or (text in _NULL and takes(kind, types.NoneType))


def takes(kind: Any, *wanted: type) -> bool:
    """Return whether a kind is one of the wanted types, or a union with one of them.

    >>> takes(int | None, int, float), takes(list[int], int)
    (True, False)
    """
    return any(one in _choices(kind) for one in wanted)


def _choices(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the kind alone."""
    if get_origin(kind) is Annotated:
        return _choices(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(choice for member in get_args(kind) for choice in _choices(member))
    return (kind,)
