"""The Open Inference Protocol v2 over HTTP: what a model says of itself, requests read, answers written.

Tensors travel as JSON or, by the binary tensor extension, as bytes after it. The classification extension returns
the likeliest classes of `probabilities` as text. An answer that is an error is `{"error": text}`.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysplit.errors import RequestError
from raysplit.serving.args import Limits
from raysplit.serving.http.images import Upload, check_count
from raysplit.serving.oip import schema as wire
from raysplit.serving.oip.tensors import (
    pixels_from_bytes,
    pixels_from_json,
    strings_from_bytes,
    strings_from_json,
    strings_to_bytes,
)

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header with the bytes of JSON before those of tensors, in requests and answers."""
IMAGES, FILES = "images", "files"
"""Inputs: UINT8 (B, C, H, W), and BYTES (B) of encoded JPEG or PNG files, base64 where they are in JSON."""
PROBABILITIES, LABELS = "probabilities", "labels"
"""Outputs: FP32 (B, classes), and BYTES (B), the name of the likeliest class."""
_DATATYPES = {IMAGES: "UINT8", FILES: "BYTES"}
_OUTPUTS = (PROBABILITIES, LABELS)
_OTHERS = 1000
"""Lists, objects and values that a request may have beside those of its images."""


@dataclass(frozen=True)
class ServedModel:
    """A model as its clients know it."""

    name: str
    version: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of its images."""

    def check(self, name: str, version: str | None = None) -> None:
        """Raise RequestError, 404, when a URL names another model or version."""
        if name != self.name:
            raise RequestError(f"there is no model {name[:80]!r} here, but '{self.name}'", 404)
        if version not in (None, self.version):
            raise RequestError(f"there is no version {version[:80]!r} of '{name}', but '{self.version}'", 404)

    def metadata(self) -> dict[str, Any]:
        """Return the answer to `/v2/models/NAME`; a request has one of the two inputs."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "raysplit",
            "inputs": [
                {"name": IMAGES, "datatype": "UINT8", "shape": [-1, *self.shape]},
                {"name": FILES, "datatype": "BYTES", "shape": [-1]},
            ],
            "outputs": [
                {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, len(self.classes)]},
                {"name": LABELS, "datatype": "BYTES", "shape": [-1]},
            ],
        }


def server_metadata() -> dict[str, Any]:
    """Return the answer to `/v2`."""
    return {
        "name": "raysplit",
        "version": importlib.metadata.version("raysplit"),
        "extensions": ["binary_tensor_data", "classification"],
    }


@dataclass(frozen=True)
class RequestedOutput:
    """An output that is asked for."""

    name: str
    binary: bool
    top: int | None
    """Likeliest classes as text instead of the tensor."""


@dataclass(frozen=True)
class InferRequest:
    """What a client asks; either `images` or `files` are there."""

    id: str | None
    images: np.ndarray | None
    """uint8 (B, C, H, W), read-only."""
    files: tuple[Upload, ...]
    outputs: tuple[RequestedOutput, ...]


def parse_infer(body: bytes, header_length: str | None, served: ServedModel, limits: Limits) -> InferRequest:
    """Return what the body of an inference request asks; `header_length` is that HTTP header.

    Raises RequestError: 413 for too many images, 400 for anything that is malformed or not of this model.
    """
    size = len(body) if header_length is None else _header_size(header_length, len(body))
    text = body if size == len(body) else body[:size]
    _check_json(text, served, limits)
    request = wire.read_request(text)
    names = [one.name for one in request.inputs]
    for name in names:
        if name not in _DATATYPES:
            raise RequestError(f"there is no input {name[:80]!r}, but {' and '.join(_DATATYPES)}")
    if len(names) > 1:
        raise RequestError(f"inputs {', '.join(names)}: send '{IMAGES}' or '{FILES}', and it once")
    images, files = _tensor(request.inputs[0], memoryview(body)[size:], served, limits)
    return InferRequest(request.id, images, files, _wanted(request))


def answer_infer(
    served: ServedModel,
    request: InferRequest,
    probabilities: np.ndarray,
    parameters: Mapping[str, str | int | float | bool] | None = None,
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the HTTP headers of the answer, from float32 probabilities (B, classes).

    `parameters` go into the answer's own.
    """
    outputs, tensors = [], []
    for wanted in request.outputs:
        output, values = _output(wanted, served, probabilities)
        if wanted.binary:
            raw = strings_to_bytes(values) if isinstance(values, list) else values.astype("<f4").tobytes()
            tensors.append(raw)
            output["parameters"] = {"binary_data_size": len(raw)}
        else:
            output["data"] = values if isinstance(values, list) else values.ravel().tolist()
        outputs.append(output)
    answer: dict[str, Any] = {} if request.id is None else {"id": request.id}
    answer |= {"model_name": served.name, "model_version": served.version}
    if parameters:
        answer["parameters"] = dict(parameters)
    answer["outputs"] = outputs
    header = json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
    if not any(wanted.binary for wanted in request.outputs):
        return header, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return b"".join((header, *tensors)), headers


def _header_size(text: str, length: int) -> int:
    """Return the bytes of JSON before binary data."""
    # Digits are counted first: Python refuses to read numbers of thousands of them.
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    if not 0 < size <= length:
        raise RequestError(
            f"{HEADER_LENGTH} {text[:80]!r} is not the length of the JSON in a body of {length} bytes; the binary "
            "data comes after it"
        )
    return size


def _check_json(text: bytes, served: ServedModel, limits: Limits) -> None:
    """Refuse what would cost far more memory as lists and numbers than as text."""
    channels, height, width = served.shape
    lists = limits.images * (1 + channels * (1 + height))
    values = limits.images * channels * height * width
    containers = text.count(b"[") + text.count(b"{")
    if containers > lists + _OTHERS or text.count(b",") > values + _OTHERS:
        raise RequestError(
            f"the JSON holds more than {limits.images} images of shape {list(served.shape)} have (limits.images); "
            "send fewer",
            413,
        )


def _tensor(
    tensor: wire.Input, binary: memoryview, served: ServedModel, limits: Limits
) -> tuple[np.ndarray | None, tuple[Upload, ...]]:
    """Return pixels or files from an input and the bytes after the JSON."""
    where = f"input '{tensor.name}'"
    expected = [-1, *served.shape] if tensor.name == IMAGES else [-1]
    if tensor.datatype != _DATATYPES[tensor.name]:
        raise RequestError(f"{where} is {_DATATYPES[tensor.name]}, not {tensor.datatype[:80]!r}")
    if len(tensor.shape) != len(expected) or tensor.shape[1:] != expected[1:]:
        raise RequestError(f"{where} has the shape {expected}, -1 for the number of images, not {tensor.shape}")
    check_count(tensor.shape[0], limits)
    parameters = tensor.parameters or wire.InputParameters()
    if parameters.shared_memory_region is not None:
        raise RequestError(f"{where} is in shared memory, which this server does not read; send its data")
    size = parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise RequestError(f"{where} needs its data, either in JSON ('data') or binary ('binary_data_size')")
    if len(binary) != (size or 0):
        raise RequestError(
            f"{len(binary)} bytes are after the JSON, but binary_data_size of {where} is {size or 0}; "
            f"{HEADER_LENGTH} says how long the JSON is"
        )
    try:
        if tensor.name == IMAGES:
            shape = tuple(tensor.shape)
            return pixels_from_json(tensor.data, shape) if size is None else pixels_from_bytes(binary, shape), ()
        count = tensor.shape[0]
        files = strings_from_json(tensor.data, count) if size is None else strings_from_bytes(binary, count)
    except RequestError as err:
        raise RequestError(f"{where}: {err}") from None
    return None, tuple(Upload(None, file) for file in files)


def _wanted(request: wire.Request) -> tuple[RequestedOutput, ...]:
    """Return the outputs that are asked for; all of them if none is named."""
    binary = request.parameters is not None and request.parameters.binary_data_output
    if not request.outputs:
        return tuple(RequestedOutput(name, binary, None) for name in _OUTPUTS)
    found: list[RequestedOutput] = []
    for output in request.outputs:
        name, parameters = output.name[:80], output.parameters or wire.OutputParameters()
        if output.name not in _OUTPUTS:
            raise RequestError(f"there is no output {name!r}, but {' and '.join(_OUTPUTS)}")
        if any(wanted.name == name for wanted in found):
            raise RequestError(f"output '{name}' is asked for twice; ask once")
        if parameters.shared_memory_region is not None:
            raise RequestError(f"output '{name}' is wanted in shared memory, which this server does not write")
        if parameters.classification is not None and name != PROBABILITIES:
            raise RequestError(f"output '{name}' has no classification; '{PROBABILITIES}' has")
        chosen = binary if parameters.binary_data is None else parameters.binary_data
        found.append(RequestedOutput(name, chosen, parameters.classification))
    return tuple(found)


def _output(
    wanted: RequestedOutput, served: ServedModel, probabilities: np.ndarray
) -> tuple[dict[str, Any], np.ndarray | list[str]]:
    """Return an output's description, and its values in row-major order."""
    values: np.ndarray | list[str] = probabilities
    datatype, shape = "BYTES", [len(probabilities)]
    if wanted.name == LABELS:
        values = [served.classes[best] for best in probabilities.argmax(1)]
    elif wanted.top is None:
        datatype, shape = "FP32", list(probabilities.shape)
    else:
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : wanted.top]
        shape = list(best.shape)
        values = [
            f"{float(row[index]):f}:{index}:{served.classes[index]}"
            for row, indices in zip(probabilities, best, strict=True)
            for index in indices
        ]
    return {"name": wanted.name, "datatype": datatype, "shape": shape}, values
