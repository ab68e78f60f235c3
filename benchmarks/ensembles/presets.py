"""What the presets of the ensemble benchmark train, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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


@dataclass(frozen=True)
class Scale:
    """What a preset trains, and how much; narrow, so that two CPU cores can do it."""

    model: ModelConfig
    images: int
    """Training images of the base, the sub-models and the fusion."""
    base_epochs: int
    retrain_epochs: int
    batch_size: int
    views: int
    """Passes over the training images that the fusion learns from."""
    common_epochs: int
    """Of the net of all classes that the sub-models start from."""
    keep: float
    """Share of the base that a sub-model keeps."""
    retrain_batch: int = 32
    fusion_epochs: int = 20
    feature_dropout: float = 0.1
    """How often the fusion learns without a sub-model."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of the base's training, of convolutional sub-models' too, and of all sub-models' files."""
    compile: bool = False
    """Whether torch.compile is worth its minute: for long trainings of small transformers."""


_CNN = ModelConfig(name="vgg9", args={"width": 0.5, "dropout": 0.0})
_SNN = ModelConfig(name="spiking_vgg5", args={"width": 0.5})


def _vit(width: int, depth: int) -> ModelConfig:
    """Half of the patches are left out in training, which takes half the time (PatchDropout, Liu et al. 2023)."""
    args = {"patch": 4, "width": width, "depth": depth, "heads": 6, "patch_drop_rate": 0.5}
    return ModelConfig(name="vit", args=args)


_VIT_KEEP, _VGG_KEEP = 2 / 6, 5 / 16
"""Ten sub-models need about as many operations as the base."""
PRESETS = {
    "quick": {
        "vit": Scale(
            _vit(96, 4),
            images=2000,
            base_epochs=20,
            retrain_epochs=8,
            batch_size=32,
            views=2,
            common_epochs=20,
            keep=_VIT_KEEP,
        ),
        "cnn": Scale(
            _CNN,
            images=2000,
            base_epochs=6,
            retrain_epochs=2,
            batch_size=32,
            views=1,
            common_epochs=6,
            keep=_VGG_KEEP,
        ),
        "snn": Scale(
            _SNN,
            images=2000,
            base_epochs=4,
            retrain_epochs=1,
            batch_size=32,
            views=1,
            common_epochs=4,
            keep=_VGG_KEEP,
        ),
    },
    "full": {
        "vit": Scale(
            _vit(192, 6),
            images=48_000,
            base_epochs=8,
            retrain_epochs=3,
            batch_size=128,
            views=1,
            retrain_batch=64,
            common_epochs=10,
            keep=_VIT_KEEP,
            compile=True,
        ),
        "cnn": Scale(
            _CNN,
            images=10_000,
            base_epochs=20,
            retrain_epochs=6,
            batch_size=50,
            views=2,
            common_epochs=20,
            keep=_VGG_KEEP,
        ),
        "snn": Scale(
            _SNN,
            images=5000,
            base_epochs=16,
            retrain_epochs=6,
            batch_size=50,
            views=2,
            common_epochs=20,
            keep=_VGG_KEEP,
            fusion_epochs=60,
        ),
    },
    "devices": {
        # As small as sub-models of a VGG become, 16 filters a layer, and fp32: latencies of every processor compare.
        "cnn": Scale(
            _CNN,
            images=48_000,
            base_epochs=12,
            retrain_epochs=4,
            batch_size=50,
            views=1,
            common_epochs=10,
            keep=1 / 16,
            feature_dropout=0.2,
            precision="fp32",
        ),
    },
}
"""By name and family. `devices` says what splitting pays for: one net of a device's size beside ever more of them."""
_CONVOLUTIONAL: dict[str, Any] = {
    "optimizer": "sgd",
    "lr": 0.02,
    "weight_decay": 5e-4,
    "channels_last": True,
    "precision": "bf16",
}
FITS: dict[str, dict[str, Any]] = {
    "vit": {"optimizer": "muon", "lr": 1e-3, "warmup": 0.15, "label_smoothing": 0.1},
    "cnn": _CONVOLUTIONAL,
    "snn": _CONVOLUTIONAL,
}
_DIGITS = ("mnist5k", "digits")
"""Small data sets, whose images must not be flipped."""


def dataset(data: str) -> str:
    """Return a data set's name without the path: `parquet:/data/cifar10` is cifar10."""
    return Path(data.rpartition(":")[2]).name


def fit_of(family: str, scale: Scale) -> dict[str, Any]:
    """Return the settings that base and sub-models are trained with."""
    fit = FITS[family] | {"compile": scale.compile}
    return fit | {"precision": scale.precision} if "precision" in fit else fit


def start(family: str, data: str, preset: str, seed: int) -> EnsembleConfig:
    """Return the config of the row `n=10`, with a base to train."""
    scale, small = PRESETS[preset][family], dataset(data) in _DIGITS
    base = {"batch_size": scale.batch_size, "precision": scale.precision, "epochs": scale.base_epochs, "seed": seed}
    again = {"batch_size": scale.retrain_batch, "epochs": scale.retrain_epochs, "distill": 1.0}
    common = again | {"batch_size": scale.batch_size, "epochs": scale.common_epochs}
    fit = fit_of(family, scale)
    return EnsembleConfig(
        name="n=10",
        data=DataConfig(
            name=data,
            train_rows=None if dataset(data) == "digits" else scale.images,
            val_fraction=0.1 if small else 0.04,
            augment="crop" if small else "crop_flip",
        ),
        base=BaseConfig(model=scale.model, train=ClassifierFit.model_validate(fit | base)),
        groups=GroupsConfig(n=10, seed=seed),
        prune=PruneConfig(keep=scale.keep, scores="fast" if family == "vit" else "apoz"),
        common=RetrainConfig.model_validate(fit | common),
        retrain=RetrainConfig.model_validate(fit | again),
        fusion=FusionConfig(
            epochs=scale.fusion_epochs,
            views=scale.views,
            feature_dropout=scale.feature_dropout,
            compile=scale.compile,
        ),
        precision=scale.precision,
        seed=seed,
    )


def of_base(config: EnsembleConfig) -> EnsembleConfig:
    """Return the config of the base alone: only what it depends on, so that other settings may change."""
    one, whole = GroupsConfig(n=1), PruneConfig(keep=1.0)
    return EnsembleConfig(name="base", data=config.data, base=config.base, groups=one, prune=whole, seed=config.seed)
