"""OpenAPI of both applications: valid, complete, true, and silent about the model where a key is needed."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from PIL import Image
from ray.exceptions import ActorDiedError
from starlette.testclient import TestClient

from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.http.openapi import Error, schema_of
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.wire.split_api import FAMILY_HEADER, LEVEL_HEADER, level_from_header
from tests.serving.apps import App
from tests.serving.split.messages import message

KEY = {"api_key_env": "KEY_FOR_TEST"}
INFER = "/v2/models/{name}/infer"


@pytest.fixture(scope="module")
def bundle(tiny_ensemble):
    return str(tiny_ensemble / "bundle")


@pytest.fixture
def app(bundle):
    return App(bundle, limits={"images": 2, "body_mib": 0.01})


@pytest.fixture
def halves(family):
    return SplitRoutes(ServerHalves(family, Limits(images=2)), SplitArgs(family="unused")).app


@pytest.fixture
def specs(app, halves):
    return [app.asgi.openapi(), halves.openapi()]


def client_of(asgi, address="127.0.0.1"):
    return TestClient(asgi, client=(address, 50000))


def png(size=(8, 8)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros(size, np.uint8)).save(file, "PNG")
    return file.getvalue()


def check_answer(spec, operation, answer) -> None:
    """Fail unless OpenAPI describes the status, the body and the headers of an answer."""
    described = operation["responses"].get(str(answer.status_code))
    assert described is not None, (answer.status_code, answer.text)
    media = answer.headers["content-type"].partition(";")[0]
    schema = described["content"][media]["schema"]
    if media == "application/json":
        Draft202012Validator(schema | {"components": spec["components"]}).validate(answer.json())
    headers = {name.lower() for name in described.get("headers", {})}
    assert headers - answer.headers.keys() <= {"inference-header-content-length"}


def test_it_is_valid(specs, bundle, family, monkeypatch):
    monkeypatch.setenv("KEY_FOR_TEST", "sesame")
    routes = SplitRoutes(ServerHalves(family, Limits()), SplitArgs(family="unused", access=KEY))
    for spec in [*specs, App(bundle, access=KEY).asgi.openapi(), routes.app.openapi()]:
        validate(spec)


def test_every_post_has_a_body_and_its_errors(specs):
    posts = [(path, item["post"]) for spec in specs for path, item in spec["paths"].items() if "post" in item]
    assert len(posts) == 6
    for path, operation in posts:
        described, codes = operation["responses"], operation["responses"].keys()
        assert "422" not in codes and {"403", "default"} <= codes, path
        if "501" in codes:
            continue
        assert operation["requestBody"]["required"] is True and operation["requestBody"]["content"], path
        assert {"200", "400", "408", "413", "415", "500", "503"} <= codes, path
        assert described["503"]["headers"]["Retry-After"]["schema"] == {"type": "integer", "minimum": 0}
        for code in codes - {"200", "408"}:
            assert described[code]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


@pytest.mark.parametrize("end", ["", "/config", "/ready"])
@pytest.mark.parametrize("version", [False, True])
def test_descriptions_of_the_model_are_described(app, end, version):
    spec = app.asgi.openapi()
    path = "/v2/models/{name}" + ("/versions/{version}" if version else "") + end
    operation = spec["paths"][path]["get"]
    with app.client() as client:
        for name, status in (("raysplit", 200), ("other", 404)):
            answer = client.get(path.format(name=name, version=app.ensemble.id[:12]))
            assert answer.status_code == status
            check_answer(spec, operation, answer)


def test_examples_of_tensors_are_accepted(app):
    spec = app.asgi.openapi()
    operation = spec["paths"][INFER]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert examples.keys() == {"file", "class", "classification", "pixels"}
    with app.client() as client:
        for example in examples.values():
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            Draft202012Validator(schema).validate(example["value"])
            answer = client.post(INFER.format(name="raysplit"), json=example["value"])
            assert answer.status_code == 200, answer.text
            check_answer(spec, operation, answer)


def test_binary_tensors_are_sent_with_the_header_it_names(app):
    spec = app.asgi.openapi()
    operation = spec["paths"][INFER]["post"]
    [header] = [each for each in operation["parameters"] if each["name"].startswith("Inference")]
    assert header["in"] == "header" and header["required"] is False
    parameters = {"binary_data_size": 64}
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 8, 8], "parameters": parameters}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    with app.client() as client:
        headers = {header["name"]: str(len(text)), "Content-Type": "application/octet-stream"}
        answer = client.post(INFER.format(name="raysplit"), content=text + bytes(64), headers=headers)
        assert answer.status_code == 200 and "Inference-Header-Content-Length" in answer.headers
        check_answer(spec, operation, answer)


def test_image_files_are_accepted_in_every_form(app):
    spec = app.asgi.openapi()
    operation = spec["paths"]["/v1/predict"]["post"]
    forms = operation["requestBody"]["content"]
    assert forms.keys() == {"image/*", "application/octet-stream", "multipart/form-data"}
    [name] = forms["multipart/form-data"]["schema"]["properties"]
    with app.client() as client:
        answers = [
            client.post("/v1/predict", content=png(), headers={"Content-Type": kind})
            for kind in ("image/png", "image/jpeg", "application/octet-stream")
        ]
        answers.append(client.post("/v1/predict", files=[(name, ("a.png", png())), (name, ("b.png", png()))]))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        check_answer(spec, operation, answer)


def test_a_message_is_sent_with_the_headers_of_the_examples(halves, family):
    spec = halves.openapi()
    operation = spec["paths"]["/v1/split"]["post"]
    headers = {each["name"]: each["example"] for each in operation["parameters"] if each["required"]}
    assert headers.keys() == {LEVEL_HEADER, FAMILY_HEADER}
    sent = message(family, level_from_header(headers[LEVEL_HEADER]), 1).to_bytes()
    [media] = operation["requestBody"]["content"]
    with client_of(halves) as client:
        for changes, status in (
            ({}, 200),
            ({FAMILY_HEADER: "0" * 64}, 409),
            ({LEVEL_HEADER: "c99.b4/b4"}, 404),
            ({"Content-Encoding": "br"}, 415),
        ):
            answer = client.post("/v1/split", content=sent, headers=headers | {"Content-Type": media} | changes)
            assert answer.status_code == status
            check_answer(spec, operation, answer)
        answer = client.post("/v1/split", content=b"hello", headers=headers)
        assert answer.status_code == 400
        check_answer(spec, operation, answer)


def test_errors_are_those_that_it_describes(app):
    spec = app.asgi.openapi()
    infer, predict = (spec["paths"][path]["post"] for path in (INFER, "/v1/predict"))
    image = {"Content-Type": "image/png"}
    with app.client() as client, app.client("10.0.0.9") as stranger:
        answers = [
            (predict, stranger.post("/v1/predict", content=png(), headers=image), 403),
            (predict, client.post("/v1/predict", content=png()[:40], headers=image), 400),
            (predict, client.post("/v1/predict", content=bytes(20_000), headers=image), 413),
            (predict, client.post("/v1/predict", content=png(), headers={"Content-Type": "text/plain"}), 415),
            (infer, client.post("/v2/models/other/infer", json={}), 404),
            (infer, client.post("/v2/models/raysplit/infer", json={}), 400),
        ]
        for handle in app.handles.values():
            handle.faults = [ActorDiedError()] * 2
        answers.append((predict, client.post("/v1/predict", content=png(), headers=image), 503))
    for operation, answer, status in answers:
        assert answer.status_code == status, answer.text
        check_answer(spec, operation, answer)


def test_with_a_key_it_asks_for_it_and_does_not_describe_the_model(bundle, family, monkeypatch):
    monkeypatch.setenv("KEY_FOR_TEST", "sesame")
    split = SplitRoutes(ServerHalves(family, Limits()), SplitArgs(family="unused", access=KEY)).app
    ensemble = App(bundle, access=KEY).asgi
    for asgi, path in ((ensemble, "/v1/predict"), (split, "/v1/split")):
        with client_of(asgi) as client:
            spec = client.get("/openapi.json").json()
            operation = spec["paths"][path]["post"]
            [(scheme, _)] = [item for each in operation["security"] for item in each.items()]
            assert spec["components"]["securitySchemes"][scheme]["name"] == "X-API-Key"
            assert "security" not in spec["paths"]["/v2/health/ready"]["get"]
            check_answer(spec, operation, client.post(path, content=b""))
            for secret in (family.id, family.levels[0].level.replace("·", "."), "8, 8"):
                assert secret not in json.dumps(spec)


def test_schemas_refer_to_nothing_outside():
    assert "$ref" not in json.dumps(schema_of(Error))
