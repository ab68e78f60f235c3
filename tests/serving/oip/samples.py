"""A served model, requests to it and its probabilities, for the tests of the Open Inference Protocol."""

from __future__ import annotations

import json

import numpy as np
import pytest

from raysplit.errors import RequestError
from raysplit.serving.args import Limits
from raysplit.serving.oip.protocol import ServedModel
from raysplit.serving.oip.request import RequestedOutput, parse_infer_request

MODEL = ServedModel("digits", "0123456789ab", ("cat", "dog", "Käfer"), (3, 2, 4))
LIMITS = Limits(images=4)
PIXELS = np.arange(48, dtype=np.uint8).reshape(2, 3, 2, 4)
PROBABILITIES = np.array([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75]], np.float32)
IMAGES = {"name": "images", "datatype": "UINT8", "shape": [2, 3, 2, 4]}
BOTH = (RequestedOutput("probabilities", False, None), RequestedOutput("labels", False, None))


def request(data=None, **changes):
    """Return the body of a request with two images, as JSON unless `binary` bytes are given, and the header's value."""
    binary = changes.pop("binary", None)
    one = IMAGES | ({"data": PIXELS.ravel().tolist()} if data is None and binary is None else {})
    one |= {"data": data} if data is not None else {}
    one |= {"parameters": {"binary_data_size": len(binary)}} if binary is not None else {}
    header = json.dumps({"inputs": [one]} | changes).encode()
    return (header + (binary or b""), str(len(header)) if binary is not None else None)


def parse(body, length=None, limits=LIMITS):
    return parse_infer_request(body, length, MODEL, limits)


def refused(body, length=None, limits=LIMITS):
    with pytest.raises(RequestError) as raised:
        parse(body, length, limits)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400
    return raised.value.status, str(raised.value)
