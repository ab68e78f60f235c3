"""A constant channel is said, wherever the images come from and whatever they are normalized by."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from raysplit.config import DataConfig, ModelConfig
from raysplit.data import export, load
from raysplit.train.normalization import choose_normalization

SAID = "channel 1 of 3 is 9 in every pixel of all 12 images, so nothing can be learned from it; look at the image files"


def pairs():
    """Sixteen images whose green is 9, in two classes."""
    draw = np.random.RandomState(0)
    for number in range(16):
        pixels = draw.randint(0, 255, (8, 8, 3)).astype(np.uint8)
        pixels[..., 1] = 9
        yield pixels, number % 2


def source(kind, place) -> DataConfig:
    if kind == "memory":
        return DataConfig(dataset=(list(pairs()), list(pairs())), val_fraction=0.25)
    for split in ("train", "test"):
        for number, (pixels, label) in enumerate(pairs()):
            file = place / split / str(label) / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    folder = DataConfig(name=f"folder:{place}", val_fraction=0.25)
    if kind == "folder":
        return folder
    for split in ("train", "test"):
        export(folder, split, place / f"{split}.parquet")
    return DataConfig(name=f"parquet:{place}", val_fraction=0.25)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("kind", ["memory", "folder", "parquet"])
def test_a_constant_channel(tmp_path, monkeypatch, caplog, kind, weights):
    expected = ((0.5,) * 3, (0.2,) * 3)
    if weights:
        monkeypatch.setattr("raysplit.train.normalization.read_normalization", lambda *_: expected)
    images = load(source(kind, tmp_path), "train").images
    with caplog.at_level(logging.WARNING):
        by, mean, std = choose_normalization(ModelConfig(name="vgg11"), images)
    assert caplog.messages == [SAID]
    assert (by, (mean, std) == expected) == (("weights", True) if weights else ("data", False))
    assert torch.isfinite(torch.tensor(std)).all() and min(std) > 0
