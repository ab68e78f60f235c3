"""The application of an ensemble, from its bundle and from the shipped config."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import BundleError, ConfigError
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble import app as ensemble
from tests.serving.running import serve_run


@pytest.fixture(scope="module")
def bundle(tiny_ensemble):
    return str(tiny_ensemble / "bundle")


def some(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)


def test_a_damaged_file_keeps_the_application_from_being_built(bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    file = copy / "submodels" / "1.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"submodels/1\.safetensors of bundle .* is damaged"):
        ensemble.build(EnsembleArgs(bundle=str(copy)))


def test_a_replica_does_not_start_with_another_bundle_than_the_application(bundle):
    with pytest.raises(BundleError, match="was replaced after the application was deployed"):
        ensemble.SubModels(bundle, "0" * 64, [0])


def test_groups_of_sub_models_that_there_are_not(bundle):
    with pytest.raises(ConfigError, match="group 'left' names sub-model 3; the ensemble has 0 to 2"):
        ensemble.build(EnsembleArgs(bundle=bundle, groups={"left": (0, 3)}))


def test_app_is_for_serve_build(bundle, monkeypatch):
    monkeypatch.delenv("RAYSPLIT_BUNDLE", raising=False)
    with pytest.raises(ConfigError, match="RAYSPLIT_BUNDLE"):
        _ = ensemble.app
    monkeypatch.setenv("RAYSPLIT_BUNDLE", bundle)
    assert type(ensemble.app).__name__ == "Application"


@pytest.mark.ray
def test_the_shipped_config_serves_tritonclient_and_files(bundle, tmp_path):
    triton = pytest.importorskip("tritonclient.http")
    place = tmp_path / "bundles" / "mnist5k_vit_n3"
    place.mkdir(parents=True)
    (place / "bundle").symlink_to(bundle)
    local, image = load_ensemble(bundle), some(1)
    expected = local.predict(torch.from_numpy(image)).numpy()
    with serve_run("ensemble.yaml", tmp_path) as url:
        client = triton.InferenceServerClient(url.removeprefix("http://"))
        assert client.is_server_live() and client.is_server_ready()
        name = "raysplit"
        assert client.is_model_ready(name)
        assert client.get_model_metadata(name)["versions"] == [local.id[:12]]
        for binary in (True, False):
            tensor = triton.InferInput("images", list(image.shape), "UINT8")
            tensor.set_data_from_numpy(image, binary_data=binary)
            wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
            for packed in (None, "gzip", "deflate"):
                answer = client.infer(name, [tensor], outputs=wanted, request_compression_algorithm=packed)
                np.testing.assert_array_equal(answer.as_numpy("probabilities"), expected)
        client.close()
        out = io.BytesIO()
        Image.fromarray(image[0, 0]).save(out, "PNG")
        found = requests.post(f"{url}/v1/predict", files={"one.png": ("one.png", out.getvalue())}, timeout=30).json()
        assert not found["degraded"] and found["bundle"] == local.id[:12]
        assert found["images"][0]["top"][0]["name"] == str(expected.argmax())
        assert requests.get(f"{url}/docs", timeout=10).status_code == 200
        refused = requests.post(f"{url}/v1/predict", data=b"x", headers={"Content-Encoding": "br"}, timeout=10)
        assert refused.status_code == 415 and "gzip" in refused.json()["error"]
        sent = {"X-Request-ID": "a-request-of-mine"}
        answer = requests.get(f"{url}/v1/recent", headers=sent, timeout=10)
        assert answer.headers["X-Request-ID"] == "a-request-of-mine"
