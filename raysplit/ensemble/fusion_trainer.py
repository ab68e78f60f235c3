"""Trains the fusion on features of frozen sub-models, and measures it with some of them missing."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from raysplit.config import FusionConfig
from raysplit.data import batch_order
from raysplit.data.clips import label_clips
from raysplit.ensemble.forward import answer
from raysplit.ensemble.fusion import Fusion, draw_presence
from raysplit.errors import ConfigError, DivergenceError
from raysplit.records.build_stages import FusionEpoch
from raysplit.torch_utils.compute import autocast, compiling, pick_device
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.torch_utils.seeds import generator, mix, seeded

_MAX_CHOICES = 50
"""Sets of missing sub-models that an accuracy is averaged over, at most."""
_EVAL_BATCH_SIZE = 4096


@dataclass(frozen=True)
class FeatureSet:
    """The features of all sub-models for some images, and the images' classes."""

    features: Tensor
    """Float (N, sum of widths)."""
    labels: Tensor
    """int64 (N,)."""
    chunks: tuple[int, ...] | None = None
    """As those of `Samples`."""


@dataclass(frozen=True)
class TrainedFusion:
    fusion: Fusion
    """On the CPU, in eval mode."""
    epochs: tuple[FusionEpoch, ...]


def train_fusion(
    train: FeatureSet, val: FeatureSet, widths: Sequence[int], classes: int, config: FusionConfig, seed: int
) -> TrainedFusion:
    """Train a fusion; keep the epoch with the best validation accuracy, of equal ones that with the lowest loss.

    `widths` are the numbers of features of the sub-models. A pure function of its arguments. Raises
    DivergenceError for a loss that is NaN or infinite.
    """
    device = pick_device(config.device)
    with seeded(mix(seed, "fusion"), torch.device("cpu")):
        fusion = Fusion(widths, classes, config.layers, config.fill)
    fusion.fit_standardization(train.features)
    fusion.to(device)
    step = torch.compile(fusion, dynamic=False) if config.compile else fusion
    size = min(config.batch_size, len(train.labels))
    steps = len(train.labels) // size
    optimizer = HalfOptimizer(fusion, config, config.epochs * steps, decay_logits=True)
    records: list[FusionEpoch] = []
    best, weights = (-1.0, 0.0), fusion.state_dict()
    for epoch in range(config.epochs):
        order = batch_order(len(train.labels), size, mix(seed, "fusion"), epoch)
        total = 0.0
        for step_number, rows in enumerate(order):
            number = epoch * steps + step_number
            present = draw_presence(len(rows), len(widths), config.feature_dropout, generator("lost", seed, number))
            with compiling():
                with autocast(device, config.precision):
                    logits = step(train.features[rows].to(device), present.to(device))
                targets = train.labels[rows].to(device)
                loss = cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
                torch.autograd.backward(loss)
            optimizer.step(number)
            value = loss.item()
            _require_finite(value, f"epoch {epoch + 1}, step {step_number + 1}/{steps}", config)
            total += value
        val_logits = _compute_logits(fusion, val.features)
        val_accuracy = _accuracy(val_logits, val)
        val_loss = cross_entropy(val_logits, val.labels).item()
        _require_finite(val_loss, f"the validation after epoch {epoch + 1}", config)
        records.append(FusionEpoch(epoch=epoch, loss=total / steps, val_loss=val_loss, val_accuracy=val_accuracy))
        if (val_accuracy, -val_loss) > best:
            best, weights = (val_accuracy, -val_loss), copy.deepcopy(fusion.state_dict())
    fusion.load_state_dict(weights)
    return TrainedFusion(fusion.cpu().eval(), tuple(records))


def _require_finite(loss: float, where: str, config: FusionConfig) -> None:
    if not math.isfinite(loss):
        raise DivergenceError(
            f"the fusion has diverged in {where}: the loss is {loss}; set fusion.lr below {config.lr:g}"
        )


def accuracy_without(fusion: Fusion, test: FeatureSet, lost: int) -> float:
    """Return the accuracy, 0..1, with `lost` sub-models missing.

    It is the mean over all choices of them, or over 50 random ones where there are more. Raises ConfigError if none
    would be left.
    """
    n = len(fusion.widths)
    if not 0 <= lost < n:
        raise ConfigError(f"{lost} of {n} sub-models cannot be lost; at least one must be left")
    accuracies = []
    for missing in _choose_missing(n, lost):
        present = torch.ones(n, dtype=torch.bool)
        present[list(missing)] = False
        accuracies.append(_accuracy(_compute_logits(fusion, test.features, present), test))
    return sum(accuracies) / len(accuracies)


def _choose_missing(n: int, lost: int) -> list[tuple[int, ...]]:
    if math.comb(n, lost) <= _MAX_CHOICES:
        return list(combinations(range(n), lost))
    random, found = generator("missing", n, lost), set[tuple[int, ...]]()
    while len(found) < _MAX_CHOICES:
        found.add(tuple(sorted(torch.randperm(n, generator=random)[:lost].tolist())))
    return sorted(found)


@torch.no_grad()
def _compute_logits(fusion: Fusion, features: Tensor, present: Tensor | None = None) -> Tensor:
    """Return logits (N, classes), float32 on the CPU."""
    device = fusion.mean.device
    mask = None if present is None else present.to(device)
    return torch.cat([fusion(part.to(device), mask).cpu() for part in torch.split(features, _EVAL_BATCH_SIZE)])


def _accuracy(logits: Tensor, tested: FeatureSet) -> float:
    labels = tested.labels if tested.chunks is None else label_clips(tested.labels, tested.chunks)
    return (answer(logits, tested.chunks) == labels).double().mean().item()
