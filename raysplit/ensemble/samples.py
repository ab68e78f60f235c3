"""Training images: of the whole data set, and the part of them that one sub-model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from raysplit.config import GroupsConfig
from raysplit.config.ensemble_plan import SubmodelSpec
from raysplit.data import prepare_batch
from raysplit.data.clips import label_clips
from raysplit.torch_utils.seeds import generator, mix


@dataclass(frozen=True)
class Samples:
    """Images uint8 (N, C, H, W) with targets int64 (N,), and the normalization of a network's input.

    >>> images, targets = torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])
    >>> samples = Samples(images, targets, mean=(0.5,), std=(0.25,))
    >>> len(samples), samples.batch(slice(0, 1)).unique().item()
    (2, -2.0)
    """

    images: Tensor
    targets: Tensor
    mean: tuple[float, ...]
    """Of each channel, in 0..1."""
    std: tuple[float, ...]
    """Of each channel, in 0..1."""
    teacher: Tensor | None = None
    """Logits (N, all classes) of the base, for distillation."""
    chunks: tuple[int, ...] | None = None
    """Of validation and test recordings: how many images each has, in order, which are answered together. None: every
    image is answered for itself."""

    @property
    def answered(self) -> Tensor:
        """The targets that answers are compared with: those of the images, or of the recordings."""
        return self.targets if self.chunks is None else label_clips(self.targets, self.chunks)

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, rows: Tensor | slice, augment: str = "none", seed: int = 0) -> Tensor:
        """Return the normalized images of some rows, float32 (B, C, H, W), augmented as by `prepare_batch`."""
        return prepare_batch(self.images[rows], self.mean, self.std, augment, seed)


@dataclass(frozen=True)
class TrainingRows:
    """The rows of the training split that a sub-model is trained on, and its labels for them."""

    rows: Tensor
    """int64 (M,), in random order."""
    targets: Tensor
    """int64 (M,): outputs of the sub-model's head."""

    def __len__(self) -> int:
        return len(self.rows)


def draw_rows(
    labels: Tensor, group: Sequence[int], classes: int, rest: bool, negatives: int | None, seed: int
) -> TrainingRows:
    """Draw the training rows of the sub-model that knows the classes in `group`.

    `labels` are int64 (N,) in 0..classes - 1. With `rest`, images of class `group[i]` get label i + 1, and at most
    `negatives` images of each other class get label 0; None is the rule of EC-SNN (Yu et al., IJCAI 2024),
    N / (10 · classes) - len(group), here at least 1. Without `rest`, class `group[i]` gets label i and images of
    other classes are left out.

    >>> drawn = draw_rows(torch.arange(100) % 10, [3, 7], classes=10, rest=True, negatives=1, seed=0)
    >>> drawn.targets.bincount().tolist()
    [8, 10, 10]
    """
    if negatives is None:
        negatives = max(1, len(labels) // (10 * classes) - len(group))
    own = torch.tensor(group)
    label_of = torch.zeros(classes, dtype=torch.int64)
    label_of[own] = torch.arange(len(group)) + int(rest)
    quota = torch.full((classes,), negatives if rest else 0)
    quota[own] = len(labels)
    rows = torch.randperm(len(labels), generator=generator("samples", seed, *group))
    shuffled = labels[rows]
    rows = rows[_rank_in_class(shuffled, classes) < quota[shuffled]]
    return TrainingRows(rows, label_of[labels[rows]])


def select_samples(train: Samples, spec: SubmodelSpec, groups: GroupsConfig, seed: int, epoch: int) -> Samples:
    """Return the images a sub-model is trained on in an epoch: all of its own classes, and a draw of the others.

    With `groups.redraw` each epoch has a draw of its own.
    """
    draw = mix(seed, "draw", epoch if groups.redraw else 0)
    drawn = draw_rows(train.targets, spec.classes, spec.total_classes, spec.rest, groups.negatives, draw)
    teacher = None if train.teacher is None else train.teacher[drawn.rows]
    return replace(train, images=train.images[drawn.rows], targets=drawn.targets, teacher=teacher)


def _rank_in_class(labels: Tensor, classes: int) -> Tensor:
    """Return for each label how many equal ones precede it, int64 (N,)."""
    order = labels.argsort(stable=True)
    counts = labels.bincount(minlength=classes)
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return rank
