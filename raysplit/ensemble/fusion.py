"""The MLP that turns the features of all sub-models into one answer, also when some are missing."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from math import comb
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from raysplit.config import FusionConfig
from raysplit.data.batches import batch_order
from raysplit.errors import ConfigError, ModelError
from raysplit.torch_utils.compute import autocast, compiling, pick_device
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.torch_utils.seeds import generator, mix, seeded

_CHOICES = 50
"""Sets of lost sub-models that an accuracy is the mean over, at most."""
_EVAL_BATCH = 4096


class Fusion(nn.Module):
    """Standardised features of all sub-models, one after the other, to logits through linear layers and ReLU.

    `widths` are the features of each sub-model. Each hidden layer has half the width of the one before, but not
    less than `classes`. What a missing sub-model would have sent is replaced by `fill`: zeros, or its mean over
    the training images. Deviations in `std` and means are kept with the weights.
    """

    mean: Tensor
    std: Tensor
    _owner: Tensor

    def __init__(self, widths: Sequence[int], classes: int, layers: int, fill: Literal["zero", "mean"]):
        super().__init__()
        self.widths, self.fill = tuple(widths), fill
        total = sum(widths)
        hidden = [max(classes, total >> i) for i in range(1, layers)]
        sizes = [total, *hidden, classes]
        parts: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            parts += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*parts[:-1])
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("std", torch.ones(total))
        owner = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
        self.register_buffer("_owner", owner, persistent=False)

    def standardise_by(self, features: Tensor) -> None:
        """Take mean and deviation of each feature from training images, (N, sum of widths)."""
        std, mean = torch.std_mean(features.double(), dim=0, correction=0)
        self.mean.copy_(mean)
        # A feature that never changes says nothing, whatever it is divided by.
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Return logits (B, classes) for float features (B, sum of widths).

        `present` is bool, (n,) or (B, n): False marks sub-models whose features do not count; None: all are there.
        """
        if present is not None:
            filling = self.mean if self.fill == "mean" else torch.zeros_like(self.mean)
            features = torch.where(present[..., self._owner], features, filling)
        return self.layers((features - self.mean) / self.std)


def drawn_presence(rows: int, n: int, p: float, random: torch.Generator) -> Tensor:
    """Return which of `n` sub-models are present, bool (rows, n): each is lost with probability `p`, never all."""
    present = torch.rand(rows, n, generator=random) >= p
    kept = torch.randint(n, (rows, 1), generator=random)
    alone = torch.zeros_like(present).scatter_(1, kept, True)
    return torch.where(present.any(1, keepdim=True), present, alone)


def train_fusion(
    features: Tensor,
    labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    widths: Sequence[int],
    classes: int,
    config: FusionConfig,
    seed: int,
) -> tuple[Fusion, list[dict[str, Any]]]:
    """Train a fusion on the features of frozen sub-models; return it, on the CPU in eval mode, and a row an epoch.

    Features are float (N, sum of widths), labels int64 (N,). The epoch with the best validation accuracy is kept,
    of equal ones that with the least loss. A pure function of its arguments. A row has epoch, loss (mean over the
    training steps), val_loss and val_accuracy (no sub-model missing). Raises ModelError where a loss is not a number.
    """
    device = pick_device(config.device)
    with seeded(mix(seed, "fusion"), torch.device("cpu")):
        fusion = Fusion(widths, classes, config.layers, config.fill)
    fusion.standardise_by(features)
    fusion.to(device)
    step = torch.compile(fusion, dynamic=False) if config.compile else fusion
    size = min(config.batch_size, len(labels))
    per_epoch = len(labels) // size
    optimizer = HalfOptimizer(fusion, config, config.epochs * per_epoch, decay_logits=True)
    history: list[dict[str, Any]] = []
    best, kept = (-1.0, 0.0), fusion.state_dict()
    for epoch in range(config.epochs):
        order = batch_order(len(labels), size, mix(seed, "fusion"), epoch)
        total = 0.0
        for number, rows in enumerate(order, start=epoch * per_epoch):
            present = drawn_presence(len(rows), len(widths), config.feature_dropout, generator("lost", seed, number))
            with compiling():
                with autocast(device, config.precision):
                    logits = step(features[rows].to(device), present.to(device))
                loss = cross_entropy(logits.float(), labels[rows].to(device), label_smoothing=config.label_smoothing)
                loss.backward()
            optimizer.step(number)
            total += loss.item()
        scores = _logits(fusion, val_features)
        accuracy, val_loss = _accuracy(scores, val_labels), cross_entropy(scores, val_labels).item()
        if not math.isfinite(total) or not math.isfinite(val_loss):
            raise ModelError(
                f"the fusion has diverged: the loss of epoch {epoch + 1} is not a number; set fusion.lr below "
                f"{config.lr:g}"
            )
        history.append({"epoch": epoch, "loss": total / per_epoch, "val_loss": val_loss, "val_accuracy": accuracy})
        if (accuracy, -val_loss) > best:
            best, kept = (accuracy, -val_loss), copy.deepcopy(fusion.state_dict())
    fusion.load_state_dict(kept)
    return fusion.cpu().eval(), history


def accuracy_without(fusion: Fusion, features: Tensor, labels: Tensor, lost: int) -> float:
    """Return the share of right answers, 0..1, with `lost` sub-models missing.

    It is the mean over all choices of them, or over 50 that are drawn where there are more. Raises ConfigError
    if none would be left.
    """
    n = len(fusion.widths)
    if not 0 <= lost < n:
        raise ConfigError(f"{lost} of {n} sub-models cannot be lost; at least one must be left")
    shares = []
    for missing in _choices(n, lost):
        present = torch.ones(n, dtype=torch.bool)
        present[list(missing)] = False
        shares.append(_accuracy(_logits(fusion, features, present), labels))
    return sum(shares) / len(shares)


def _choices(n: int, lost: int) -> list[tuple[int, ...]]:
    if comb(n, lost) <= _CHOICES:
        return list(combinations(range(n), lost))
    random, found = generator("missing", n, lost), set[tuple[int, ...]]()
    while len(found) < _CHOICES:
        found.add(tuple(sorted(torch.randperm(n, generator=random)[:lost].tolist())))
    return sorted(found)


@torch.no_grad()
def _logits(fusion: Fusion, features: Tensor, present: Tensor | None = None) -> Tensor:
    """Return logits (N, classes), float32 on the CPU."""
    device = fusion.mean.device
    here = None if present is None else present.to(device)
    return torch.cat([fusion(part.to(device), here).cpu() for part in features.split(_EVAL_BATCH)])


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()
