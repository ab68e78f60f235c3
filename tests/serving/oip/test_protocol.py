"""The Open Inference Protocol: by hand, by Triton's own client, and by chance."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.errors import RequestError
from raysplit.serving.args import Limits
from raysplit.serving.http.images import Upload
from raysplit.serving.oip.protocol import (
    HEADER_LENGTH,
    InferRequest,
    RequestedOutput,
    ServedModel,
    answer_infer,
    parse_infer,
    server_metadata,
)

SERVED = ServedModel("digits", "0123456789ab", ("cat", "dog", "Käfer"), (3, 2, 4))
LIMITS = Limits(images=4)
PIXELS = np.arange(48, dtype=np.uint8).reshape(2, 3, 2, 4)
PROBABILITIES = np.array([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75]], np.float32)
IMAGES = {"name": "images", "datatype": "UINT8", "shape": [2, 3, 2, 4]}
BOTH = (RequestedOutput("probabilities", False, None), RequestedOutput("labels", False, None))


def request(data=None, **changes):
    """Return the body of a request of two images, JSON unless `binary` bytes are given."""
    binary = changes.pop("binary", None)
    one = IMAGES | ({"data": PIXELS.ravel().tolist()} if data is None and binary is None else {})
    one |= {"data": data} if data is not None else {}
    one |= {"parameters": {"binary_data_size": len(binary)}} if binary is not None else {}
    header = json.dumps({"inputs": [one]} | changes).encode()
    return (header + (binary or b""), str(len(header)) if binary is not None else None)


def parse(body, length=None, limits=LIMITS):
    return parse_infer(body, length, SERVED, limits)


def refused(body, length=None, limits=LIMITS):
    with pytest.raises(RequestError) as raised:
        parse(body, length, limits)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400
    return raised.value.status, str(raised.value)


def test_metadata():
    assert SERVED.metadata()["inputs"][0] == {"name": "images", "datatype": "UINT8", "shape": [-1, 3, 2, 4]}
    assert SERVED.metadata()["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
    assert SERVED.metadata()["versions"] == ["0123456789ab"]
    assert server_metadata()["extensions"] == ["binary_tensor_data", "classification"]


def test_names_and_versions():
    SERVED.check("digits")
    SERVED.check("digits", "0123456789ab")
    for name, version in (("letters", None), ("letters", "0123456789ab"), ("digits", "1")):
        with pytest.raises(RequestError, match=r"there is no (model 'letters'|version '1')") as raised:
            SERVED.check(name, version)
        assert raised.value.status == 404


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


def test_files():
    files = [b"\xff\xd8\xff", b"", b"\x89PNG"]
    one = {"name": "files", "datatype": "BYTES", "shape": [3]}
    text = json.dumps({"id": "é", "inputs": [one | {"data": [base64.b64encode(file).decode() for file in files]}]})
    raw = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    header = json.dumps({"id": "é", "inputs": [one | {"parameters": {"binary_data_size": len(raw)}}]}).encode()
    for found in (parse(text.encode()), parse(header + raw, str(len(header)))):
        assert found == InferRequest("é", None, tuple(Upload(None, file) for file in files), BOTH)


def test_outputs():
    binary = {"binary_data_output": True}
    asked = [
        {"name": "labels", "parameters": {"binary_data": False}},
        {"name": "probabilities", "parameters": {"classification": 2}},
    ]
    assert parse(*request(parameters=binary)).outputs == (
        RequestedOutput("probabilities", True, None),
        RequestedOutput("labels", True, None),
    )
    assert parse(*request(outputs=[])).outputs == BOTH
    assert parse(*request(outputs=asked)).outputs == (
        RequestedOutput("labels", False, None),
        RequestedOutput("probabilities", False, 2),
    )
    assert [one.binary for one in parse(*request(outputs=asked, parameters=binary)).outputs] == [False, True]


def input_with(**changes):
    return json.dumps({"inputs": [IMAGES | {"data": [0] * 48} | changes]}).encode()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"hello", "malformed inference request: not JSON"),
        (input_with(name="image"), "there is no input 'image', but images and files"),
        (input_with(name="x" * 999), "there is no input 'xxx"),
        (json.dumps({"inputs": [IMAGES, IMAGES]}).encode(), "inputs images, images: send 'images' or 'files', and it"),
        (input_with(datatype="FP32"), "input 'images' is UINT8, not 'FP32'"),
        (input_with(name="files", shape=[2]), "input 'files' is BYTES, not 'UINT8'"),
        (input_with(shape=[2, 2, 4, 3]), "input 'images' has the shape [-1, 3, 2, 4], -1 for the number of images,"),
        (input_with(shape=[3, 2, 4]), "input 'images' has the shape [-1, 3, 2, 4]"),
        (input_with(shape=[]), "input 'images' has the shape [-1, 3, 2, 4]"),
        (input_with(shape=[-1, 3, 2, 4]), "malformed inference request: inputs.0.shape.0: Input should be greater"),
        (input_with(shape=[2**64 + 2, 3, 2, 4]), "malformed inference request: inputs.0.shape.0: Input should be less"),
        (input_with(shape=[0, 3, 2, 4], data=[]), "there is no image in the request"),
        (input_with(shape=[1, 3, 2, 4]), "input 'images': 48 values are not the 24 of shape [1, 3, 2, 4]"),
        (input_with(data=None), "input 'images' needs its data, either in JSON"),
        (input_with(data=[256] * 48), "input 'images': value 0 is not a whole number of 0 to 255"),
        (input_with(data=[float("nan")] * 48), "input 'images': value 0 is not a whole number of 0 to 255"),
        (input_with(parameters={"binary_data_size": 48}), "input 'images' needs its data, either in JSON"),
        (
            input_with(data=None, parameters={"binary_data_size": 48}),
            "0 bytes are after the JSON, but binary_data_size",
        ),
        (input_with(data=None, parameters={"shared_memory_region": "r"}), "input 'images' is in shared memory"),
        (request(outputs=[{"name": "logits"}])[0], "there is no output 'logits', but probabilities and labels"),
        (request(outputs=[{"name": "labels"}] * 2)[0], "output 'labels' is asked for twice"),
        (
            request(outputs=[{"name": "labels", "parameters": {"classification": 1}}])[0],
            "output 'labels' has no classification",
        ),
        (
            request(outputs=[{"name": "labels", "parameters": {"shared_memory_region": "r"}}])[0],
            "output 'labels' is wanted in shared memory",
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
            "the JSON holds more than 4 images of shape [3, 2, 4] have (limits.images); send fewer",
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
        f"{48 + change} bytes are after the JSON, but binary_data_size of input 'images' is 48; "
        f"{HEADER_LENGTH} says how long the JSON is",
    )
    assert refused(*request(binary=raw + b"x"))[1] == "input 'images': 49 bytes are not the 48 of shape [2, 3, 2, 4]"


def test_answer_in_json():
    asked = InferRequest("7", PIXELS, (), (*BOTH, RequestedOutput("probabilities", False, 2)))
    body, headers = answer_infer(SERVED, asked, PROBABILITIES, {"degraded": True, "missing": "1,2"})
    assert headers == {"Content-Type": "application/json"}
    assert json.loads(body) == {
        "id": "7",
        "model_name": "digits",
        "model_version": "0123456789ab",
        "parameters": {"degraded": True, "missing": "1,2"},
        "outputs": [
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 3],
                "data": [0.25, 0.5, 0.25, 0.125, 0.125, 0.75],
            },
            {"name": "labels", "datatype": "BYTES", "shape": [2], "data": ["dog", "Käfer"]},
            {
                "name": "probabilities",
                "datatype": "BYTES",
                "shape": [2, 2],
                "data": ["0.500000:1:dog", "0.250000:0:cat", "0.750000:2:Käfer", "0.125000:0:cat"],
            },
        ],
    }


def test_float32_in_json_is_exact():
    values = np.random.default_rng(0).random((5, 3), np.float32)
    body, _ = answer_infer(SERVED, InferRequest(None, None, (), BOTH[:1]), values)
    answer = json.loads(body)
    assert "id" not in answer and "parameters" not in answer
    assert np.array_equal(np.float32(answer["outputs"][0]["data"]).reshape(5, 3), values)


def test_tritonclient():
    """What its encoders send is read, and what is answered its decoders read."""
    http = pytest.importorskip("tritonclient.http")
    for binary in (True, False):
        images = http.InferInput("images", [2, 3, 2, 4], "UINT8")
        images.set_data_from_numpy(PIXELS, binary_data=binary)
        outputs = [
            http.InferRequestedOutput("probabilities", binary_data=binary),
            http.InferRequestedOutput("labels", binary_data=not binary),
        ]
        for asked in (outputs, None):
            body, length = http.InferenceServerClient.generate_request_body([images], outputs=asked, request_id="r1")
            found = parse(body, None if length is None else str(length))
            assert np.array_equal(found.images, PIXELS) and found.id == "r1"
            answer, headers = answer_infer(SERVED, found, PROBABILITIES)
            size = headers.get(HEADER_LENGTH)
            result = http.InferenceServerClient.parse_response_body(answer, header_length=size and int(size))
            assert np.array_equal(result.as_numpy("probabilities"), PROBABILITIES)
            labels = result.as_numpy("labels")
            assert [x.decode() if isinstance(x, bytes) else x for x in labels] == ["dog", "Käfer"]
            assert result.get_response()["id"] == "r1"


def test_tritonclient_files_and_classes():
    http = pytest.importorskip("tritonclient.http")
    sent = np.array([b"\xff\xd8\xff\0", b"\x89PNG\0\0"], np.object_)
    files = http.InferInput("files", [2], "BYTES")
    files.set_data_from_numpy(sent)
    outputs = [http.InferRequestedOutput("probabilities", class_count=9)]
    body, length = http.InferenceServerClient.generate_request_body([files], outputs=outputs)
    found = parse(body, str(length))
    assert found.files == (Upload(None, sent[0]), Upload(None, sent[1]))
    answer, headers = answer_infer(SERVED, found, PROBABILITIES)
    result = http.InferenceServerClient.parse_response_body(answer, header_length=int(headers[HEADER_LENGTH]))
    classes = result.as_numpy("probabilities")
    assert classes.shape == (2, 3) and [row[0] for row in classes] == [b"0.500000:1:dog", "0.750000:2:Käfer".encode()]


def test_tritonclient_shared_memory_is_refused():
    http = pytest.importorskip("tritonclient.http")
    images = http.InferInput("images", [2, 3, 2, 4], "UINT8")
    images.set_shared_memory("region", 48)
    body, length = http.InferenceServerClient.generate_request_body([images])
    assert length is None and "shared memory" in refused(body)[1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def usually(*values):
    """Return a strategy of right values, and of anything."""
    return st.sampled_from(values) | JSON


def keys(**strategies):
    """Return a strategy of objects with some of these keys."""
    return st.fixed_dictionaries({}, optional=strategies)


TENSOR = st.fixed_dictionaries(
    {
        "name": usually("images", "files"),
        "shape": usually([1, 3, 2, 4], [1], [0]),
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


@settings(max_examples=300, deadline=None)
@given(REQUEST | JSON, st.sampled_from([b"", bytes(24), b"\1\0\0\0a"]) | st.binary(max_size=30), st.booleans())
def test_any_json_is_answered_or_refused(document, binary, whole):
    header = json.dumps(document).encode()
    try:
        found = parse(header + (b"" if whole else binary), None if whole else str(len(header)))
    except RequestError as err:
        assert err.status in (400, 413)
    else:
        answer_infer(SERVED, found, PROBABILITIES)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.none() | st.integers(-3, 210).map(str) | st.text(max_size=5))
def test_any_bytes_are_refused(body, length):
    refused(body, length)
