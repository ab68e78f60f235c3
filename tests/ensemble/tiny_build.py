"""A build of seconds that tests vary."""

from __future__ import annotations

from raysplit.config import (
    BaseConfig,
    ClassifierFit,
    DataConfig,
    EnsembleConfig,
    FusionConfig,
    GroupsConfig,
    ModelConfig,
    PruneConfig,
    RetrainConfig,
)

FIT = {"epochs": 2, "batch_size": 32, "device": "cpu"}
VIT = ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 2, "heads": 3})


def config(**changes):
    """Return the config of three sub-models of a small ViT for 8×8 digits: seconds' work."""
    plain = EnsembleConfig(
        name="tiny",
        data=DataConfig(name="digits", train_rows=320),
        base=BaseConfig(model=VIT, train=ClassifierFit(**FIT)),
        groups=GroupsConfig(n=3),
        prune=PruneConfig(keep=0.67, proxy=16),
        retrain=RetrainConfig(**FIT, distill=1.0),
        fusion=FusionConfig(epochs=3, batch_size=32, device="cpu"),
    )
    return plain.replaced(**changes)
