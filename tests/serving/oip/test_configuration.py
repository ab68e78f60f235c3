"""The configuration of a model, as Triton's tools ask for it."""

from __future__ import annotations

import pytest

from raysplit.serving.oip.configuration import configure
from raysplit.serving.oip.protocol import ModelMetadata, TensorMetadata
from tests.serving.oip.samples import MODEL


def test_an_ensemble():
    assert configure(MODEL.metadata(), 4).model_dump(mode="json") == {
        "name": "digits",
        "platform": "raysplit",
        "max_batch_size": 4,
        "input": [
            {"name": "images", "data_type": "TYPE_UINT8", "dims": [3, 2, 4], "optional": True},
            {"name": "files", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
        ],
        "output": [
            {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [3]},
            {"name": "labels", "data_type": "TYPE_STRING", "dims": []},
        ],
    }


@pytest.mark.parametrize(
    ("datatype", "data_type"), [("BOOL", "TYPE_BOOL"), ("FP16", "TYPE_FP16"), ("BYTES", "TYPE_STRING")]
)
def test_a_single_input_is_required(datatype, data_type):
    tensor = TensorMetadata(name="x", datatype=datatype, shape=(-1, 2, 5))
    found = configure(ModelMetadata(name="m", versions=("1",), inputs=(tensor,), outputs=(tensor,)), 1)
    assert found.input[0].model_dump() == {"name": "x", "data_type": data_type, "dims": (2, 5), "optional": False}
    assert found.output[0].model_dump() == {"name": "x", "data_type": data_type, "dims": (2, 5)}
