"""The network and the local work of the comparison of simulators, in torch alone: both sides import this file."""

from __future__ import annotations

import torch
from torch import nn

LR, BATCH = 0.05, 32


def make_net() -> nn.Sequential:
    """Return a small convolutional network for grey images of 28×28 pixels and ten classes, 6,000 weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 5, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )
