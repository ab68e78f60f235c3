"""Base classes of configs and records, and the text of their validation errors."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from raysplit.errors import nearest
from raysplit.utils.typed_yaml import takes

Name = Annotated[str, Field(min_length=1)]
"""Text that is not empty."""


class Frozen(BaseModel):
    """A pydantic model that cannot change and refuses keys it does not know, with the nearest right one.

    A field with an alias has that name in files, and either name in Python.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, populate_by_name=True
    )

    def replaced(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated like a new one."""
        return type(self).model_validate({**dict(self), **changes})

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in value:
                if key not in known and key not in cls.model_fields:
                    raise ValueError(f"unknown key '{key}'. {nearest(str(key), known)}")
            for name, field in cls.model_fields.items():
                given = value.get(name, value.get(field.alias or name))
                if (
                    isinstance(given, bool)
                    and takes(field.annotation, int, float)
                    and not takes(field.annotation, bool)
                ):
                    raise ValueError(f"{name}: expected a number (got {given})")
        return value


class Record(BaseModel):
    """A frozen record of measurements, as files hold it. Unknown keys are ignored; NaN and infinity are valid."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=True, ser_json_inf_nan="constants")


def describe(err: ValidationError) -> str:
    """Return all problems in a pydantic error on one line, each as `key.path: problem`.

    >>> class Point(Frozen):
    ...     x: float
    >>> try:
    ...     Point(x="wide")
    ... except ValidationError as err:
    ...     print(describe(err))
    x: Input should be a valid number, unable to parse string as a number (got 'wide')
    """
    lines = []
    for problem in err.errors():
        path = ".".join(str(part) for part in problem["loc"])
        text, given = problem["msg"].removeprefix("Value error, "), problem["input"]
        got = "" if isinstance(given, dict) else f" (got {given!r})"
        if problem["type"].startswith("string_") and given in (None, ""):
            text, got = "is empty; give some text", ""
        lines.append(f"{path}: {text}{got}" if path else text)
    return "; ".join(lines)
