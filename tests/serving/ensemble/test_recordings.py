"""An ensemble for recordings over HTTP: a WAV file posted gets an answer, and so does the page."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch

from raysplit.ensemble.bundle import load_ensemble
from tests.browser import assert_readable, browser, needs_chromium, opened
from tests.serving.apps import App
from tests.sounds import encode, tone, wav

__all__ = ["browser"]
LONG, SHORT = wav(tone(300, 0.9)), encode(tone(2_500, 0.2, 16_000), "FLAC", rate=16_000)


@pytest.fixture(scope="module")
def bundle(audio_ensemble):
    return str(audio_ensemble / "bundle")


@pytest.fixture
def app(bundle):
    return App(bundle, limits={"images": 8, "pixels": 50_000})


@pytest.fixture
def client(app):
    with app.client() as client:
        yield client


def expected(bundle: str, data: bytes) -> list[float]:
    ensemble = load_ensemble(bundle)
    probabilities = ensemble.predict(torch.from_numpy(ensemble.manifest.input.decode(data))).mean(0)
    return sorted(probabilities.tolist(), reverse=True)


@pytest.mark.parametrize("kind", ["audio/wav", "audio/flac", "audio/x-wav; rate=8000", "application/octet-stream"])
@pytest.mark.parametrize("data", [LONG, SHORT], ids=["long", "short"])
def test_a_recording_is_answered(client, bundle, data, kind):
    answer = client.post("/v1/predict", content=data, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    [found] = answer.json()["images"]
    assert [one["probability"] for one in found["top"]] == pytest.approx(expected(bundle, data), rel=1e-4)
    assert len(found["submodels"]) == 2


def test_several_recordings_have_an_answer_each(client, bundle):
    files = [("file", ("long.wav", LONG)), ("file", ("short.flac", SHORT))]
    found = client.post("/v1/predict", files=files).json()["images"]
    assert [one["file"] for one in found] == ["long.wav", "short.flac"]
    for one, data in zip(found, (LONG, SHORT), strict=True):
        assert [entry["probability"] for entry in one["top"]] == pytest.approx(expected(bundle, data), rel=1e-4)


def test_the_protocol_takes_recordings_and_spectrograms(client, bundle):
    texts = [base64.b64encode(data).decode() for data in (LONG, SHORT)]
    tensor = {"name": "files", "datatype": "BYTES", "shape": [2], "data": texts}
    outputs = client.post("/v2/models/raysplit/infer", json={"inputs": [tensor]}).json()["outputs"]
    found = np.array(outputs[0]["data"]).reshape(outputs[0]["shape"])
    assert found.shape == (2, 3)
    for row, data in zip(found, (LONG, SHORT), strict=True):
        assert sorted(row, reverse=True) == pytest.approx(expected(bundle, data), rel=1e-4)
    images = load_ensemble(bundle).manifest.input.decode(LONG)
    pixels = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
    outputs = client.post("/v2/models/raysplit/infer", json={"inputs": [pixels]}).json()["outputs"]
    assert outputs[0]["shape"] == [len(images), 3]


@pytest.mark.parametrize(
    ("data", "kind", "status", "text"),
    [
        (LONG, "image/png", 415, "send one file as audio/*"),
        (LONG, "text/plain", 415, "send one file as audio/*"),
        (b"\x89PNG\r\n\x1a\n" + bytes(90), "audio/wav", 415, "recording 0: this is no recording"),
        (b"", "audio/wav", 400, "recording 0: the file is empty"),
        (LONG[:-9], "audio/wav", 400, "incomplete"),
        (wav(np.zeros(0)), "audio/wav", 400, "no samples; send complete recordings"),
        (wav(tone(300, 4.0)), "audio/wav", 413, "are cut into 16 chunks of 0.256 s, at most 8"),
        (wav(tone(300, 1.2, 48_000), 48_000), "audio/wav", 413, "has 57,600 samples, more than 50,000"),
        (encode(np.zeros((7_000, 8)), "FLAC"), "audio/flac", 413, "has 56,000 samples"),
    ],
)
def test_what_is_refused(client, data, kind, status, text):
    answer = client.post("/v1/predict", content=data, headers={"Content-Type": kind})
    assert answer.status_code == status and text in answer.json()["error"], answer.text


def test_openapi_asks_for_recordings(app):
    spec = app.asgi.openapi()
    body = spec["paths"]["/v1/predict"]["post"]["requestBody"]
    assert body["content"].keys() == {"audio/*", "application/octet-stream", "multipart/form-data"}
    assert body["description"].startswith("One audio file as the body")
    infer = spec["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]
    with app.client() as client:
        for example in infer["examples"].values():
            answer = client.post("/v2/models/raysplit/infer", json=example["value"])
            assert answer.status_code == 200, answer.text


@needs_chromium
def test_the_page_plays_and_answers_a_recording(browser, bundle, tmp_path):
    (tmp_path / "tone.wav").write_bytes(LONG)
    with opened(browser, App(bundle).asgi) as page:
        assert "A recording of one of: high, low, middle" in page.inner_text("#expected")
        assert "Drop a recording here" in page.inner_text("#drop")
        page.set_input_files("#file", str(tmp_path / "tone.wav"))
        page.wait_for_selector("#answer", state="visible")
        assert page.locator("#top tr").count() == 3 and page.is_hidden("#error")
        assert page.is_visible("#player") and page.is_hidden("#preview")
        assert_readable(page, "ensemble-audio")
