"""An ensemble of a network and a data set in memory."""

from __future__ import annotations

import torch

from raysplit.config import (
    BaseConfig,
    ClassifierFit,
    DataConfig,
    EnsembleConfig,
    FusionConfig,
    GroupsConfig,
    ModelConfig,
    PruneConfig,
)
from raysplit.data import load
from raysplit.ensemble.build import build_ensemble
from raysplit.models import build

VIT = ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 2, "heads": 3})


def test_an_ensemble_of_objects(tmp_path):
    digits = load(DataConfig(name="digits", train_rows=320), "train")
    base = build(VIT, 10, (1, 8, 8))
    before = {key: value.clone() for key, value in base.state_dict().items()}
    fit = ClassifierFit(epochs=1, batch_size=32, device="cpu")
    config = EnsembleConfig(
        name="digits_in_memory",
        data=[(image, int(label)) for image, label in zip(digits.images, digits.labels, strict=True)],
        base=BaseConfig(model=base, train=fit),
        groups=GroupsConfig(n=2),
        prune=PruneConfig(keep=0.67, proxy=16),
        retrain=None,
        fusion=FusionConfig(epochs=1, batch_size=32, device="cpu"),
    )
    build_ensemble(config, str(tmp_path))
    assert '"name": "object:VisionTransformer"' in (tmp_path / "config.json").read_text()
    assert all(torch.equal(value, base.state_dict()[key]) for key, value in before.items())
