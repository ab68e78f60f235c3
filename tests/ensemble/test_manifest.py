"""Manifests of ensembles that contradict themselves, or that name code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from raysplit.ensemble.bundle import load_ensemble
from raysplit.errors import BundleError


def test_a_bundle_cannot_name_code_to_run(built, tmp_path):
    place = tmp_path / "bundle"
    shutil.copytree(Path(built[0]) / "bundle", place)
    (place / "evil.py").write_text("raise SystemExit('ran')")
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["about"]["parts"][0]["model"]["name"] = f"{place}/evil.py:make"
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"parts\.0\.model: .*evil\.py:make' is not a network that sub-models can be"):
        load_ensemble(str(place))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda about: about["parts"][1].update(classes=[3, 99]),
            r"submodels/1.* has class 99; the classes are 0 to 9",
        ),
        (lambda about: about.update(mean=[0.5, 0.5]), "mean and std have 2 and 1 numbers for 1 channels"),
        (lambda about: about.update(parts=[]), "parts"),
        (lambda about: about["parts"][0].update(features=-5), r"parts\.0\.features"),
        (lambda about: about.update(layers=10**9), "layers"),
        (lambda about: about.update(std=[0.0]), r"std\.0"),
    ],
    ids=["class", "mean", "parts", "features", "layers", "std"],
)
def test_a_manifest_that_contradicts_itself_is_refused(built, tmp_path, change, message):
    place = tmp_path / "bundle"
    shutil.copytree(Path(built[0]) / "bundle", place)
    manifest = json.loads((place / "manifest.json").read_text())
    change(manifest["about"])
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=rf"manifest\.json of ensemble .* is malformed: .*{message}"):
        load_ensemble(str(place))
