"""Small recipes on scikit-learn's digits: 8×8 pixels, three steps an epoch."""

from __future__ import annotations

from raysplit.config import (
    UNCOMPRESSED,
    BottleneckConfig,
    DataConfig,
    Deprune,
    Fixed,
    ModelConfig,
    Phase,
    Prune,
    SplitConfig,
    Stage,
    TrainConfig,
)


def plain_config() -> SplitConfig:
    """The plain network, fp32, lock-step, with momentum, batch norm, dropout and a moving learning rate."""
    return SplitConfig(
        name="digits_vgg11_plain",
        data=DataConfig(name="digits", train_rows=96, augment="crop_flip"),
        model=ModelConfig(name="vgg11", args={"width": 0.125}),
        cut="features.7",
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(epochs=1, batch_size=32, lr=0.05, seed=3),
    )


def squeezed_config() -> SplitConfig:
    """Two epochs of deprune: two channels at 4 bits with zstd, then all of them at 8."""
    phases = (Phase(level="c2.b4/b4.zstd", share=1), Phase(level="all.b8/b8", share=1))
    plain = plain_config()
    return plain.replaced(
        name="digits_vgg11_squeezed",
        bottleneck=BottleneckConfig(start="random", order="learned"),
        schedule=Deprune(phases=phases),
        train=plain.train.replaced(epochs=2),
    )


def family_config() -> SplitConfig:
    """A prune family of three in four epochs: all channels, four, two."""
    phases = (
        Stage(level="all.b4/b4.zstd", share=2),
        Stage(level="c4.b4/b4.zstd", share=1, lr_scale=0.3),
        Stage(level="c2.b8/b8", share=1, lr_scale=0.3),
    )
    plain = plain_config()
    return plain.replaced(
        name="digits_vgg11_family",
        bottleneck=BottleneckConfig(),
        schedule=Prune(phases=phases),
        train=plain.train.replaced(epochs=4, precision="bf16", channels_last=True),
    )
