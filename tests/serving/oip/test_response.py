"""Inference responses: by hand, and read by Triton's own client."""

from __future__ import annotations

import json

import numpy as np
import pytest

from raysplit.serving.http.images import Upload
from raysplit.serving.oip.protocol import HEADER_LENGTH
from raysplit.serving.oip.request import InferRequest, RequestedOutput
from raysplit.serving.oip.response import build_infer_response
from tests.serving.oip.samples import BOTH, MODEL, PIXELS, PROBABILITIES, parse, refused


def test_response_in_json():
    request = InferRequest("7", PIXELS, (), (*BOTH, RequestedOutput("probabilities", False, 2)))
    response = build_infer_response(MODEL, request, PROBABILITIES, {"degraded": True, "missing": "1,2"})
    assert response.headers == {"Content-Type": "application/json"}
    assert json.loads(response.body) == {
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
    response = build_infer_response(MODEL, InferRequest(None, None, (), BOTH[:1]), values)
    answer = json.loads(response.body)
    assert "id" not in answer and "parameters" not in answer
    assert np.array_equal(np.float32(answer["outputs"][0]["data"]).reshape(5, 3), values)


def test_tritonclient():
    """Requests by its encoders are parsed, and its decoders parse the responses."""
    http = pytest.importorskip("tritonclient.http")
    for binary in (True, False):
        images = http.InferInput("images", [2, 3, 2, 4], "UINT8")
        images.set_data_from_numpy(PIXELS, binary_data=binary)
        outputs = [
            http.InferRequestedOutput("probabilities", binary_data=binary),
            http.InferRequestedOutput("labels", binary_data=not binary),
        ]
        for requested in (outputs, None):
            body, length = http.InferenceServerClient.generate_request_body(
                [images], outputs=requested, request_id="r1"
            )
            found = parse(body, None if length is None else str(length))
            assert np.array_equal(found.images, PIXELS) and found.id == "r1"
            response = build_infer_response(MODEL, found, PROBABILITIES)
            size = response.headers.get(HEADER_LENGTH)
            result = http.InferenceServerClient.parse_response_body(response.body, header_length=size and int(size))
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
    response = build_infer_response(MODEL, found, PROBABILITIES)
    size = int(response.headers[HEADER_LENGTH])
    result = http.InferenceServerClient.parse_response_body(response.body, header_length=size)
    classes = result.as_numpy("probabilities")
    assert classes.shape == (2, 3) and [row[0] for row in classes] == [b"0.500000:1:dog", "0.750000:2:Käfer".encode()]


def test_tritonclient_shared_memory_is_refused():
    http = pytest.importorskip("tritonclient.http")
    images = http.InferInput("images", [2, 3, 2, 4], "UINT8")
    images.set_shared_memory("region", 48)
    body, length = http.InferenceServerClient.generate_request_body([images])
    assert length is None and "shared memory" in refused(body)[1]
