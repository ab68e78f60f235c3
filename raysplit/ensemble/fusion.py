"""The MLP that turns the features of all sub-models into one prediction, even when some are missing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Maps the standardized, concatenated features of all sub-models to logits, through linear layers and ReLU.

    `widths` are the numbers of features of the sub-models. Each hidden layer is half as wide as the one before, but
    at least `classes` wide. The features of a missing sub-model are replaced by `fill`: zeros, or their means over
    the training images. Means and standard deviations are kept with the weights.

    >>> fusion = Fusion(widths=[4, 2], classes=3, layers=2, fill="mean")
    >>> fusion(torch.zeros(5, 6), present=torch.tensor([True, False])).shape
    torch.Size([5, 3])
    """

    mean: Tensor
    std: Tensor
    _owner: Tensor
    """Index of the sub-model that each feature belongs to."""

    def __init__(self, widths: Sequence[int], classes: int, layers: int, fill: Literal["zero", "mean"]):
        super().__init__()
        self.widths, self.fill = tuple(widths), fill
        total = sum(widths)
        hidden = [max(classes, total >> i) for i in range(1, layers)]
        modules: list[nn.Module] = []
        for inputs, outputs in pairwise([total, *hidden, classes]):
            modules += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*modules[:-1])
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("std", torch.ones(total))
        owner = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
        self.register_buffer("_owner", owner, persistent=False)

    def fit_standardization(self, features: Tensor) -> None:
        """Take the mean and standard deviation of each feature from training images, (N, sum of widths)."""
        std, mean = torch.std_mean(features.double(), dim=0, correction=0)
        self.mean.copy_(mean)
        # A constant feature carries no information, whatever it is divided by.
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Return logits (B, classes) for float features (B, sum of widths).

        `present` is bool, (n,) or (B, n): False marks sub-models whose features are ignored; None: none is missing.
        """
        if present is not None:
            filling = self.mean if self.fill == "mean" else torch.zeros_like(self.mean)
            features = torch.where(present[..., self._owner], features, filling)
        logits: Tensor = self.layers((features - self.mean) / self.std)
        return logits


def draw_presence(rows: int, n: int, p: float, random: torch.Generator) -> Tensor:
    """Draw which of `n` sub-models are present, bool (rows, n): each is lost with probability `p`, but never all.

    >>> draw_presence(rows=100, n=2, p=0.9, random=torch.Generator().manual_seed(0)).any(1).all().item()
    True
    """
    present = torch.rand(rows, n, generator=random) >= p
    kept = torch.randint(n, (rows, 1), generator=random)
    alone = torch.zeros_like(present).scatter_(1, kept, True)
    return torch.where(present.any(1, keepdim=True), present, alone)
