"""Inference requests of the Open Inference Protocol v2.

Tensors travel as JSON or, with the binary tensor extension, as bytes after it. The classification extension returns
the most likely classes of `probabilities` as text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysplit.errors import RequestError
from raysplit.serving.args import Limits
from raysplit.serving.http.images import Upload, check_image_count
from raysplit.serving.oip import schema
from raysplit.serving.oip.protocol import (
    DATATYPES,
    FILES,
    HEADER_LENGTH,
    IMAGES,
    LABELS,
    PROBABILITIES,
    ServedModel,
)
from raysplit.serving.oip.tensors import pixels_from_bytes, pixels_from_json, strings_from_bytes, strings_from_json

_EXTRA_JSON_ITEMS = 1000
"""Lists, objects and values that a request may have in addition to those of its images."""


@dataclass(frozen=True)
class RequestedOutput:
    """An output that a client wants."""

    name: str
    binary: bool
    """As bytes after the JSON, not within it."""
    top: int | None
    """This many of the most likely classes as text in place of the tensor."""


@dataclass(frozen=True)
class InferRequest:
    """What a client wants to know, from either `images` or `files`."""

    id: str | None
    images: np.ndarray | None
    """uint8 (B, C, H, W), read-only."""
    files: tuple[Upload, ...]
    outputs: tuple[RequestedOutput, ...]


def parse_infer_request(body: bytes, header_length: str | None, model: ServedModel, limits: Limits) -> InferRequest:
    """Return the request in a body; `header_length` is the value of the header `HEADER_LENGTH`.

    Raises RequestError: 413 for too many images, 400 for anything malformed or not meant for this model.

    >>> body = b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 2, 2], "data": [0, 1, 2, 3]}]}'
    >>> request = parse_infer_request(body, None, ServedModel("digits", "1", ("zero", "one"), (1, 2, 2)), Limits())
    >>> request.images.tolist(), [output.name for output in request.outputs]
    ([[[[0, 1], [2, 3]]]], ['probabilities', 'labels'])
    """
    size = len(body) if header_length is None else _json_size(header_length, len(body))
    text = body if size == len(body) else body[:size]
    _check_json_size(text, model, limits)
    request = schema.parse_json(text)
    names = [tensor.name for tensor in request.inputs]
    for name in names:
        if name not in (IMAGES, FILES):
            raise RequestError(f"unknown input {name[:80]!r}; the model has '{IMAGES}' and '{FILES}'")
    if len(names) > 1:
        raise RequestError(f"got {len(names)} inputs ({', '.join(names)}); send one, '{IMAGES}' or '{FILES}'")
    images, files = _read_input(request.inputs[0], memoryview(body)[size:], model, limits)
    return InferRequest(request.id, images, files, _requested_outputs(request))


def _json_size(text: str, body_size: int) -> int:
    """Return the number of bytes of JSON before binary data."""
    # Count the digits first: Python refuses to parse numbers with thousands of them.
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    if not 0 < size <= body_size:
        raise RequestError(
            f"{HEADER_LENGTH} {text[:80]!r} is not the length of the JSON in a body of {body_size} bytes; binary data "
            "follows the JSON"
        )
    return size


def _check_json_size(text: bytes, model: ServedModel, limits: Limits) -> None:
    """Refuse JSON that would take far more memory as lists and numbers than as text."""
    channels, height, width = model.shape
    lists = limits.images * (1 + channels * (1 + height))
    values = limits.images * channels * height * width
    containers = text.count(b"[") + text.count(b"{")
    if containers > lists + _EXTRA_JSON_ITEMS or text.count(b",") > values + _EXTRA_JSON_ITEMS:
        raise RequestError(
            f"the JSON has more values than {limits.images} images of shape {list(model.shape)} (limits.images); "
            "send fewer images",
            413,
        )


def _read_input(
    tensor: schema.Input, binary: memoryview, model: ServedModel, limits: Limits
) -> tuple[np.ndarray | None, tuple[Upload, ...]]:
    """Return the pixels or the files of an input, given the bytes after the JSON."""
    label = f"input '{tensor.name}'"
    shapes = ([-1, *model.shape],) if tensor.name == IMAGES else ([-1, 1], [-1])
    if tensor.datatype != DATATYPES[tensor.name]:
        raise RequestError(f"{label} must have datatype {DATATYPES[tensor.name]}, not {tensor.datatype[:80]!r}")
    if not tensor.shape or tensor.shape[1:] not in [shape[1:] for shape in shapes]:
        known = " or ".join(map(str, shapes))
        raise RequestError(f"{label} must have shape {known} (-1: number of images), not {tensor.shape}")
    check_image_count(tensor.shape[0], limits)
    parameters = tensor.parameters or schema.InputParameters()
    if parameters.shared_memory_region is not None:
        raise RequestError(f"{label} is in shared memory, which this server does not support; send its data")
    size = parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise RequestError(f"{label} needs its data either in JSON ('data') or in binary ('binary_data_size')")
    if len(binary) != (size or 0):
        raise RequestError(
            f"{len(binary)} bytes follow the JSON, but binary_data_size of {label} is {size or 0}; {HEADER_LENGTH} "
            "must be the length of the JSON"
        )
    try:
        shape = tuple(tensor.shape)
        if tensor.name == IMAGES:
            return pixels_from_json(tensor.data, shape) if size is None else pixels_from_bytes(binary, shape), ()
        files = strings_from_json(tensor.data, shape) if size is None else strings_from_bytes(binary, shape[0])
    except RequestError as err:
        raise RequestError(f"{label}: {err}") from None
    return None, tuple(Upload(None, file) for file in files)


def _requested_outputs(request: schema.Request) -> tuple[RequestedOutput, ...]:
    """Return the outputs that a request lists, or all of them if it lists none."""
    known = (PROBABILITIES, LABELS)
    binary_default = request.parameters is not None and request.parameters.binary_data_output
    if not request.outputs:
        return tuple(RequestedOutput(name, binary_default, None) for name in known)
    outputs: list[RequestedOutput] = []
    for output in request.outputs:
        name, parameters = output.name[:80], output.parameters or schema.OutputParameters()
        if output.name not in known:
            raise RequestError(f"unknown output {name!r}; the model has '{PROBABILITIES}' and '{LABELS}'")
        if any(other.name == name for other in outputs):
            raise RequestError(f"output '{name}' is listed twice; list it once")
        if parameters.shared_memory_region is not None:
            raise RequestError(f"output '{name}' cannot be written to shared memory; receive it in the response")
        if parameters.classification is not None and name != PROBABILITIES:
            raise RequestError(f"output '{name}' does not support classification; request it of '{PROBABILITIES}'")
        binary = binary_default if parameters.binary_data is None else parameters.binary_data
        outputs.append(RequestedOutput(name, binary, parameters.classification))
    return tuple(outputs)
