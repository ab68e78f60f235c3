"""Inference responses of the Open Inference Protocol v2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysplit.serving.oip.protocol import DATATYPES, HEADER_LENGTH, LABELS, ServedModel
from raysplit.serving.oip.request import InferRequest, RequestedOutput
from raysplit.serving.oip.tensors import strings_to_bytes

Parameter = str | int | float | bool
"""What the protocol allows as a parameter."""


@dataclass(frozen=True)
class InferResponse:
    """Body and HTTP headers of a response."""

    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class _Tensor:
    """An output; its values are float32, or strings in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: np.ndarray | list[str]

    def to_bytes(self) -> bytes:
        if isinstance(self.values, list):
            return strings_to_bytes(self.values)
        return self.values.astype("<f4").tobytes()

    def to_json(self) -> list[Any]:
        return self.values if isinstance(self.values, list) else self.values.ravel().tolist()


def build_infer_response(
    model: ServedModel,
    request: InferRequest,
    probabilities: np.ndarray,
    parameters: Mapping[str, Parameter] | None = None,
) -> InferResponse:
    """Return the response to a request, from float32 probabilities (B, classes).

    `parameters` become the parameters of the response.

    >>> model = ServedModel("digits", "1", ("zero", "one"), (1, 2, 2))
    >>> request = InferRequest(None, np.zeros((1, 1, 2, 2), np.uint8), (), (RequestedOutput("labels", False, None),))
    >>> response = build_infer_response(model, request, np.array([[0.25, 0.75]], np.float32))
    >>> json.loads(response.body)["outputs"]
    [{'name': 'labels', 'datatype': 'BYTES', 'shape': [1], 'data': ['one']}]
    """
    outputs, binary_tensors = [], []
    for output in request.outputs:
        tensor = _make_tensor(output, model, probabilities)
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if output.binary:
            binary_tensors.append(tensor.to_bytes())
            entry["parameters"] = {"binary_data_size": len(binary_tensors[-1])}
        else:
            entry["data"] = tensor.to_json()
        outputs.append(entry)
    answer: dict[str, Any] = {} if request.id is None else {"id": request.id}
    answer |= {"model_name": model.name, "model_version": model.version}
    if parameters:
        answer["parameters"] = dict(parameters)
    answer["outputs"] = outputs
    text = json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
    if not any(output.binary for output in request.outputs):
        return InferResponse(text, {"Content-Type": "application/json"})
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return InferResponse(b"".join((text, *binary_tensors)), headers)


def _make_tensor(output: RequestedOutput, model: ServedModel, probabilities: np.ndarray) -> _Tensor:
    name = output.name
    if name == LABELS:
        labels = [model.classes[best] for best in probabilities.argmax(1)]
        return _Tensor(name, DATATYPES[name], (len(labels),), labels)
    if output.top is None:
        return _Tensor(name, DATATYPES[name], probabilities.shape, probabilities)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, : output.top]
    classes = [
        f"{float(row[index]):f}:{index}:{model.classes[index]}"
        for row, indices in zip(probabilities, best, strict=True)
        for index in indices
    ]
    return _Tensor(name, "BYTES", best.shape, classes)
