"""A classifier and images that tests train in a moment."""

from __future__ import annotations

import torch
from torch import nn

from raysplit.ensemble.samples import Samples


class TinyClassifier(nn.Module):
    """A classifier with timm's two-part forward pass; with `steps` its head has logits of each time step."""

    def __init__(self, steps: int = 0):
        super().__init__()
        self.body, self.head, self.drop, self.steps = nn.Linear(16, 8), nn.Linear(8, 2), nn.Dropout(0.2), steps

    def forward_features(self, x):
        return self.drop(self.body(x.flatten(1)).relu())

    def forward_head(self, z, pre_logits=False):
        if pre_logits:
            return z
        logits = self.head(z)
        return torch.stack([logits * (step + 1) for step in range(self.steps)]) if self.steps else logits

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def make_samples(rows=64, teacher=False):
    """Dark images are class 0, bright ones class 1."""
    torch.manual_seed(0)
    targets = torch.arange(rows) % 2
    images = (torch.randint(0, 100, (rows, 1, 4, 4)) + 120 * targets.view(-1, 1, 1, 1)).to(torch.uint8)
    logits = 8.0 * torch.nn.functional.one_hot(1 - targets, 3) if teacher else None
    return Samples(images, targets, (0.5,), (0.25,), logits)


def make_classifier(**kwargs):
    torch.manual_seed(1)
    return TinyClassifier(**kwargs)
