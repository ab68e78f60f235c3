"""The JSON of an inference request of the Open Inference Protocol v2: its keys and their types."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from raysplit.errors import RequestError

_MAX_ITEMS = 8
"""In lists whose right length is known to be less, so that a long one is refused before its items are checked."""
_Size = Annotated[int, Field(ge=0, lt=2**63)]


class _Wire(BaseModel):
    """A part of a request; keys that we do not know are passed over, as the protocol's extensions have it."""

    model_config = ConfigDict(strict=True, frozen=True)


class InputParameters(_Wire):
    binary_data_size: _Size | None = None
    shared_memory_region: Any = None


class Input(_Wire):
    name: str
    shape: Annotated[list[_Size], Field(max_length=_MAX_ITEMS)]
    datatype: str
    parameters: InputParameters | None = None
    data: Any = None


class OutputParameters(_Wire):
    binary_data: bool | None = None
    classification: Annotated[_Size, Field(ge=1)] | None = None
    shared_memory_region: Any = None


class Output(_Wire):
    name: str
    parameters: OutputParameters | None = None


class RequestParameters(_Wire):
    binary_data_output: bool = False


class Request(_Wire):
    id: str | None = None
    inputs: Annotated[list[Input], Field(min_length=1, max_length=_MAX_ITEMS)]
    outputs: Annotated[list[Output], Field(max_length=_MAX_ITEMS)] | None = None
    parameters: RequestParameters | None = None


def read_request(text: bytes) -> Request:
    """Return a request from its JSON; RequestError says where it is malformed."""
    try:
        # In two steps: model_validate_json holds all numbers twice.
        return Request.model_validate(from_json(text))
    except ValidationError as err:
        # Without the client's data, which may be long.
        fault = err.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(part) for part in fault["loc"])
        raise RequestError(f"malformed inference request: {path + ': ' if path else ''}{fault['msg']}") from None
    except ValueError as err:
        raise RequestError(f"malformed inference request: not JSON: {err}") from None
