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
from raysplit.hardware.processor import fast_precision
from raysplit.recipes.registry import add


def recipe(function: Callable[[], SplitConfig]) -> Callable[[], SplitConfig]:
    """Register the config that a function returns; the function stays for variants to build on."""
    add(function())
    return function


# --- shared by several recipes ---------------------------------------------------------------------


def _deprune(base: SplitConfig, name: str) -> SplitConfig:
    """Return a variant with two thirds of the epochs at 4 channels, the rest at 16; 4 bits and zstd throughout."""
    phases = (
        Phase(level=Level(channels=4, up_bits=4, down_bits=4, entropy="zstd"), share=2),
        Phase(level=Level(channels=16, up_bits=4, down_bits=4, entropy="zstd"), share=1),
    )
    return base.replaced(name=name, bottleneck=BottleneckConfig(), schedule=Deprune(phases=phases))


def _freeze_and_cache(base: SplitConfig, name: str) -> SplitConfig:
    """Return a variant that trains the device alone, then the server for as long; all channels at 2 bits, zstd."""
    half = Stage(level=Level(up_bits=2, down_bits=2, entropy="zstd"), share=1)
    return base.replaced(
        name=name,
        bottleneck=BottleneckConfig(),
        schedule=FreezeAndCache(learn=half, send=half, views=4),
        train=base.train.replaced(epochs=2 * base.train.epochs, local_loss=LocalLoss()),
    )


def _prune(levels: Sequence[Level | str], epochs: Sequence[int], lr_scale: float) -> Prune:
    """Return a schedule with a stage for each level, loosest first; the peak rate of later stages is scaled."""
    scales = (1.0, *[lr_scale] * (len(levels) - 1))
    return Prune(
        phases=tuple(Stage(level=b, share=n, lr_scale=s) for b, n, s in zip(levels, epochs, scales, strict=True))
    )


# --- small enough for a laptop --------------------------------------------------------------------


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
        train=TrainConfig(epochs=8, batch_size=50, lr=0.05, precision=fast_precision(), channels_last=True),
    )


@recipe
def mnist5k_vgg11_deprune() -> SplitConfig:
    """Deprune with our settings: four channels first, sixteen later, 4 bits and zstd throughout."""
    return _deprune(mnist5k_vgg11_uncompressed(), "mnist5k_vgg11_deprune")


@recipe
def mnist5k_vgg11_prune() -> SplitConfig:
    """A family of three with our settings: all channels, sixteen, four; 4 bits and zstd throughout."""
    base, levels = mnist5k_vgg11_uncompressed(), ("all.b4/b4.zstd", "c16.b4/b4.zstd", "c4.b4/b4.zstd")
    return base.replaced(
        name="mnist5k_vgg11_prune",
        bottleneck=BottleneckConfig(),
        schedule=_prune(levels, (6, 2, 2), lr_scale=0.2),
        train=base.train.replaced(epochs=10),
    )


@recipe
def mnist5k_vgg11_frozen() -> SplitConfig:
    """The least traffic: the device trains alone, then the server on four passes of 2-bit codes."""
    return _freeze_and_cache(mnist5k_vgg11_uncompressed(), "mnist5k_vgg11_frozen")


# --- our settings on the common data sets ---------------------------------------------------------


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
        train=TrainConfig(epochs=22, batch_size=64, lr=0.05, precision=fast_precision(), channels_last=True),
    )


@recipe
def cifar10_vgg11_fixed() -> SplitConfig:
    """All channels at four bits both ways: the lowest level without a loss of accuracy on this data set."""
    return cifar10_vgg11_uncompressed().replaced(name="cifar10_vgg11_fixed", schedule=Fixed())


@recipe
def cifar10_vgg11_deprune() -> SplitConfig:
    """Deprune with our settings on CIFAR-10."""
    return _deprune(cifar10_vgg11_uncompressed(), "cifar10_vgg11_deprune")


@recipe
def cifar10_vgg11_frozen() -> SplitConfig:
    """Freeze and cache on CIFAR-10: four passes cross in 44 epochs, and no gradient comes down."""
    return _freeze_and_cache(cifar10_vgg11_uncompressed(), "cifar10_vgg11_frozen")


@recipe
def cifar10_resnet9_uncompressed() -> SplitConfig:
    """A network that needs its server: the device has 9 % of the FLOPs of a narrow ResNet-9. Few epochs, so Muon."""
    return SplitConfig(
        name="cifar10_resnet9_uncompressed",
        data=DataConfig(name="cifar10", augment="small_crop_flip"),
        model=ModelConfig(name="resnet9", args={"widths": [8, 32, 80, 160]}),
        cut="layer1.conv",
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(
            epochs=6,
            batch_size=125,
            optimizer="muon_sgd",
            lr=0.1,
            momentum=0.6,
            lr_schedule="linear",
            warmup=0.0,
            label_smoothing=0.1,
            precision=fast_precision(),
            channels_last=True,
        ),
    )


@recipe
def cifar10_resnet9_fixed() -> SplitConfig:
    """All channels at four bits both ways."""
    return cifar10_resnet9_uncompressed().replaced(name="cifar10_resnet9_fixed", schedule=Fixed())


@recipe
def cifar10_resnet9_deprune() -> SplitConfig:
    """Deprune with our settings on ResNet-9."""
    return _deprune(cifar10_resnet9_uncompressed(), "cifar10_resnet9_deprune")


@recipe
def cifar10_resnet9_prune() -> SplitConfig:
    """A family of four with our settings: all channels, sixteen, eight, four, each a sixth of the base's epochs."""
    base = cifar10_resnet9_uncompressed()
    levels = ("all.b4/b4.zstd", "c16.b4/b4.zstd", "c8.b4/b4.zstd", "c4.b4/b4.zstd")
    return base.replaced(
        name="cifar10_resnet9_prune",
        bottleneck=BottleneckConfig(),
        schedule=_prune(levels, (6, 1, 1, 1), lr_scale=0.5),
        train=base.train.replaced(epochs=9),
    )


@recipe
def fashion_mnist_vgg11_deprune() -> SplitConfig:
    """Deprune on grey images of 28 × 28 pixels."""
    base = cifar10_vgg11_deprune()
    return base.replaced(name="fashion_mnist_vgg11_deprune", data=DataConfig(name="fashion_mnist", augment="crop_flip"))


# --- the paper's settings, and the same phases in our mode of the bottleneck ----------------------

_BUDGETED = Level(channels=4, up_bits=16, down_bits=16)
_MIDDLE = Level(channels=32, up_bits=16, down_bits=16)
_STRIDES: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
_MODES: tuple[Literal["paper", "raysplit"], ...] = ("paper", "raysplit")


def _paper(
    name: str, data: DataConfig, train: TrainConfig, bottleneck: BottleneckConfig, schedule: Schedule
) -> SplitConfig:
    """The paper's network and cut: VGG-11 with batch norm, cut after the second conv block, C = 128."""
    return SplitConfig(
        name=name,
        data=data,
        model=ModelConfig(name="vgg11"),
        cut="features.7",
        bottleneck=bottleneck,
        schedule=schedule,
        train=train,
    )


def _paper_train(epochs: int, lr: float, momentum: float, mode: str) -> TrainConfig:
    """Batch 16, constant rate, weight decay 5e-4, as published; our mode has momentum and a cosine schedule."""
    plain = TrainConfig(
        epochs=epochs, batch_size=16, lr=lr, momentum=momentum, weight_decay=5e-4, lr_schedule="constant"
    )
    return plain if mode == "paper" else plain.replaced(momentum=0.9, lr_schedule="cosine")


def _data(name: str, mode: str) -> DataConfig:
    size = 224 if name == "imagenet100" else None
    return DataConfig(name=name, size=size, augment="none" if mode == "paper" else "crop_flip")


def _paper_deprune(data: str, epochs: tuple[int, int], lr: float, mode: str, stride: int) -> SplitConfig:
    """Epochs at B = 4 in fp16, then uncompressed ones; between them the logits and the optimizers are reset."""
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
    """A baseline of as many epochs at one level; the bottleneck is there at full width too."""
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
        # For STL-10 only prune is published (30 + 15 + 15 epochs): the same 2 : 1 split at that rate.
        add(_paper_deprune("stl10", (40, 20), 1e-3, _mode, _r))
for _mode in _MODES:
    # The prune experiments: 30 + 10 + 10 epochs against 50 from scratch, 30 + 15 + 15 against 60.
    add(_paper_prune("cifar10", (30, 10, 10), _mode))
    add(_paper_prune("stl10", (30, 15, 15), _mode))
for _name, _level in (("uncompressed", UNCOMPRESSED), ("fixed", _BUDGETED)):
    add(_paper_fixed("cifar10", 22, 1e-2, 0.0, _name, _level))
    add(_paper_fixed("imagenet100", 37, 1e-3, 0.0, _name, _level))
    add(_paper_fixed("stl10", 60, 1e-3, 0.9, _name, _level))
