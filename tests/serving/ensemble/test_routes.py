"""An ensemble over HTTP: its protocol, image files, faults of sub-models, and access."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from unittest.mock import AsyncMock

import numpy as np
import pytest
import torch
from PIL import Image
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from raysplit.ensemble.bundle import load_ensemble
from tests.serving.apps import App


@pytest.fixture(scope="module")
def bundle(tiny_ensemble):
    return str(tiny_ensemble / "bundle")


@pytest.fixture
def app(bundle):
    return App(bundle)


@pytest.fixture
def client(app):
    with app.client() as client:
        yield client


def random_images(count: int, seed: int = 0) -> np.ndarray:
    """Return uint8 images (count, 1, 8, 8)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image[0]).save(out, "PNG")
    return out.getvalue()


def infer(client, images: np.ndarray, **more):
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
    return client.post("/v2/models/raysplit/infer", json={"inputs": [tensor]} | more)


def probabilities(answer) -> np.ndarray:
    found = next(output for output in answer.json()["outputs"] if output["name"] == "probabilities")
    return np.array(found["data"], np.float32).reshape(found["shape"])


def test_one_image_is_predicted_as_in_this_process_bit_for_bit(client, bundle):
    ensemble = load_ensemble(bundle)
    for seed in range(5):
        image = random_images(1, seed)
        answer = infer(client, image, id="abc")
        assert answer.status_code == 200 and answer.json()["id"] == "abc"
        np.testing.assert_array_equal(probabilities(answer), ensemble.predict(torch.from_numpy(image)).numpy())


def test_a_file_is_predicted_like_its_pixels(client):
    image = random_images(1)[0]
    tensors = probabilities(infer(client, image[None]))[0]
    found = client.post("/v1/predict", content=png(image), headers={"Content-Type": "image/png"}).json()
    assert found["degraded"] is False and found["missing"] == []
    assert [entry["probability"] for entry in found["images"][0]["top"]] == sorted(tensors.tolist(), reverse=True)[:3]
    assert [vote["submodel"] for vote in found["images"][0]["submodels"]] == [0, 1, 2]
    seconds = found["seconds"]
    assert [branch["deployment"] for branch in seconds["branches"]] == ["submodel-0", "submodel-1", "submodel-2"]
    spent = seconds["decode"] + seconds["queue"] + seconds["fusion"]
    assert 0 < spent + max(sum(branch["compute"]) for branch in seconds["branches"]) <= seconds["total"]


def test_several_files_keep_their_names_and_their_order(client):
    images = random_images(3)
    files = [("file", (f"{i}.png", png(image), "image/png")) for i, image in enumerate(images)]
    found = client.post("/v1/predict", files=files).json()["images"]
    assert [image["file"] for image in found] == ["0.png", "1.png", "2.png"]
    alone = [
        client.post("/v1/predict", content=png(image), headers={"Content-Type": "image/png"}).json()["images"][0]
        for image in images
    ]
    assert [image["top"][0]["name"] for image in found] == [image["top"][0]["name"] for image in alone]


def test_health_and_metadata(client, app):
    model = f"/v2/models/raysplit/versions/{app.ensemble.id[:12]}"
    for path, body in (
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/raysplit/ready", {"name": "raysplit", "ready": True}),
        (f"{model}/ready", {"name": "raysplit", "ready": True}),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, body)
        head = client.head(path)
        assert (head.status_code, head.content, head.headers) == (200, b"", answer.headers)
    assert client.head("/v2/models/other").status_code == 404 and client.head("/v1/predict").status_code == 405
    assert client.get("/v2").json()["name"] == "raysplit"
    metadata = client.get("/v2/models/raysplit").json()
    assert metadata["versions"] == [app.ensemble.id[:12]] and metadata["inputs"][0]["shape"] == [-1, 1, 8, 8]
    assert client.get(f"/v2/models/raysplit/versions/{app.ensemble.id[:12]}").json() == metadata
    wrong = client.get("/v2/models/other")
    assert wrong.status_code == 404 and "'raysplit'" in wrong.json()["error"]
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/predict", "/v2/models/{name}/infer"} <= paths.keys()


def test_not_ready_if_no_sub_model_answers(app, monkeypatch):
    monkeypatch.setattr("raysplit.serving.ensemble.routes._READINESS_TTL_S", 0.0)
    for handle in app.handles.values():
        handle.faults = [ActorDiedError()] * 2
    with app.client() as client:
        answer = client.get("/v2/health/ready")
        assert answer.status_code == 503 and answer.headers["retry-after"] == "10"
        assert client.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (ActorDiedError(), "dead"),
        (BackPressureError(1, 1), "overloaded"),
        (ValueError("injected"), "failed"),
        ("0" * 64, "other bundle"),
    ],
)
def test_a_sub_model_that_does_not_answer_twice_is_filled_in(bundle, fault, reason):
    app, image = App(bundle), random_images(1)
    app.handles["submodel-1"].faults = [fault] * 2
    with app.client() as client:
        found = client.post("/v1/predict", content=png(image[0]), headers={"Content-Type": "image/png"}).json()
        assert found["degraded"] is True and found["missing"] == [1]
        assert [branch["missing"] for branch in found["seconds"]["branches"]] == [None, reason, None]
        assert [vote["submodel"] for vote in found["images"][0]["submodels"]] == [0, 2]
        app.handles["submodel-1"].faults = [fault] * 2
        answer = infer(client, image)
        assert answer.json()["parameters"] == {"degraded": True, "missing": "1"}
        expected = app.ensemble.predict(torch.from_numpy(image), missing=[1]).numpy()
        np.testing.assert_array_equal(probabilities(answer), expected)
        assert infer(client, image).json()["parameters"] == {"degraded": False, "missing": ""}


def test_sub_models_of_a_bundle_that_cannot_be_loaded_are_missing(bundle):
    app = App(bundle)
    for handle in app.handles.values():
        handle.faults = ["0" * 64] * 2
    with app.client() as client:
        answer = infer(client, random_images(1))
    assert answer.status_code == 503 and answer.headers["retry-after"] == "10"
    assert "0 is other bundle" in answer.json()["error"]


def test_a_fault_that_goes_away_costs_only_time(app, client):
    app.handles["submodel-1"].faults = [ActorDiedError()]
    assert infer(client, random_images(1)).json()["parameters"]["degraded"] is False
    assert app.handles["submodel-1"].calls == 2


def test_a_late_sub_model_is_dropped(bundle):
    app = App(bundle, branch_timeout_s=0.1)
    app.handles["submodel-2"].faults = [30.0]
    with app.client() as client:
        found = client.post(
            "/v1/predict", content=png(random_images(1)[0]), headers={"Content-Type": "image/png"}
        ).json()
    assert found["missing"] == [2] and found["seconds"]["branches"][2]["missing"] == "late"
    assert 0.1 <= found["seconds"]["total"] < 5


def test_a_late_sub_model_is_waited_for(bundle):
    app = App(bundle, branch_timeout_s=0.05, missing="wait")
    app.handles["submodel-2"].faults = [0.3, ActorDiedError(), ActorDiedError(), ActorDiedError()]
    with app.client() as client:
        for _ in range(2):
            assert infer(client, random_images(1)).json()["parameters"]["degraded"] is False
    assert app.handles["submodel-2"].calls == 5


def test_fail_is_a_503_that_names_the_sub_model(bundle):
    app = App(bundle, branch_timeout_s=0.05, missing="fail")
    app.handles["submodel-2"].faults = [30.0]
    with app.client() as client:
        answer = infer(client, random_images(1))
    assert answer.status_code == 503 and answer.headers["retry-after"] == "10"
    assert "2 is late" in answer.json()["error"]


def test_sub_models_share_a_deployment(bundle):
    app = App(bundle, groups={"left": [0, 2]})
    assert app.deployments == {"left": (0, 2), "submodel-1": (1,)}
    image = random_images(1)
    app.handles["left"].faults = ["0" * 64] * 2
    with app.client() as client:
        assert infer(client, image).json()["parameters"]["missing"] == "0,2"
        answer = infer(client, image)
    np.testing.assert_array_equal(probabilities(answer), app.ensemble.predict(torch.from_numpy(image)).numpy())


def test_remote_clients_are_refused_without_a_key(bundle, monkeypatch):
    with App(bundle).client("10.1.2.3") as stranger:
        answer = infer(stranger, random_images(1))
        assert answer.status_code == 403 and "access.api_key_env" in answer.json()["error"]
        for path in ("/v1/recent", "/v2/models/raysplit", "/v2/models/raysplit/config"):
            assert stranger.get(path).status_code == 403
        assert stranger.get("/v2/health/ready").status_code == 200
    monkeypatch.setenv("KEY_FOR_TEST", "swordfish")
    with App(bundle, access={"api_key_env": "KEY_FOR_TEST"}).client("10.1.2.3") as client:
        assert infer(client, random_images(1)).status_code == 401
        client.headers["X-API-Key"] = "swordfish"
        assert infer(client, random_images(1)).status_code == 200


def test_large_or_malformed_requests_are_refused_with_a_reason(bundle):
    app = App(bundle, limits={"images": 2, "body_mib": 0.01})
    with app.client() as client:
        assert "limits.images" in infer(client, random_images(3)).json()["error"]
        large = client.post("/v1/predict", content=b"x" * 20_000, headers={"Content-Type": "image/png"})
        assert large.status_code == 413 and "limits.body_mib" in large.json()["error"]
        broken = client.post(
            "/v1/predict", content=png(random_images(1)[0])[:60], headers={"Content-Type": "image/png"}
        )
        assert broken.status_code == 400 and "image 0" in broken.json()["error"]
        text = client.post("/v1/predict", content=b"hello", headers={"Content-Type": "text/plain"})
        assert text.status_code == 415


def test_recent_traffic_counts_answers_and_refusals(client, app):
    app.handles["submodel-0"].faults = [ActorDiedError()] * 2
    infer(client, random_images(1))
    infer(client, random_images(1))
    client.post("/v1/predict", content=b"hello")
    recent = client.get("/v1/recent").json()
    assert (recent["requests"], recent["failed"], recent["degraded"]) == (3, 1, 1)
    assert 0 < recent["p50_ms"] <= recent["p95_ms"]


def test_without_its_key_the_application_does_not_start(bundle, monkeypatch):
    monkeypatch.delenv("KEY_FOR_TEST", raising=False)
    with pytest.raises(Exception, match="KEY_FOR_TEST"):
        App(bundle, access={"api_key_env": "KEY_FOR_TEST"})


def test_responses_are_valid_json_for_any_client(client):
    answer = infer(client, random_images(2), outputs=[{"name": "labels"}, {"name": "probabilities"}])
    outputs = json.loads(answer.content)["outputs"]
    assert [output["name"] for output in outputs] == ["labels", "probabilities"]
    assert outputs[0]["data"] == [str(digit) for digit in probabilities(answer).argmax(1)]


def test_a_sub_model_whose_probabilities_are_not_finite_is_missing(bundle, monkeypatch):
    app = App(bundle)
    submodels = app.handles["submodel-1"].submodels
    run, nan = submodels._run_submodel, np.full((1, 4), np.nan, np.float32).tobytes()
    monkeypatch.setattr(submodels, "_run_submodel", lambda index, x: replace(run(index, x), probabilities=nan))
    with app.client() as client:
        found = client.post(
            "/v1/predict", content=png(random_images(1)[0]), headers={"Content-Type": "image/png"}
        ).json()
    assert found["missing"] == [1] and found["seconds"]["branches"][1]["missing"] == "failed"


def test_readiness_is_probed_once_a_second(bundle):
    app = App(bundle, branch_timeout_s=0.1, missing="wait")
    app.handles["submodel-2"].faults = [30.0]
    with app.client() as client:
        answers = [client.get(path) for path in ("/v2/health/ready", "/v2/models/raysplit/ready", "/v2/health/ready")]
    assert [answer.status_code for answer in answers] == [503] * 3 and app.handles["submodel-2"].calls == 1
    assert "have not answered for 0.2 s" in answers[0].json()["error"]


def test_an_internal_error_is_answered_counted_and_logged(app, client, monkeypatch, caplog):
    before = client.get("/v1/recent").json()["failed"]
    monkeypatch.setattr(app.engine, "predict", AsyncMock(side_effect=KeyError("a bug")))
    answer = infer(client, random_images(1))
    assert answer.status_code == 500 and "see the server's log" in answer.json()["error"]
    assert client.get("/v1/recent").json()["failed"] == before + 1 and "a bug" in caplog.text
    assert "Not Found" in client.get("/nowhere").json()["error"]
