"""Which sub-model knows which classes, and the training images that it learns from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raysplit.errors import ConfigError
from raysplit.torch_utils.seeds import generator

Groups = tuple[tuple[int, ...], ...]
"""The classes of each sub-model, ascending; every class is in one group."""


def class_groups(classes: int, n: int, seed: int) -> Groups:
    """Return `n` random groups of the classes 0..classes - 1 whose sizes differ by at most 1.

    Raises ConfigError if there are more groups than classes.
    """
    order = torch.randperm(classes, generator=generator("groups", seed))
    parts = order.split(_sizes(classes, n))
    return tuple(tuple(sorted(part.tolist())) for part in parts)


def confusion_groups(confusion: Tensor, n: int, seed: int) -> Groups:
    """Return `n` groups, sizes as in `class_groups`, with the classes together that a network confuses.

    `confusion` is int64 (classes, classes): how many images of the class in the row were taken for the class in
    the column. The sum of counts inside groups is made large: each group grows by the class that is confused
    with it most, from the one that is confused most with all that are left; then classes of two groups change
    places as long as that adds to the sum. `seed` breaks ties. Raises ConfigError as `class_groups`.
    """
    classes = len(confusion)
    sizes = _sizes(classes, n)
    # Ties go to the first: a random order of the classes makes that a draw.
    order = torch.randperm(classes, generator=generator("groups", seed))
    alike = (confusion + confusion.T).to(torch.int64).fill_diagonal_(0)[order][:, order]
    group = _swapped(alike, _grown(alike, sizes), n)
    return tuple(tuple(sorted(order[group == i].tolist())) for i in range(n))


def samples_of(
    labels: Tensor, group: Sequence[int], classes: int, rest: bool, negatives: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the training rows of one sub-model and its labels for them, both int64 (M,), in random order.

    `labels` are int64 (N,) in 0..classes - 1. With `rest`, images of class `group[i]` get label i + 1, and
    label 0 goes to at most `negatives` images of each other class; None is the rule of EC-SNN (IJCAI 2024),
    N / (10 · classes) - len(group), here at least 1. Without `rest`, class `group[i]` gets label i and no
    other class is shown.
    """
    if negatives is None:
        negatives = max(1, len(labels) // (10 * classes) - len(group))
    own = torch.tensor(group)
    label_of = torch.zeros(classes, dtype=torch.int64)
    label_of[own] = torch.arange(len(group)) + int(rest)
    quota = torch.full((classes,), negatives if rest else 0)
    quota[own] = len(labels)
    rows = torch.randperm(len(labels), generator=generator("samples", seed, *group))
    shown = labels[rows]
    rows = rows[_rank(shown, classes) < quota[shown]]
    return rows, label_of[labels[rows]]


def _sizes(classes: int, n: int) -> list[int]:
    if not 1 <= n <= classes:
        raise ConfigError(f"{classes} classes cannot be split into {n} groups; set groups.n to 1..{classes}")
    return [classes // n + (i < classes % n) for i in range(n)]


def _grown(alike: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the group of each class, int64 (classes,), grown one class at a time."""
    group = torch.full((len(alike),), -1)
    for i, size in enumerate(sizes):
        for taken in range(size):
            free = group < 0
            ties_to = alike[:, group == i] if taken else alike[:, free]
            group[torch.where(free, ties_to.sum(1), -1).argmax()] = i
    return group


def _swapped(alike: Tensor, group: Tensor, n: int) -> Tensor:
    """Swap the best two classes of different groups until no swap adds to the sum inside groups."""
    while True:
        inside = torch.nn.functional.one_hot(group, n)
        gain = (alike @ inside)[:, group]  # [a, b]: confusion of a with the group of b
        gain = gain - gain.diagonal()[:, None]
        gain = gain + gain.T - 2 * alike
        best = int(gain.where(group[:, None] != group, 0).argmax())
        a, b = divmod(best, len(group))
        if group[a] == group[b] or gain[a, b] <= 0:
            return group
        group[[a, b]] = group[[b, a]]


def _rank(labels: Tensor, classes: int) -> Tensor:
    """Return for each label how many of the same class stand before it, int64 (N,)."""
    order = labels.argsort(stable=True)
    counts = labels.bincount(minlength=classes)
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return rank
