"""Recipes for ensembles of sub-models.

Names are DATASET_MODEL_nN. ED-ViT is Liu et al., arXiv 2410.11650; EC-SNN is Yu et al., IJCAI 2024.
"""

from __future__ import annotations

from typing import Literal

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
from raysplit.hardware.processor import fast_precision
from raysplit.recipes.registry import add

_VIT_FIT = ClassifierFit(epochs=20, batch_size=32, optimizer="muon", warmup=0.15, label_smoothing=0.1)
_CNN_FIT = ClassifierFit(
    epochs=4, batch_size=50, optimizer="sgd", lr=0.02, weight_decay=5e-4, precision=fast_precision(), channels_last=True
)


def _make_recipe(
    name: str,
    data: DataConfig,
    model: ModelConfig,
    fit: ClassifierFit,
    retrain_epochs: int,
    n: int,
    keep: float,
    scores: Literal["fast", "apoz"],
) -> EnsembleConfig:
    """Return a recipe whose sub-models are trained like the base, with distillation from it."""
    retrain = fit.model_dump() | {"epochs": retrain_epochs, "distill": 1.0}
    return EnsembleConfig(
        name=name,
        data=data,
        base=BaseConfig(model=model, train=fit),
        groups=GroupsConfig(n=n),
        prune=PruneConfig(keep=keep, scores=scores),
        retrain=RetrainConfig.model_validate(retrain),
        fusion=FusionConfig(epochs=20),
    )


# --- on data that come with Python packages: minutes on a laptop ------------------------------------

_DIGITS = DataConfig(name="mnist5k", augment="crop")

add(
    _make_recipe(
        "mnist5k_vit_n3",
        _DIGITS,
        ModelConfig(name="vit", args={"patch": 7, "width": 96, "depth": 4, "heads": 6}),
        _VIT_FIT,
        retrain_epochs=16,
        n=3,
        keep=0.5,
        scores="fast",
    )
)
add(
    _make_recipe(
        "mnist5k_cnn_n3",
        _DIGITS,
        ModelConfig(name="vgg9", args={"width": 0.5}),
        _CNN_FIT,
        retrain_epochs=2,
        n=3,
        keep=0.5,
        scores="apoz",
    )
)
add(
    _make_recipe(
        "mnist5k_snn_n3",
        _DIGITS,
        ModelConfig(name="spiking_vgg5", args={"width": 0.5}),
        _CNN_FIT,
        retrain_epochs=2,
        n=3,
        keep=0.5,
        scores="apoz",
    )
)
