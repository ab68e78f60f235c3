"""`raysplit predict`: against the ensemble itself, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from raysplit.cli.main import main
from raysplit.cli.predict import predict_files
from raysplit.config import DataConfig
from raysplit.data import load
from raysplit.data.decode import decode
from raysplit.data.inputs import InputFormat
from raysplit.ensemble import bundle as bundle_module
from raysplit.ensemble.bundle import load_ensemble
from raysplit.family import load_run


def test_predict(capsys, bundle, digits):
    assert main(["predict", bundle, *digits]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    ensemble = load_ensemble(bundle)
    images = [decode(Path(path), 8, 1) for path in digits]
    expected = ensemble.predict(torch.from_numpy(np.stack(images)))
    for path, row, shares in zip(digits, rows, expected, strict=True):
        best = shares.topk(3)
        wanted = [f"{i} {100 * share:.1f}%" for i, share in zip(best.indices.tolist(), best.values, strict=True)]
        assert " ".join(row) == f"{path} {wanted[0]} {wanted[1]}, {wanted[2]}"


def test_predict_as_json(capsys, bundle, digits):
    assert main(["predict", bundle, *digits, "--json", "--top", "99", "--missing", "0,2"]) == 0
    found = json.loads(capsys.readouterr().out)["images"]
    assert [row["file"] for row in found] == digits
    expected = load_ensemble(bundle).predict(load(DataConfig(name="digits"), "test").images[:1], missing=[0, 2])[0]
    shares = {answer["class"]: answer["probability"] for answer in found[0]["top"]}
    assert [shares[str(i)] for i in range(10)] == pytest.approx(expected.tolist(), rel=1e-4)
    for row in found:
        order = [answer["probability"] for answer in row["top"]]
        assert order == sorted(order, reverse=True) and sum(order) == pytest.approx(1)


def test_predict_one_class(capsys, bundle, digits):
    assert main(["predict", bundle, digits[0], "--top", "1"]) == 0
    assert len(capsys.readouterr().out.split()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top", "0"], "--top must be at least 1, got 0"),
        (["--missing", "1,x"], "--missing '1,x' is not a list of sub-models"),
        (["--missing", "3"], "has no sub-model 3; it has 0 to 2"),
        (["--missing", "0,1,2"], "--missing: all 3 sub-models of"),
    ],
)
def test_predict_with_wrong_options(fail, words, message, bundle, digits):
    assert message in fail("predict", bundle, digits[0], *words)


def test_predict_of_unreadable_files(fail, bundle, digits, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(Path(digits[1]).read_bytes()[:100])
    for name, reason in (
        ("text.png", "this is not an image"),
        ("cut.png", "unreadable image"),
        ("none.png", "unreadable image (FileNotFoundError"),
    ):
        text = fail("predict", bundle, digits[0], str(tmp_path / name))
        assert text.startswith(f"error: {tmp_path / name}: ") and reason in text


@pytest.mark.parametrize(("shape", "mode"), [((3, 12, 20), "RGB"), ((1, 12, 20), "L"), ((3, 16, 16), "RGB")])
def test_images_come_in_the_bundles_shape(shape, mode, monkeypatch, tmp_path):
    seen = []

    def answer(images, missing):
        seen.append((images, missing))
        return torch.tensor([[0.25, 0.75]]).expand(len(images), 2)

    manifest = SimpleNamespace(submodels=(0, 1), classes=("cat", "dog"), shape=shape, input=InputFormat(shape))
    loaded = SimpleNamespace(manifest=manifest, predict=answer)
    monkeypatch.setattr(bundle_module, "load_ensemble", lambda _: loaded)
    random, files = np.random.default_rng(0), [str(tmp_path / f"{i}.png") for i in range(70)]
    for file in files:
        Image.fromarray(random.integers(256, size=(30, 50, 3), dtype=np.uint8)).save(file)
    found = predict_files("x", files, 2, [1])
    assert [one.file for one in found] == files
    assert found[0].to_json()["top"] == [{"class": "dog", "probability": 0.75}, {"class": "cat", "probability": 0.25}]
    assert [len(images) for images, _ in seen] == [64, 6] and seen[0][1] == [1]
    for images, file in ((seen[0][0][0], files[0]), (seen[1][0][5], files[69])):
        assert images.dtype == torch.uint8 and images.shape == shape
        wanted = Image.open(file).convert(mode).resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
        pixels = np.asarray(wanted).reshape(*shape[1:], shape[0]).transpose(2, 0, 1)
        assert np.array_equal(images.numpy(), pixels)


def test_predict_with_the_network_of_a_family(capsys, family, digits, fail):
    location = family._bundle.location
    assert main(["predict", location, *digits, "--json", "--top", "10"]) == 0
    found = json.loads(capsys.readouterr().out)["images"]
    network = load_run(location, family.levels[0].level)
    for path, row in zip(digits, found, strict=True):
        logits = network(torch.from_numpy(decode(Path(path), 8, 1)).unsqueeze(0))[0]
        shares = {answer["class"]: answer["probability"] for answer in row["top"]}
        assert [shares[name] for name in family.manifest.classes] == pytest.approx(logits.softmax(0).tolist())
    assert "has no sub-models; leave it out" in fail("predict", location, digits[0], "--missing", "1")
