"""An ingress while a new bundle is rolled out: its own bundle or another, never a mixture."""

from __future__ import annotations

import asyncio
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from raysplit.config import EnsembleConfig, loads
from raysplit.ensemble.build import build_ensemble
from raysplit.ensemble.bundle import load_ensemble
from raysplit.serving.ensemble.bundles import Bundles
from tests.serving.apps import App

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def old(tiny_ensemble):
    return str(tiny_ensemble / "bundle")


@pytest.fixture(scope="module")
def new(tiny_ensemble, tmp_path_factory):
    """Return a bundle with other weights."""
    config = loads(EnsembleConfig, (tiny_ensemble / "config.json").read_text(), where="the tiny ensemble")
    folder = tmp_path_factory.mktemp("new")
    build_ensemble(config.replaced(seed=config.seed + 1), str(folder))
    return str(folder / "bundle")


def infer(client, path="/v2/models/raysplit/infer"):
    tensor = {"name": "images", "datatype": "UINT8", "shape": IMAGES.shape, "data": IMAGES.ravel().tolist()}
    return client.post(path, json={"inputs": [tensor]})


def rolled_out(old: str, new: str, names) -> App:
    """Return an application of the old bundle some of whose sub-models have the new one already."""
    app, after = App(old), App(new)
    for name in names:
        app.handles[name].submodels = after.handles[name].submodels
    return app


@pytest.mark.parametrize(
    ("replaced", "answered", "missing"), [((0,), "old", [0]), ((0, 2), "new", [1]), ((0, 1, 2), "new", [])]
)
def test_an_answer_names_the_bundle_that_all_of_it_comes_from(old, new, replaced, answered, missing):
    app = rolled_out(old, new, [f"submodel-{index}" for index in replaced])
    ensemble = load_ensemble(new if answered == "new" else old)
    file = io.BytesIO()
    Image.fromarray(IMAGES[0, 0]).save(file, "PNG")
    with app.client() as client:
        answer = infer(client).json()
        found = client.post("/v1/predict", content=file.getvalue(), headers={"Content-Type": "image/png"}).json()
        ready = client.get("/v2/health/ready").status_code
        pinned = infer(client, f"/v2/models/raysplit/versions/{load_ensemble(old).id[:12]}/infer").status_code
    assert answer["model_version"] == found["bundle"] == ensemble.id[:12]
    assert answer["parameters"] == {"degraded": bool(missing), "missing": ",".join(map(str, missing))}
    expected = ensemble.predict(torch.from_numpy(IMAGES), missing).numpy()
    np.testing.assert_array_equal(np.array(answer["outputs"][0]["data"], np.float32).reshape(2, -1), expected)
    assert found["missing"] == missing and found["images"][0]["top"][0]["name"] == str(expected[0].argmax())
    assert ready == 200
    assert pinned == (404 if answered == "new" else 200)  # a client that asks for a version gets no other


def test_another_bundle_is_loaded_once_and_only_if_it_is_the_one(old, new, caplog):
    bundles, replacement = Bundles(load_ensemble(old)), load_ensemble(new)

    async def find():
        found = await asyncio.gather(*(bundles.find(replacement.id, new) for _ in range(2)))
        assert found[0] is found[1] and found[0].id == replacement.id
        assert await bundles.find(bundles.own.id, "gone") is bundles.own
        assert await bundles.find("0" * 64, new) is None
        assert await bundles.find("1" * 64, f"{new}/gone") is None

    asyncio.run(find())
    assert "which this replica cannot load" in caplog.text


def test_a_bundle_for_other_images_is_not_answered_with(old, new, monkeypatch):
    replacement = load_ensemble(new)
    own = SimpleNamespace(id="own", manifest=replace_shape(load_ensemble(old).manifest))
    assert asyncio.run(Bundles(own).find(replacement.id, new)) is None


def replace_shape(manifest):
    return manifest.model_copy(update={"shape": (3, 8, 8)})
