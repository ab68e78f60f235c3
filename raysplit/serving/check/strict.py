"""Strict validation: Ray Serve's own models ignore unknown keys at every level, these functions report them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ray.runtime_env import RuntimeEnv

from raysplit.errors import nearest
from raysplit.serving.check.finding import Finding, as_mapping, join_path

Model = TypeVar("Model", bound=BaseModel)
_MAX_VALUE_LENGTH = 60
"""Characters of a wrong value that a message repeats."""


def validate(model: type[Model], value: Any, path: str, findings: list[Finding]) -> Model | None:
    """Return a mapping as an instance of `model`, or None if it is invalid; problems are appended to `findings`.

    Nested models are validated one by one, from the inside, so that one error does not hide another. Unknown keys are
    findings but do not keep the rest from being validated.

    >>> from raysplit.serving.args import Limits
    >>> findings = []
    >>> validate(Limits, {"images": 8, "pixel": 100}, "args.limits", findings)
    Limits(body_mib=16.0, pixels=20000000, images=8)
    >>> print(findings[0])
    args.limits.pixel: unknown key. Nearest: pixels.
    """
    if not isinstance(value, Mapping):
        findings.append(Finding(path, f"must be a mapping of keys, not {_format_value(value)}"))
        return None
    known: dict[str, Any] = {}
    invalid: set[str] = set()
    for key, inner in value.items():
        where, field = join_path(path, key), model.model_fields.get(key)
        if field is None:
            findings.append(Finding(where, f"unknown key. {_hint(str(key), model)}"))
            continue
        if key == "runtime_env":
            findings.extend(_find_unknown_runtime_env_keys(inner, where))
        inner_model, in_list = _nested_model(field.annotation)
        if inner_model is not None and in_list and isinstance(inner, list):
            items = [validate(inner_model, item, join_path(where, index), findings) for index, item in enumerate(inner)]
            known[key] = [item for item in items if item is not None]
        elif inner_model is not None and not in_list and isinstance(inner, Mapping):
            instance = validate(inner_model, inner, where, findings)
            if instance is None:
                invalid.add(key)
            else:
                known[key] = instance
        else:
            known[key] = inner
    try:
        return model.model_validate(known)
    except ValidationError as err:
        findings.extend(_translate_errors(err, value, path, invalid))
    except Exception as err:  # validators of Serve that expect another type raise anything
        findings.append(Finding(path, f"{type(err).__name__}: {' '.join(str(err).split())}"))
    return None


def _nested_model(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the model that a field holds, if any, and whether it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) is dict:
        return None, False
    is_list = get_origin(annotation) in (list, tuple)
    for argument in get_args(annotation):
        model, in_list = _nested_model(argument)
        if model is not None:
            return model, is_list or in_list
    return None, False


def _hint(key: str, model: type[BaseModel]) -> str:
    nested = {name: _nested_model(field.annotation)[0] for name, field in model.model_fields.items()}
    owners = [name for name, inner in nested.items() if inner is not None and key in inner.model_fields]
    return f"It belongs in {' or '.join(owners)}." if owners else nearest(key, model.model_fields)


def _find_unknown_runtime_env_keys(value: Any, path: str) -> Iterator[Finding]:
    # Some are known with an underscore only within Ray.
    known = {name.removeprefix("_") for name in RuntimeEnv.known_fields}
    for key in as_mapping(value):
        if str(key).removeprefix("_") not in known:
            yield Finding(join_path(path, key), f"unknown key. {nearest(str(key), sorted(known))}")


def _translate_errors(
    err: ValidationError, value: Mapping[Any, Any], path: str, invalid: set[str]
) -> Iterator[Finding]:
    """Return pydantic's errors as findings, one per path; `invalid` keys were reported before."""
    messages: dict[str, list[str]] = {}
    suffixes: dict[str, str] = {}
    for error in err.errors():
        location, missing = error["loc"], error["type"] == "missing"
        if missing and location[0] in invalid:
            continue
        message = "is required" if missing else " ".join(error["msg"].removeprefix("Value error, ").split())
        if location:
            where, wrong = _follow(location, value, path)
        else:
            where, wrong = _find_key_in_message(message, value, path), value
        if missing:
            where = join_path(where, location[-1])
        elif error["type"] != "value_error" and not isinstance(wrong, Mapping | list):
            suffixes[where] = f" (got {_format_value(wrong)})"
        messages.setdefault(where, []).append(message)
    for where, texts in messages.items():
        yield Finding(where, " or ".join(dict.fromkeys(texts)) + suffixes.get(where, ""))


def _follow(location: tuple[int | str, ...], value: Any, path: str) -> tuple[str, Any]:
    """Return the path and the value at a location; names of the members of a union are no part of the path."""
    for part in location:
        items = dict(enumerate(value)) if isinstance(value, list) else as_mapping(value)
        if part not in items:
            break
        value = items[part]
        path = join_path(path, part)
    return path, value


def _find_key_in_message(message: str, value: Mapping[Any, Any], path: str) -> str:
    """Return the path of the first key that an error of a whole mapping mentions, or of the mapping."""
    return next((join_path(path, word) for word in re.findall(r"\w+", message) if word in value), path)


def _format_value(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}…"
