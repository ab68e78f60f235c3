"""What stands behind `raysplit inspect` and `raysplit predict`; most of it is tested in test_cli.py."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from raysplit.cli import bundles as show


@pytest.mark.parametrize(("shape", "mode"), [((3, 12, 20), "RGB"), ((1, 12, 20), "L"), ((3, 16, 16), "RGB")])
def test_images_come_in_the_bundles_shape(shape, mode, monkeypatch, tmp_path):
    seen = []

    def answer(images, missing):
        seen.append((images, missing))
        return torch.tensor([[0.25, 0.75]]).expand(len(images), 2)

    manifest = SimpleNamespace(submodels=(0, 1), classes=("cat", "dog"), shape=shape)
    loaded = SimpleNamespace(manifest=manifest, predict=answer)
    monkeypatch.setattr(show.ensembles, "load_ensemble", lambda _: loaded)
    random, files = np.random.default_rng(0), [str(tmp_path / f"{i}.png") for i in range(70)]
    for file in files:
        Image.fromarray(random.integers(256, size=(30, 50, 3), dtype=np.uint8)).save(file)
    found = show.predict("x", files, 2, [1])
    assert [row["file"] for row in found] == files
    assert found[0]["top"] == [{"class": "dog", "probability": 0.75}, {"class": "cat", "probability": 0.25}]
    assert [len(images) for images, _ in seen] == [64, 6] and seen[0][1] == [1]
    for images, file in ((seen[0][0][0], files[0]), (seen[1][0][5], files[69])):
        assert images.dtype == torch.uint8 and images.shape == shape
        wanted = Image.open(file).convert(mode).resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
        pixels = np.asarray(wanted).reshape(*shape[1:], shape[0]).transpose(2, 0, 1)
        assert np.array_equal(images.numpy(), pixels)
