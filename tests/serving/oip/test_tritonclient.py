"""Triton's HTTP client against the running application."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from ray.exceptions import ActorDiedError

from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.wire.split_api import FAMILY_HEADER, LEVEL_HEADER, level_to_header
from tests.listening import listening
from tests.serving.apps import App

triton = pytest.importorskip("tritonclient.http")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
MODEL = "raysplit"


@pytest.fixture(scope="module")
def app(tiny_ensemble):
    return App(str(tiny_ensemble / "bundle"))


@pytest.fixture(scope="module")
def url(app):
    with listening(app.asgi) as url:
        yield url.removeprefix("http://")


@pytest.fixture(scope="module")
def client(url):
    with triton.InferenceServerClient(url) as client:
        yield client


@pytest.fixture(scope="module")
def expected(app):
    return app.ensemble.predict(torch.from_numpy(IMAGES)).numpy()


def pixels(images=IMAGES, binary=True):
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    return tensor.set_data_from_numpy(images, binary_data=binary)


def test_health_and_metadata(app, client):
    version = app.ensemble.id[:12]
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, version)
    assert not client.is_model_ready("other") and not client.is_model_ready(MODEL, "0")
    server = client.get_server_metadata()
    assert server["name"] == "raysplit" and server["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
    ]
    metadata = client.get_model_metadata(MODEL, version)
    assert metadata["versions"] == [version] and metadata["name"] == MODEL
    assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["inputs"]] == [
        ("images", "UINT8", [-1, 1, 8, 8]),
        ("files", "BYTES", [-1, 1]),
    ]
    assert [(each["name"], each["shape"]) for each in metadata["outputs"]] == [
        ("probabilities", [-1, len(app.ensemble.manifest.classes)]),
        ("labels", [-1]),
    ]


def test_configuration(app, client):
    found = client.get_model_config(MODEL, app.ensemble.id[:12])
    assert found == client.get_model_config(MODEL)
    assert found["name"] == MODEL and found["max_batch_size"] == app.args.limits.images
    metadata = client.get_model_metadata(MODEL)
    for side in ("input", "output"):
        shapes = [[-1, *each["dims"]] for each in found[side]]
        assert shapes == [each["shape"] for each in metadata[f"{side}s"]]
    assert [each["optional"] for each in found["input"]] == [True, True]


@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
@pytest.mark.parametrize("sent", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("wanted", [True, False], ids=["binary", "json"])
def test_tensors(app, client, expected, sent, wanted, packed):
    outputs = [triton.InferRequestedOutput(name, binary_data=wanted) for name in ("probabilities", "labels")]
    answer = client.infer(
        MODEL,
        [pixels(binary=sent)],
        outputs=outputs,
        request_id="mine",
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    np.testing.assert_array_equal(answer.as_numpy("probabilities"), expected)
    names = [app.ensemble.manifest.classes[best] for best in expected.argmax(1)]
    labels = answer.as_numpy("labels").tolist()
    assert [label.decode() if isinstance(label, bytes) else label for label in labels] == names
    head = answer.get_response()
    assert head["id"] == "mine" and head["model_version"] == app.ensemble.id[:12]


def test_all_outputs_where_none_is_named(client, expected):
    answer = client.infer(MODEL, [pixels()])
    np.testing.assert_array_equal(answer.as_numpy("probabilities"), expected)
    assert answer.as_numpy("labels").shape == (3,)


@pytest.mark.parametrize("binary", [True, False])
def test_classification(app, client, expected, binary):
    output = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
    found = client.infer(MODEL, [pixels()], outputs=[output]).as_numpy("probabilities")
    assert found.shape == (3, 2)
    for row, image in zip(found, expected, strict=True):
        for text, best in zip(row, np.argsort(-image, kind="stable")[:2], strict=True):
            value, index, name = (text.decode() if isinstance(text, bytes) else text).split(":")
            assert float(value) == pytest.approx(image[best], abs=1e-6)
            assert (int(index), name) == (best, app.ensemble.manifest.classes[best])


@pytest.mark.parametrize("shape", [(3, 1), (3,)])
def test_image_files(client, expected, shape):
    files = []
    for image in IMAGES:
        file = io.BytesIO()
        Image.fromarray(image[0]).save(file, "PNG")
        files.append(file.getvalue())
    tensor = triton.InferInput("files", list(shape), "BYTES")
    tensor.set_data_from_numpy(np.array(files, dtype=object).reshape(shape), binary_data=True)
    np.testing.assert_array_equal(client.infer(MODEL, [tensor]).as_numpy("probabilities"), expected)


def test_requests_in_parallel(client, expected):
    calls = [client.async_infer(MODEL, [pixels(IMAGES[i : i + 1])]) for i in range(3)]
    for call, row in zip(calls, expected, strict=True):
        np.testing.assert_allclose(call.get_result().as_numpy("probabilities")[0], row, rtol=1e-5)


@pytest.mark.parametrize(
    ("ask", "status", "text"),
    [
        (lambda client: client.infer("other", [pixels()]), "404", "this server has 'raysplit'"),
        (lambda client: client.infer(MODEL, [pixels()], model_version="7"), "404", "unknown version '7'"),
        (lambda client: client.infer(MODEL, [pixels(IMAGES[:, :, :4])]), "400", r"must have shape \[-1, 1, 8, 8\]"),
        (
            lambda client: client.infer(MODEL, [pixels()], outputs=[triton.InferRequestedOutput("boxes")]),
            "400",
            "unknown output 'boxes'",
        ),
        (lambda client: client.infer(MODEL, [pixels(np.zeros((65, 1, 8, 8), np.uint8))]), "413", "limits.images"),
        (lambda client: client.get_model_metadata("other"), "404", "unknown model 'other'"),
        (lambda client: client.get_model_config("other"), "404", "unknown model 'other'"),
        (lambda client: client.get_model_config(MODEL, "7"), "404", "unknown version '7'"),
    ],
)
def test_errors(client, ask, status, text):
    with pytest.raises(triton.InferenceServerException, match=text) as caught:
        ask(client)
    assert caught.value.status() == status


def test_a_server_that_is_not_ready(app, client):
    for handle in app.handles.values():
        handle.faults = [ActorDiedError()] * 2
    with pytest.raises(triton.InferenceServerException, match="sub-models do not answer") as caught:
        client.infer(MODEL, [pixels()])
    assert caught.value.status() == "503"


def test_a_key(tiny_ensemble, monkeypatch):
    monkeypatch.setenv("KEY_FOR_TEST", "sesame")
    app = App(str(tiny_ensemble / "bundle"), access={"api_key_env": "KEY_FOR_TEST"})
    with listening(app.asgi) as url, triton.InferenceServerClient(url.removeprefix("http://")) as client:
        with pytest.raises(triton.InferenceServerException, match="X-API-Key") as caught:
            client.infer(MODEL, [pixels()])
        assert caught.value.status() == "401"
        assert client.infer(MODEL, [pixels()], headers={"X-API-Key": "sesame"}).as_numpy("labels").shape == (3,)


def test_a_split_application_says_what_to_send(family):
    asgi = SplitRoutes(ServerHalves(family, Limits()), SplitArgs(family="unused", name="halves")).app
    with listening(asgi) as url, triton.InferenceServerClient(url.removeprefix("http://")) as client:
        assert client.get_server_metadata() == {
            "name": "raysplit",
            "version": client.get_server_metadata()["version"],
            "extensions": [],
        }
        assert client.is_model_ready("halves") and not client.is_model_ready("raysplit")
        metadata = client.get_model_metadata("halves")
        assert (metadata["name"], metadata["versions"]) == ("halves", [family.id[:12]])
        [code], [answer] = metadata["inputs"], metadata["outputs"]
        assert code["shape"] == [-1, *family.manifest.code_shape] and answer["shape"] == [-1, 3]
        assert code["parameters"]["path"] == "/v1/split" and code["parameters"][FAMILY_HEADER] == family.id
        levels = code["parameters"][LEVEL_HEADER].split(",")
        assert levels == [level_to_header(entry.level) for entry in family.levels]
        with pytest.raises(triton.InferenceServerException, match="sends messages to /v1/split") as caught:
            client.infer("halves", [pixels()])
        assert caught.value.status() == "501"
        with pytest.raises(triton.InferenceServerException, match="this server has 'halves'"):
            client.get_model_metadata("raysplit")
