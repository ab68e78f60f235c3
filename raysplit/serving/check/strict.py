"""Validation that takes nothing for granted: Ray Serve's own models let unknown keys pass, at every level."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ray.runtime_env import RuntimeEnv

from raysplit.errors import nearest
from raysplit.serving.check.finding import Finding, at, mapping

M = TypeVar("M", bound=BaseModel)
_LONGEST = 60
"""Characters of a wrong value that a message repeats."""


def validated(model: type[M], given: Any, path: str, findings: list[Finding]) -> M | None:
    """Return a mapping as the model, or None for one that it is not; add what is wrong to `findings`.

    Models within models are validated one by one, from the inside, so that a fault does not hide another. Unknown
    keys are findings but do not keep the rest from being validated.
    """
    if not isinstance(given, Mapping):
        findings.append(Finding(path, f"must be a mapping of keys, not {_shown(given)}"))
        return None
    known: dict[str, Any] = {}
    faulty: set[str] = set()
    for key, value in given.items():
        where, field = at(path, key), model.model_fields.get(key)
        if field is None:
            findings.append(Finding(where, f"unknown key. {_hint(str(key), model)}"))
            continue
        if key == "runtime_env":
            findings.extend(_unknown_in_runtime_env(value, where))
        inner, many = _model_in(field.annotation)
        if inner is not None and many and isinstance(value, list):
            items = [validated(inner, item, at(where, index), findings) for index, item in enumerate(value)]
            known[key] = [item for item in items if item is not None]
        elif inner is not None and not many and isinstance(value, Mapping):
            known[key] = validated(inner, value, where, findings)
            if known[key] is None:
                del known[key]
                faulty.add(key)
        else:
            known[key] = value
    try:
        return model.model_validate(known)
    except ValidationError as err:
        findings.extend(_faults(err, given, path, faulty))
    except Exception as err:  # validators of Serve's that expect another type raise anything
        findings.append(Finding(path, f"{type(err).__name__}: {' '.join(str(err).split())}"))
    return None


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the model that a field holds, if any, and whether it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) is dict:
        return None, False
    many = get_origin(annotation) in (list, tuple)
    for argument in get_args(annotation):
        inner, within = _model_in(argument)
        if inner is not None:
            return inner, many or within
    return None, False


def _hint(key: str, model: type[BaseModel]) -> str:
    inner = {name: _model_in(field.annotation)[0] for name, field in model.model_fields.items()}
    owners = [name for name, within in inner.items() if within is not None and key in within.model_fields]
    return f"It belongs in {' or '.join(owners)}." if owners else nearest(key, model.model_fields)


def _unknown_in_runtime_env(value: Any, path: str) -> Iterator[Finding]:
    # Some have an underscore inside Ray only.
    known = {name.removeprefix("_") for name in RuntimeEnv.known_fields}
    for key in value if isinstance(value, Mapping) else ():
        if str(key).removeprefix("_") not in known:
            yield Finding(at(path, key), f"unknown key. {nearest(str(key), sorted(known))}")


def _faults(err: ValidationError, given: Mapping[Any, Any], path: str, faulty: set[str]) -> Iterator[Finding]:
    texts: dict[str, list[str]] = {}
    got: dict[str, str] = {}
    for fault in err.errors():
        place, missing = fault["loc"], fault["type"] == "missing"
        if missing and place[0] in faulty:
            continue
        text = "is required" if missing else " ".join(fault["msg"].removeprefix("Value error, ").split())
        where, value = _follow(place, given, path) if place else (_named(text, given, path), given)
        if missing:
            where = at(where, place[-1])
        elif fault["type"] != "value_error" and not isinstance(value, Mapping | list):
            got[where] = f" (got {_shown(value)})"
        texts.setdefault(where, []).append(text)
    for where, found in texts.items():
        yield Finding(where, " or ".join(dict.fromkeys(found)) + got.get(where, ""))


def _follow(place: tuple[int | str, ...], value: Any, path: str) -> tuple[str, Any]:
    """Return the path of what is at a place, and it itself; the names of a union's members are no part of it."""
    for part in place:
        items = dict(enumerate(value)) if isinstance(value, list) else mapping(value)
        if part not in items:
            break
        value = items[part]
        path = at(path, part)
    return path, value


def _named(text: str, given: Mapping[Any, Any], path: str) -> str:
    """Return the path of the key that a fault of a whole mapping speaks of first, or of the mapping."""
    return next((at(path, word) for word in re.findall(r"\w+", text) if word in given), path)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
