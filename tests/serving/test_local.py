"""The application as it is bound, in Serve's local testing mode: real deployments and handles, no Ray."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
import torch
from PIL import Image
from ray import serve
from starlette.testclient import TestClient

from raysplit.ensemble.bundle import load_ensemble
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble.app import build

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8), dtype=np.uint8)


@pytest.fixture
def bundle(tiny_ensemble):
    return str(tiny_ensemble / "bundle")


def client(bundle, **args):
    """Return a client of the ingress's own ASGI application."""
    handle = serve.run(build(EnsembleArgs(bundle=bundle, **args)), _local_testing_mode=True)
    return TestClient(handle.__serve_build_asgi_app__.remote().result(), client=("127.0.0.1", 50000))


def png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(IMAGE[0, 0]).save(out, "PNG")
    return out.getvalue()


def asked(client):
    tensor = {"name": "images", "shape": IMAGE.shape, "datatype": "UINT8", "data": IMAGE.ravel().tolist()}
    return client.post("/v2/models/raysplit/infer", json={"inputs": [tensor]}).json()


@pytest.mark.parametrize("groups", [{}, {"front": (0, 2)}], ids=["each", "grouped"])
def test_answers_are_those_of_the_bundle(bundle, groups):
    with client(bundle, groups=groups) as one:
        answer = asked(one)
    assert answer["parameters"] == {"degraded": False, "missing": ""}
    expected = load_ensemble(bundle).predict(torch.from_numpy(IMAGE))[0]
    np.testing.assert_array_equal(np.array(answer["outputs"][0]["data"], np.float32), expected.numpy())


def test_a_deployment_that_sleeps_is_left_out(bundle, monkeypatch):
    from raysplit.serving.ensemble.submodels import SubModels

    said = SubModels._say

    def slow(self, index, x):
        if index == 1:
            time.sleep(2)
        return said(self, index, x)

    with client(bundle, branch_timeout_s=0.2) as one:
        monkeypatch.setattr(SubModels, "_say", slow)
        answer = asked(one)
        late = one.post("/v1/predict", content=png(), headers={"Content-Type": "image/png"}).json()
    assert answer["parameters"] == {"degraded": True, "missing": "1"}
    assert late["seconds"]["branches"][1]["missing"] == "late" and late["seconds"]["total"] < 1.9
