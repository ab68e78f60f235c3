"""The JSON of inference requests and responses of the Open Inference Protocol v2: keys and their types."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from raysplit.errors import RequestError

_MAX_ITEMS = 8
"""Upper bound for short lists, so that a long one is refused before its items are validated."""
_Size = Annotated[int, Field(ge=0, lt=2**63)]


class _RequestModel(BaseModel):
    """Part of a request. Unknown keys are ignored, as extensions of the protocol require."""

    model_config = ConfigDict(strict=True, frozen=True)


class InputParameters(_RequestModel):
    """Parameters of an input."""

    binary_data_size: _Size | None = None
    """Bytes of the tensor after the JSON; None: the tensor is in `data`."""
    shared_memory_region: Any = None


class Input(_RequestModel):
    """An input tensor."""

    name: str
    shape: Annotated[list[_Size], Field(max_length=_MAX_ITEMS)]
    datatype: str
    parameters: InputParameters | None = None
    data: Any = None


class OutputParameters(_RequestModel):
    """Parameters of a requested output."""

    binary_data: bool | None = None
    """Send the tensor as bytes after the JSON; None: as the request's `binary_data_output` says."""
    classification: Annotated[_Size, Field(ge=1)] | None = None
    """Send this many of the most likely classes as text in place of the tensor."""
    shared_memory_region: Any = None


class Output(_RequestModel):
    """A requested output."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(_RequestModel):
    """Parameters of the request as a whole."""

    binary_data_output: bool = False


class Request(_RequestModel):
    """An inference request."""

    id: str | None = None
    inputs: Annotated[list[Input], Field(min_length=1, max_length=_MAX_ITEMS)]
    outputs: Annotated[list[Output], Field(max_length=_MAX_ITEMS)] | None = None
    parameters: RequestParameters | None = None


class OutputTensor(BaseModel):
    """An output of a response; its data is in row-major order, or follows the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = None
    """`binary_data_size` for a tensor that follows the JSON."""
    data: list[float] | list[str] | None = None


class ResponseParameters(BaseModel):
    """Parameters of a response."""

    degraded: bool
    """Some sub-models did not answer and their features were filled in."""
    missing: str
    """Numbers of these sub-models, with commas between them."""


class InferResponse(BaseModel):
    """An inference response."""

    id: str | None = None
    model_name: str
    model_version: str
    parameters: ResponseParameters
    outputs: list[OutputTensor]


def parse_json(text: bytes) -> Request:
    """Return the request in a JSON text; RequestError names the key that is malformed.

    >>> parse_json(b'{"inputs": [{"name": "images", "shape": [1, 1, 2, 2], "datatype": "UINT8"}]}').inputs[0].shape
    [1, 1, 2, 2]
    >>> parse_json(b'{"inputs": []}')
    Traceback (most recent call last):
    ...
    raysplit.errors.RequestError: malformed inference request: inputs: List should have at least 1 item after \
validation, not 0
    """
    try:
        # In two steps: model_validate_json holds all numbers twice.
        return Request.model_validate(from_json(text))
    except ValidationError as err:
        # Without the client's data, which may be long.
        error = err.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(part) for part in error["loc"])
        raise RequestError(f"malformed inference request: {path + ': ' if path else ''}{error['msg']}") from None
    except ValueError as err:
        raise RequestError(f"malformed inference request: not JSON: {err}") from None
