"""Runs that fit through a gateway: their network has a name, their data are the devices' own."""

from __future__ import annotations

from typing import Any

from raysplit.config import UNCOMPRESSED, DataConfig, DevicesConfig, Fixed, ModelConfig, SplitConfig, TrainConfig


def joined_config(mode: str = "splitfed_v2", count: int = 2, epochs: int = 1, **devices: Any) -> SplitConfig:
    """Two devices, uncompressed, with momentum, batch norm and augmentation."""
    return SplitConfig(
        name="digits_joined",
        data=DataConfig(name="digits", train_rows=48, augment="crop"),
        model=ModelConfig(name="vgg11", args={"width": 0.0625}),
        cut="features.7",
        bottleneck=None,
        schedule=Fixed(level=UNCOMPRESSED),
        train=TrainConfig(epochs=epochs, batch_size=16, lr=0.05, seed=3, device="cpu", threads=1),
        devices=DevicesConfig.model_validate({"mode": mode, "count": count, "from": "gateway"} | devices),
    )


def near(config: SplitConfig) -> SplitConfig:
    """The same run with devices in this process, which have the same data."""
    data = ("digits",) * config.devices.count
    return config.replaced(devices=config.devices.replaced(source="cluster", names=(), inside=0, data=data))
