"""The settings of the benchmark of many devices: the plain run that all rows change."""

from __future__ import annotations

from many.rows import Preset
from raysplit.config import UNCOMPRESSED, DataConfig, Fixed, ModelConfig, SplitConfig, TrainConfig

NETWORK = "benchmarks/many/network.py:group_normed"


def _full() -> SplitConfig:
    """10,000 training images, 1,000 for every choice that is made, all test images for the table."""
    return SplitConfig(
        name="cifar10",
        data=DataConfig(name="cifar10", augment="small_crop_flip", train_rows=10_000, val_fraction=0.02),
        model=ModelConfig(name=NETWORK, args={"widths": [8, 16, 32, 64], "groups": 4}),
        cut="layer1.conv",
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(
            epochs=8,
            batch_size=50,
            optimizer="muon",
            lr=0.01,
            weight_decay=0.05,
            warmup=0.0,
            label_smoothing=0.1,
            channels_last=True,
            device="cpu",
        ),
    )


def _quick() -> SplitConfig:
    base = _full()
    return base.replaced(
        data=DataConfig(name="mnist5k", train_rows=2_000, augment="small_crop"),
        train=base.train.replaced(epochs=3, batch_size=20),
    )


_CIFAR = (
    "CIFAR-10 as Parquet files is recompressed as JPEG. SplitFed v1 is FedAvg computed elsewhere: where it was not "
    "trained itself (trained: false), its line has FedAvg's weights and SplitFed v2's messages, and no seconds. "
    "Each run is trained by the same command, at the commits and on the machines that it names, on one thread beside "
    "other work; rounds are exact, compute_s is not."
)
PRESETS = {
    "quick": Preset("devices_quick", _quick(), (0,), "2,000 images of mnist5k."),
    "full": Preset("devices", _full(), (0, 1, 2), _CIFAR),
}
