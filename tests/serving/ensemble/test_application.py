"""The application of an ensemble, from its bundle and from the shipped config."""

from __future__ import annotations

import io
import os
import shutil
import signal
import time

import numpy as np
import pytest
import requests
import torch
from PIL import Image
from ray import serve
from ray._common.utils import import_attr
from ray.serve import Application
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from starlette.testclient import TestClient

from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import BundleError, ConfigError
from raysplit.serving import ensemble
from raysplit.serving.args import EnsembleArgs
from raysplit.serving.ensemble.submodels import SubmodelDeployment
from tests.serving.running import serve_run

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def bundle(tiny_ensemble):
    return str(tiny_ensemble / "bundle")


@pytest.mark.parametrize("name", ["submodels/1.safetensors", "submodels/2.safetensors", "fusion.safetensors"])
def test_a_damaged_bundle_cannot_be_built(name, bundle, tmp_path):
    """Also where the file of another sub-model is elsewhere, as in a container."""
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / "submodels/0.safetensors").unlink()
    file = copy / name
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=rf"{name} of bundle .* is damaged"):
        ensemble.build(EnsembleArgs(bundle=str(copy)))


def test_sub_models_can_be_elsewhere(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy", ignore=shutil.ignore_patterns("submodels"))
    ensemble.build(EnsembleArgs(bundle=str(tmp_path / "copy")))


def test_a_replica_does_not_start_with_another_bundle(bundle):
    with pytest.raises(BundleError, match="was replaced after the application was deployed"):
        SubmodelDeployment(bundle, "0" * 64, [0])


def test_groups_with_unknown_sub_models(bundle):
    with pytest.raises(ConfigError, match="group 'left' lists sub-model 3; the ensemble has sub-models 0 to 2"):
        ensemble.build(EnsembleArgs(bundle=bundle, groups={"left": (0, 3)}))


def test_app_is_built_from_the_environment(bundle, monkeypatch):
    monkeypatch.delenv("RAYSPLIT_BUNDLE", raising=False)
    with pytest.raises(ConfigError, match="RAYSPLIT_BUNDLE"):
        _ = ensemble.app
    monkeypatch.setenv("RAYSPLIT_BUNDLE", bundle)
    assert isinstance(ensemble.app, Application) and isinstance(
        import_attr("raysplit.serving.ensemble:app"), Application
    )


def test_serve_finds_the_builder_and_its_args(bundle):
    """As `serve run raysplit.serving.ensemble:build bundle=DIR` does."""
    builder = import_attr("raysplit.serving.ensemble:build")
    assert isinstance(call_user_app_builder_with_args_if_necessary(builder, {"bundle": bundle}), Application)


def local_client(bundle, **args):
    """Return a client of the application in Serve's local testing mode: real deployments and handles, without Ray."""
    handle = serve.run(ensemble.build(EnsembleArgs(bundle=bundle, **args)), _local_testing_mode=True)
    return TestClient(handle.__serve_build_asgi_app__.remote().result(), client=("127.0.0.1", 50000))


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image[0, 0]).save(out, "PNG")
    return out.getvalue()


def body():
    tensor = {"name": "images", "shape": IMAGE.shape, "datatype": "UINT8", "data": IMAGE.ravel().tolist()}
    return {"inputs": [tensor]}


def infer(client):
    return client.post("/v2/models/raysplit/infer", json=body()).json()


@pytest.mark.parametrize("groups", [{}, {"front": (0, 2)}], ids=["each", "grouped"])
def test_predictions_are_those_of_the_bundle(bundle, groups):
    with local_client(bundle, groups=groups) as one:
        answer = infer(one)
    assert answer["parameters"] == {"degraded": False, "missing": ""}
    expected = load_ensemble(bundle).predict(torch.from_numpy(IMAGE))[0]
    np.testing.assert_array_equal(np.array(answer["outputs"][0]["data"], np.float32), expected.numpy())


def test_a_late_deployment_is_dropped(bundle, monkeypatch):
    run = SubmodelDeployment._run_submodel

    def slow(self, index, x):
        if index == 1:
            time.sleep(2)
        return run(self, index, x)

    with local_client(bundle, branch_timeout_s=0.2) as one:
        monkeypatch.setattr(SubmodelDeployment, "_run_submodel", slow)
        answer = infer(one)
        late = one.post("/v1/predict", content=png(IMAGE), headers={"Content-Type": "image/png"}).json()
    assert answer["parameters"] == {"degraded": True, "missing": "1"}
    assert late["seconds"]["branches"][1]["missing"] == "late" and late["seconds"]["total"] < 1.9


@pytest.mark.ray
def test_the_shipped_config_serves_tritonclient_and_files_and_lives_through_a_killed_replica(bundle, tmp_path):
    triton = pytest.importorskip("tritonclient.http")
    folder = tmp_path / "bundles" / "mnist5k_vit_n3"
    folder.mkdir(parents=True)
    (folder / "bundle").symlink_to(bundle)
    local, image = load_ensemble(bundle), IMAGE
    expected = local.predict(torch.from_numpy(image)).numpy()
    with serve_run("ensemble.yaml", tmp_path) as run:
        url = run.url
        client = triton.InferenceServerClient(url.removeprefix("http://"))
        assert client.is_server_live() and client.is_server_ready()
        name = "raysplit"
        assert client.is_model_ready(name)
        assert client.get_model_metadata(name)["versions"] == [local.id[:12]]
        for binary in (True, False):
            tensor = triton.InferInput("images", list(image.shape), "UINT8")
            tensor.set_data_from_numpy(image, binary_data=binary)
            outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
            for packed in (None, "gzip", "deflate"):
                answer = client.infer(name, [tensor], outputs=outputs, request_compression_algorithm=packed)
                np.testing.assert_array_equal(answer.as_numpy("probabilities"), expected)
        client.close()
        files = {"one.png": ("one.png", png(image))}
        found = requests.post(f"{url}/v1/predict", files=files, timeout=30).json()
        assert not found["degraded"] and found["bundle"] == local.id[:12]
        assert found["images"][0]["top"][0]["name"] == str(expected.argmax())
        assert requests.get(f"{url}/docs", timeout=10).status_code == 200
        refused = requests.post(f"{url}/v1/predict", data=b"x", headers={"Content-Encoding": "br"}, timeout=10)
        assert refused.status_code == 415 and "gzip" in refused.json()["error"]
        sent = {"X-Request-ID": "a-request-of-mine"}
        answer = requests.get(f"{url}/v1/recent", headers=sent, timeout=10)
        assert answer.headers["X-Request-ID"] == "a-request-of-mine"

        # A replica is killed: its sub-model is left out of the answers until Serve has started another.
        os.kill(run.replica_pid("ensemble:submodel-1"), signal.SIGKILL)
        answers = [requests.post(f"{url}/v2/models/{name}/infer", json=body(), timeout=30).json()]
        while answers[-1]["parameters"]["degraded"]:
            assert answers[-1]["parameters"]["missing"] == "1" and len(answers) < 1000
            time.sleep(0.1)
            answers.append(requests.post(f"{url}/v2/models/{name}/infer", json=body(), timeout=30).json())
        assert len(answers) > 1
        np.testing.assert_array_equal(np.array(answers[-1]["outputs"][0]["data"], np.float32), expected[0])
