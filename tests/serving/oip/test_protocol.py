"""Metadata of the Open Inference Protocol."""

from __future__ import annotations

import pytest

from raysplit.errors import RequestError
from raysplit.serving.oip.protocol import server_metadata
from tests.serving.oip.samples import MODEL


def test_metadata():
    metadata = MODEL.metadata().model_dump(mode="json", exclude_none=True)
    assert metadata == {
        "name": "digits",
        "versions": ["0123456789ab"],
        "platform": "raysplit",
        "inputs": [
            {"name": "images", "datatype": "UINT8", "shape": [-1, 3, 2, 4]},
            {"name": "files", "datatype": "BYTES", "shape": [-1, 1]},
        ],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "labels", "datatype": "BYTES", "shape": [-1]},
        ],
    }
    server = server_metadata("binary_tensor_data", "classification").model_dump(mode="json")
    assert server["extensions"] == ["binary_tensor_data", "classification"]
    assert server.keys() == {"name", "version", "extensions"}


def test_names_and_versions():
    MODEL.check("digits")
    MODEL.check("digits", "0123456789ab")
    for name, version in (("letters", None), ("letters", "0123456789ab"), ("digits", "1")):
        with pytest.raises(RequestError, match=r"unknown (model 'letters'|version '1')") as raised:
            MODEL.check(name, version)
        assert raised.value.status == 404
