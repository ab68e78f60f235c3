"""The JSON of an inference request, and the keys that errors name."""

from __future__ import annotations

import json

import pytest

from raysplit.errors import RequestError
from raysplit.serving.oip.schema import parse_json

INPUT = {"name": "images", "shape": [1, 3, 2, 2], "datatype": "UINT8"}


def test_optional_keys_may_be_null_and_unknown_keys_are_ignored():
    bare = parse_json(json.dumps({"inputs": [INPUT]}).encode())
    nulls = {"id": None, "inputs": [INPUT | {"parameters": None, "data": None}], "outputs": None, "parameters": None}
    assert parse_json(json.dumps(nulls).encode()) == bare
    more = {"inputs": [INPUT | {"colour": 1}], "parameters": {"priority": 3, "sequence_id": "a"}, "x": {}}
    assert parse_json(json.dumps(more).encode()).inputs == bare.inputs


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "not JSON: EOF while parsing"),
        (b"\xff\xfe", "not JSON: expected value at line 1 column 1"),
        (b"[" * 100_000, "not JSON: recursion limit exceeded"),
        (b'{"id": ' + b"1" * 5000 + b"}", "not JSON: number out of range"),
        (b"[]", "Input should be a valid dictionary or instance of Request"),
        (b"{}", "inputs: Field required"),
        (b'{"inputs": []}', "inputs: List should have at least 1 item"),
        (b'{"inputs": [' + b"1," * 500 + b"1]}", "inputs: List should have at most 8 items"),
        (b'{"inputs": [1]}', "inputs.0: Input should be a valid dictionary"),
        (b'{"inputs": [{}]}', "inputs.0.name: Field required"),
        (b'{"inputs": {"name": 1}}', "inputs: Input should be a valid list"),
        (b'{"id": 7, "inputs": []}', "id: Input should be a valid string"),
        (json.dumps({"inputs": [INPUT | {"shape": [-1, 3]}]}).encode(), "inputs.0.shape.0: Input should be greater"),
        (json.dumps({"inputs": [INPUT | {"shape": [2**63]}]}).encode(), "inputs.0.shape.0: Input should be less"),
        (json.dumps({"inputs": [INPUT | {"shape": [1.0]}]}).encode(), "inputs.0.shape.0: Input should be a valid int"),
        (json.dumps({"inputs": [INPUT | {"shape": [True]}]}).encode(), "inputs.0.shape.0: Input should be a valid int"),
        (json.dumps({"inputs": [INPUT | {"shape": [1] * 9}]}).encode(), "inputs.0.shape: List should have at most 8"),
        (
            json.dumps({"inputs": [INPUT | {"parameters": {"binary_data_size": "4"}}]}).encode(),
            "inputs.0.parameters.binary_data_size: Input should be a valid int",
        ),
        (
            json.dumps({"inputs": [INPUT], "outputs": [{"name": "a", "parameters": {"classification": 0}}]}).encode(),
            "outputs.0.parameters.classification: Input should be greater",
        ),
    ],
)
def test_malformed(text, fault):
    with pytest.raises(RequestError) as raised:
        parse_json(text)
    assert str(raised.value).startswith(f"malformed inference request: {fault}") and raised.value.status == 400
    assert len(str(raised.value)) < 200
