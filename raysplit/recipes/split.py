"""Recipes for split training.

Names are DATASET_MODEL_SCHEDULE. The paper is Mudvari et al., ACM TOIT 24(4), 2024 (arXiv 2311.05739).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from raysplit.config import (
    UNCOMPRESSED,
    BottleneckConfig,
    DataConfig,
    Deprune,
    Fixed,
    FreezeAndCache,
    Level,
    LocalLoss,
    ModelConfig,
    Phase,
    Prune,
    Schedule,
    SplitConfig,
    Stage,
    TrainConfig,
)
from raysplit.recipes.registry import add


def recipe(function: Callable[[], SplitConfig]) -> Callable[[], SplitConfig]:
    """Register what a function returns, and leave the function to build on."""
    add(function())
    return function


# --- what several recipes share --------------------------------------------------------------------


def _deprune_ours(base: SplitConfig, name: str) -> SplitConfig:
    """Two thirds of the epochs at 4 channels, the rest at 16; 4 bits and zstd throughout."""
    phases = (
        Phase(level=Level(channels=4, up_bits=4, down_bits=4, entropy="zstd"), share=2),
        Phase(level=Level(channels=16, up_bits=4, down_bits=4, entropy="zstd"), share=1),
    )
    return base.replaced(name=name, bottleneck=BottleneckConfig(), schedule=Deprune(phases=phases))


def _frozen(base: SplitConfig, name: str) -> SplitConfig:
    """As many epochs for the device alone as for the server after it; all channels at 2 bits, and zstd."""
    half = Stage(level=Level(up_bits=2, down_bits=2, entropy="zstd"), share=1)
    return base.replaced(
        name=name,
        bottleneck=BottleneckConfig(),
        schedule=FreezeAndCache(learn=half, send=half, views=4),
        train=base.train.replaced(epochs=2 * base.train.epochs, local_loss=LocalLoss()),
    )


def _prune(levels: Sequence[Level | str], epochs: Sequence[int], lr_scale: float) -> Prune:
    """A stage for each level, loosest first; those after the base have their peak rate scaled."""
    scales = (1.0, *[lr_scale] * (len(levels) - 1))
    return Prune(
        phases=tuple(Stage(level=b, share=n, lr_scale=s) for b, n, s in zip(levels, epochs, scales, strict=True))
    )


# --- the demo's: small enough for a laptop --------------------------------------------------------


@recipe
def mnist5k_vgg11_uncompressed() -> SplitConfig:
    """The reference: the plain network, cut in two, fp32 both ways, nothing at the cut."""
    return SplitConfig(
        name="mnist5k_vgg11_uncompressed",
        data=DataConfig(name="mnist5k", augment="crop"),
        model=ModelConfig(name="vgg11", args={"width": 0.5}),
        cut="features.7",
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(epochs=8, batch_size=50, lr=0.05, precision="bf16", channels_last=True),
    )


@recipe
def mnist5k_vgg11_deprune() -> SplitConfig:
    """Deprune in our own terms: four channels first, sixteen later, 4 bits and zstd throughout."""
    return _deprune_ours(mnist5k_vgg11_uncompressed(), "mnist5k_vgg11_deprune")


@recipe
def mnist5k_vgg11_prune() -> SplitConfig:
    """A family of three in our own terms: all channels, sixteen, four; 4 bits and zstd throughout."""
    base, levels = mnist5k_vgg11_uncompressed(), ("all.b4/b4.zstd", "c16.b4/b4.zstd", "c4.b4/b4.zstd")
    return base.replaced(
        name="mnist5k_vgg11_prune",
        bottleneck=BottleneckConfig(),
        schedule=_prune(levels, (6, 2, 2), lr_scale=0.2),
        train=base.train.replaced(epochs=10),
    )


@recipe
def mnist5k_vgg11_frozen() -> SplitConfig:
    """The thin end: the device learns alone, four passes of 2-bit codes cross, the server learns from them."""
    return _frozen(mnist5k_vgg11_uncompressed(), "mnist5k_vgg11_frozen")


# --- ours, on the usual data sets -----------------------------------------------------------------


@recipe
def cifar10_vgg11_uncompressed() -> SplitConfig:
    """The reference for CIFAR-10: the plain full-width network, fp32 both ways."""
    return SplitConfig(
        name="cifar10_vgg11_uncompressed",
        data=DataConfig(name="cifar10", augment="crop_flip"),
        model=ModelConfig(name="vgg11"),
        cut="features.7",
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(epochs=22, batch_size=64, lr=0.05, precision="bf16", channels_last=True),
    )


@recipe
def cifar10_vgg11_fixed() -> SplitConfig:
    """All channels at four bits both ways: the cheapest level that costs no accuracy here."""
    return cifar10_vgg11_uncompressed().replaced(name="cifar10_vgg11_fixed", schedule=Fixed())


@recipe
def cifar10_vgg11_deprune() -> SplitConfig:
    """Deprune in our own terms on CIFAR-10."""
    return _deprune_ours(cifar10_vgg11_uncompressed(), "cifar10_vgg11_deprune")


@recipe
def cifar10_vgg11_frozen() -> SplitConfig:
    """Freeze and cache on CIFAR-10: four passes cross in 44 epochs, and nothing comes down."""
    return _frozen(cifar10_vgg11_uncompressed(), "cifar10_vgg11_frozen")


@recipe
def fashion_mnist_vgg11_deprune() -> SplitConfig:
    """Deprune on grey images of 28 pixels."""
    base = cifar10_vgg11_deprune()
    return base.replaced(name="fashion_mnist_vgg11_deprune", data=DataConfig(name="fashion_mnist", augment="crop_flip"))


# --- the paper's settings, and the same phases in our mode ----------------------------------------

_BUDGETED = Level(channels=4, up_bits=16, down_bits=16)
_MIDDLE = Level(channels=32, up_bits=16, down_bits=16)
_STRIDES: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
_MODES: tuple[Literal["paper", "raysplit"], ...] = ("paper", "raysplit")


def _paper(name: str, data: DataConfig, train: TrainConfig, box: BottleneckConfig, schedule: Schedule) -> SplitConfig:
    """The paper's network and cut: VGG-11 with batch norm after the second conv block, C = 128."""
    model = ModelConfig(name="vgg11")
    return SplitConfig(
        name=name, data=data, model=model, cut="features.7", bottleneck=box, schedule=schedule, train=train
    )


def _paper_train(epochs: int, lr: float, momentum: float, mode: str) -> TrainConfig:
    """Batch 16, constant rate, weight decay 5e-4, as published; our mode has momentum and a cosine instead."""
    plain = TrainConfig(
        epochs=epochs, batch_size=16, lr=lr, momentum=momentum, weight_decay=5e-4, lr_schedule="constant"
    )
    return plain if mode == "paper" else plain.replaced(momentum=0.9, lr_schedule="cosine")


def _data(name: str, mode: str) -> DataConfig:
    size = 224 if name == "imagenet100" else None
    return DataConfig(name=name, size=size, augment="none" if mode == "paper" else "crop_flip")


def _paper_deprune(data: str, epochs: tuple[int, int], lr: float, mode: str, stride: int) -> SplitConfig:
    """Tight epochs at B = 4 in fp16, then loose ones uncompressed; logits reset, a fresh optimiser between."""
    phases = (Phase(level=_BUDGETED, share=epochs[0]), Phase(level=UNCOMPRESSED, share=epochs[1]))
    return _paper(
        f"{data}_vgg11_deprune_{mode}_r{stride}",
        _data(data, mode),
        _paper_train(sum(epochs), lr, 0.0, mode),
        BottleneckConfig.model_validate({"mode": mode, "stride": stride}),
        Deprune(phases=phases),
    )


def _paper_prune(data: str, epochs: tuple[int, int, int], mode: str) -> SplitConfig:
    """A family: the base uncompressed, then B = 32 and B = 4 in fp16 by transfer; SGD with momentum at 1e-3."""
    return _paper(
        f"{data}_vgg11_prune_{mode}",
        _data(data, mode),
        _paper_train(sum(epochs), 1e-3, 0.9, mode),
        BottleneckConfig.model_validate({"mode": mode}),
        _prune((UNCOMPRESSED, _MIDDLE, _BUDGETED), epochs, lr_scale=1.0),
    )


def _paper_fixed(data: str, epochs: int, lr: float, momentum: float, name: str, level: Level) -> SplitConfig:
    """A baseline of equal epochs at one level; at full width too the bottleneck stays in."""
    return _paper(
        f"{data}_vgg11_{name}_paper",
        _data(data, "paper"),
        _paper_train(epochs, lr, momentum, "paper"),
        BottleneckConfig(mode="paper"),
        Fixed(level=level),
    )


for _mode in _MODES:
    for _r in _STRIDES:
        # Table of the deprune experiments: 15 + 7 epochs at 1e-2, and 25 + 12 at 1e-3.
        add(_paper_deprune("cifar10", (15, 7), 1e-2, _mode, _r))
        add(_paper_deprune("imagenet100", (25, 12), 1e-3, _mode, _r))
        # STL-10 is published for prune only (30 + 15 + 15 epochs); the same 2 : 1 split at its own rate.
        add(_paper_deprune("stl10", (40, 20), 1e-3, _mode, _r))
for _mode in _MODES:
    # The prune experiments: 30 + 10 + 10 epochs against 50 from scratch, 30 + 15 + 15 against 60.
    add(_paper_prune("cifar10", (30, 10, 10), _mode))
    add(_paper_prune("stl10", (30, 15, 15), _mode))
for _name, _level in (("uncompressed", UNCOMPRESSED), ("fixed", _BUDGETED)):
    add(_paper_fixed("cifar10", 22, 1e-2, 0.0, _name, _level))
    add(_paper_fixed("imagenet100", 37, 1e-3, 0.0, _name, _level))
    add(_paper_fixed("stl10", 60, 1e-3, 0.9, _name, _level))
