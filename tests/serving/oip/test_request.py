"""Inference requests: by hand, malformed, and random."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.errors import RequestError
from raysplit.serving.http.images import Upload
from raysplit.serving.oip.protocol import HEADER_LENGTH
from raysplit.serving.oip.request import InferRequest, RequestedOutput
from raysplit.serving.oip.response import build_infer_response
from tests.examples import examples
from tests.serving.oip.samples import BOTH, IMAGES, MODEL, PIXELS, PROBABILITIES, parse, refused, request


@pytest.mark.parametrize(
    "sent",
    [request(), request(PIXELS.tolist()), request(binary=PIXELS.tobytes()), (request()[0], str(len(request()[0])))],
)
def test_images(sent):
    found = parse(*sent)
    assert found.images.dtype == np.uint8 and np.array_equal(found.images, PIXELS)
    assert (found.id, found.files, found.outputs) == (None, (), BOTH)


def test_binary_images_are_not_copied():
    body, length = request(binary=PIXELS.tobytes())
    assert np.shares_memory(parse(body, length).images, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize("shape", [[3], [3, 1]])
def test_files(shape):
    files = [b"\xff\xd8\xff", b"", b"\x89PNG"]
    one = {"name": "files", "datatype": "BYTES", "shape": shape}
    encoded = np.array([base64.b64encode(file).decode() for file in files])
    flat, nested = (
        json.dumps({"id": "é", "inputs": [one | {"data": data}]}).encode()
        for data in (encoded.tolist(), encoded.reshape(shape).tolist())
    )
    raw = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    header = json.dumps({"id": "é", "inputs": [one | {"parameters": {"binary_data_size": len(raw)}}]}).encode()
    for found in (parse(flat), parse(nested), parse(header + raw, str(len(header)))):
        assert found == InferRequest("é", None, tuple(Upload(None, file) for file in files), BOTH)


def test_outputs():
    binary = {"binary_data_output": True}
    outputs = [
        {"name": "labels", "parameters": {"binary_data": False}},
        {"name": "probabilities", "parameters": {"classification": 2}},
    ]
    assert parse(*request(parameters=binary)).outputs == (
        RequestedOutput("probabilities", True, None),
        RequestedOutput("labels", True, None),
    )
    assert parse(*request(outputs=[])).outputs == BOTH
    assert parse(*request(outputs=outputs)).outputs == (
        RequestedOutput("labels", False, None),
        RequestedOutput("probabilities", False, 2),
    )
    assert [one.binary for one in parse(*request(outputs=outputs, parameters=binary)).outputs] == [False, True]


def input_with(**changes):
    return json.dumps({"inputs": [IMAGES | {"data": [0] * 48} | changes]}).encode()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"hello", "malformed inference request: not JSON"),
        (input_with(name="image"), "unknown input 'image'; the model has 'images' and 'files'"),
        (input_with(name="x" * 999), "unknown input 'xxx"),
        (
            json.dumps({"inputs": [IMAGES, IMAGES]}).encode(),
            "got 2 inputs (images, images); send one, 'images' or 'files'",
        ),
        (input_with(datatype="FP32"), "input 'images' must have datatype UINT8, not 'FP32'"),
        (input_with(name="files", shape=[2]), "input 'files' must have datatype BYTES, not 'UINT8'"),
        (
            input_with(name="files", datatype="BYTES", shape=[1, 2]),
            "input 'files' must have shape [-1, 1] or [-1] (-1: number of images), not [1, 2]",
        ),
        (input_with(name="files", datatype="BYTES", shape=[]), "input 'files' must have shape [-1, 1] or [-1]"),
        (
            input_with(name="files", datatype="BYTES", shape=[2, 1], data=["YQ=="]),
            "input 'files': got 1 values, but shape [2, 1] has 2",
        ),
        (
            input_with(shape=[2, 2, 4, 3]),
            "input 'images' must have shape [-1, 3, 2, 4] (-1: number of images), not [2, 2, 4, 3]",
        ),
        (input_with(shape=[3, 2, 4]), "input 'images' must have shape [-1, 3, 2, 4]"),
        (input_with(shape=[]), "input 'images' must have shape [-1, 3, 2, 4]"),
        (input_with(shape=[-1, 3, 2, 4]), "malformed inference request: inputs.0.shape.0: Input should be greater"),
        (input_with(shape=[2**64 + 2, 3, 2, 4]), "malformed inference request: inputs.0.shape.0: Input should be less"),
        (input_with(shape=[0, 3, 2, 4], data=[]), "the request has no image"),
        (input_with(shape=[1, 3, 2, 4]), "input 'images': got 48 values, but shape [1, 3, 2, 4] has 24"),
        (input_with(data=None), "input 'images' needs its data either in JSON"),
        (input_with(data=[256] * 48), "input 'images': value 0 is not an integer from 0 to 255"),
        (input_with(data=[float("nan")] * 48), "input 'images': value 0 is not an integer from 0 to 255"),
        (input_with(parameters={"binary_data_size": 48}), "input 'images' needs its data either in JSON"),
        (
            input_with(data=None, parameters={"binary_data_size": 48}),
            "0 bytes follow the JSON, but binary_data_size",
        ),
        (input_with(data=None, parameters={"shared_memory_region": "r"}), "input 'images' is in shared memory"),
        (
            request(outputs=[{"name": "logits"}])[0],
            "unknown output 'logits'; the model has 'probabilities' and 'labels'",
        ),
        (request(outputs=[{"name": "labels"}] * 2)[0], "output 'labels' is listed twice"),
        (
            request(outputs=[{"name": "labels", "parameters": {"classification": 1}}])[0],
            "output 'labels' does not support classification",
        ),
        (
            request(outputs=[{"name": "labels", "parameters": {"shared_memory_region": "r"}}])[0],
            "output 'labels' cannot be written to shared memory",
        ),
    ],
)
def test_faults(body, fault):
    status, text = refused(body)
    assert text.startswith(fault) and status == 400


def test_too_much():
    many = IMAGES | {"shape": [5, 3, 2, 4], "data": [0] * 120}
    assert refused(json.dumps({"inputs": [many]}).encode())[0] == 413
    assert refused(input_with(shape=[2**62, 3, 2, 4]))[0] == 413
    for item in (b"0", b"[]", b"{}", b"[0]"):
        body = b'{"inputs": [{"name": "images", "data": [' + item + (b"," + item) * 10_000 + b"]}]}"
        assert refused(body) == (
            413,
            "the JSON has more values than 4 images of shape [3, 2, 4] (limits.images); send fewer images",
        )


@pytest.mark.parametrize("length", ["", "0", "-1", "+1", "1.0", "x", "９", "1" * 5000, "99999", " 5"])
def test_bad_header_length(length):
    status, text = refused(request()[0], length)
    assert status == 400 and text.startswith(HEADER_LENGTH)


@pytest.mark.parametrize("change", [-1, 1])
def test_binary_data_of_another_size(change):
    raw = PIXELS.tobytes()
    body, length = request(binary=raw)
    cut = body[:-1] if change < 0 else body + b"x"
    assert refused(cut, length) == (
        400,
        f"{48 + change} bytes follow the JSON, but binary_data_size of input 'images' is 48; "
        f"{HEADER_LENGTH} must be the length of the JSON",
    )
    assert refused(*request(binary=raw + b"x"))[1] == "input 'images': got 49 bytes, but shape [2, 3, 2, 4] has 48"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def usually(*values):
    """Return a strategy of valid values, and of anything else."""
    return st.sampled_from(values) | JSON


def keys(**strategies):
    """Return a strategy of objects with some of these keys."""
    return st.fixed_dictionaries({}, optional=strategies)


TENSOR = st.fixed_dictionaries(
    {
        "name": usually("images", "files"),
        "shape": usually([1, 3, 2, 4], [1], [1, 1], [0]),
        "datatype": usually("UINT8", "BYTES"),
    },
    optional={
        "data": usually([0] * 24, ["YQ=="], [[0] * 24]),
        "parameters": keys(binary_data_size=usually(24, 5, 0), shared_memory_region=JSON) | JSON,
    },
)
OUTPUT = keys(name=usually("probabilities", "labels"), parameters=keys(binary_data=JSON, classification=JSON) | JSON)
REQUEST = keys(
    id=usually("a"),
    inputs=st.lists(TENSOR | JSON, max_size=2) | JSON,
    outputs=st.lists(OUTPUT | JSON, max_size=2) | JSON,
    parameters=keys(binary_data_output=usually(True)) | JSON,
)


@examples(300)
@given(REQUEST | JSON, st.sampled_from([b"", bytes(24), b"\1\0\0\0a"]) | st.binary(max_size=30), st.booleans())
def test_any_json_is_answered_or_refused(document, binary, whole):
    header = json.dumps(document).encode()
    try:
        found = parse(header + (b"" if whole else binary), None if whole else str(len(header)))
    except RequestError as err:
        assert err.status in (400, 413)
    else:
        build_infer_response(MODEL, found, PROBABILITIES)


@examples(200)
@given(st.binary(max_size=200), st.none() | st.integers(-3, 210).map(str) | st.text(max_size=5))
def test_any_bytes_are_refused(body, length):
    refused(body, length)
