"""An ensemble's bundle: used, damaged and malicious."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from raysplit.data import load
from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import BundleError
from tests.ensemble.tiny_build import config


def test_a_prediction_is_fused_from_those_of_the_sub_models(built):
    ensemble = load_ensemble(str(built[0] / "bundle"))
    images = load(config().data, "test").images[:5]
    x = ensemble.normalize(images)
    each = [ensemble.predict_submodel(index, x) for index in range(3)]
    for entry, one in zip(ensemble.manifest.submodels, each, strict=True):
        assert one.features.shape == (5, entry.features) and one.probabilities.shape == (5, entry.outputs)
        assert torch.allclose(one.probabilities.sum(1), torch.ones(5))
    assert torch.equal(ensemble.fuse([one.features for one in each]), ensemble.predict(images))
    features = [each[0].features, None, each[2].features]
    assert torch.equal(ensemble.fuse(features), ensemble.predict(images, missing=[1]))


@pytest.mark.parametrize("fault", ["flipped", "missing", "version"])
def test_a_damaged_bundle_is_refused_with_the_files_name(fault, built, tmp_path):
    place = tmp_path / "bundle"
    shutil.copytree(Path(built[0]) / "bundle", place)
    part = place / "submodels/1.safetensors"
    if fault == "flipped":
        data = bytearray(part.read_bytes())
        data[-1] ^= 1
        part.write_bytes(data)
    elif fault == "missing":
        part.unlink()
    else:
        manifest = json.loads((place / "manifest.json").read_text()) | {"format": 99}
        (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        BundleError, match=r"manifest\.json .* of format 99" if fault == "version" else r"submodels/1\.safetensors"
    ):
        load_ensemble(str(place))


def test_a_sub_model_can_be_trained_after_it_predicted(built):
    ensemble = load_ensemble(str(built[0] / "bundle"))
    ensemble.predict(load(config().data, "test").images[:2])
    ensemble.submodel(0)(torch.rand(2, 1, 8, 8)).sum().backward()


def test_a_pickle_whose_hash_is_right_is_refused_by_name(built, tmp_path):
    place = tmp_path / "bundle"
    shutil.copytree(Path(built[0]) / "bundle", place)
    part = place / "submodels/0.safetensors"
    torch.save({"head.weight": torch.zeros(1)}, part)
    manifest = json.loads((place / "manifest.json").read_text())
    known = {"sha256": hashlib.sha256(part.read_bytes()).hexdigest(), "bytes": part.stat().st_size}
    manifest["files"]["submodels/0.safetensors"] = known
    (place / "manifest.json").write_text(json.dumps(manifest))
    ensemble = load_ensemble(str(place))
    with pytest.raises(BundleError, match=r"submodels/0\.safetensors is a pickle"):
        ensemble.predict(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_one_sub_model_needs_no_file_of_the_others(built, tmp_path):
    place = tmp_path / "bundle"
    shutil.copytree(Path(built[0]) / "bundle", place)
    for name in ("submodels/0.safetensors", "submodels/2.safetensors", "fusion.safetensors"):
        (place / name).unlink()
    ensemble, whole = load_ensemble(str(place), submodels=[1], fusion=False), load_ensemble(str(built[0] / "bundle"))
    x = whole.normalize(torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8))
    assert ensemble.id == whole.id and ensemble.manifest == whole.manifest
    assert torch.equal(ensemble.predict_submodel(1, x).features, whole.predict_submodel(1, x).features)
    with pytest.raises(BundleError, match=r"was opened without submodels/0\.safetensors"):
        ensemble.submodel(0)
    with pytest.raises(BundleError, match=r"fusion\.safetensors of bundle .* is missing"):
        load_ensemble(str(place), submodels=[1])
    with pytest.raises(BundleError, match=r"safetensors of bundle .* is missing"):
        load_ensemble(str(place))


def test_the_manifest_alone_is_read_without_any_weights(built, tmp_path):
    place = tmp_path / "bundle"
    place.mkdir()
    shutil.copy(Path(built[0]) / "bundle/manifest.json", place)
    assert load_ensemble(str(place), submodels=(), fusion=False).id == load_ensemble(str(built[0] / "bundle")).id
