"""What the images of a run are normalized by."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.config import ModelConfig
from raysplit.data import mean_std
from raysplit.models import read_normalization

Normalization = tuple[Literal["data", "weights"], tuple[float, ...], tuple[float, ...]]
"""Whose mean and deviation they are, and both for each channel, in 0..1."""


def choose_normalization(config: ModelConfig, images: torch.Tensor) -> Normalization:
    """Return what the config's weights expect, or what the training images uint8 (N, C, H, W) have.

    A constant channel is warned of in both cases. Raises what `raysplit.models.read_normalization` raises.
    """
    expected, own = read_normalization(config, images.shape[1]), mean_std(images)
    return ("data", *own) if expected is None else ("weights", *expected)
