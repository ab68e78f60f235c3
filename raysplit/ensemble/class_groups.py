"""Which sub-model knows which classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raysplit.errors import ConfigError
from raysplit.torch_utils.seeds import generator

ClassGroups = tuple[tuple[int, ...], ...]
"""The classes of each sub-model, ascending; every class is in one group."""


def group_at_random(classes: int, n: int, seed: int) -> ClassGroups:
    """Divide the classes 0..classes - 1 into `n` random groups whose sizes differ by at most 1.

    Raises ConfigError if there are more groups than classes.

    >>> [len(group) for group in group_at_random(classes=10, n=3, seed=0)]
    [4, 3, 3]
    """
    order = torch.randperm(classes, generator=generator("groups", seed))
    parts = torch.split(order, _group_sizes(classes, n))
    return tuple(tuple(sorted(part.tolist())) for part in parts)


def group_by_confusion(confusion: Tensor, n: int, seed: int) -> ClassGroups:
    """Divide the classes into `n` groups, sizes as in `group_at_random`, that keep confused classes together.

    `confusion` is int64 (classes, classes): how many images of the row's class were predicted as the column's class.
    The aim is a large sum of counts inside groups. Each group starts with the class that is confused most with all
    remaining ones and grows by the class that is confused most with it; then pairs of classes swap groups as long as
    that adds to the sum. `seed` breaks ties. Raises ConfigError as `group_at_random`.

    >>> confusion = torch.tensor([[9, 0, 1], [0, 9, 0], [1, 0, 9]])
    >>> sorted(group_by_confusion(confusion, n=2, seed=0))
    [(0, 2), (1,)]
    """
    classes = len(confusion)
    sizes = _group_sizes(classes, n)
    # The first of equal candidates wins: shuffling the classes makes that a random choice.
    order = torch.randperm(classes, generator=generator("groups", seed))
    affinity = (confusion + confusion.T).to(torch.int64).fill_diagonal_(0)[order][:, order]
    group = _swap_pairs(affinity, _grow_groups(affinity, sizes), n)
    return tuple(tuple(sorted(order[group == i].tolist())) for i in range(n))


def _group_sizes(classes: int, n: int) -> list[int]:
    if not 1 <= n <= classes:
        raise ConfigError(f"{classes} classes cannot be split into {n} groups; set groups.n to 1..{classes}")
    return [classes // n + (i < classes % n) for i in range(n)]


def _grow_groups(affinity: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the group of each class, int64 (classes,), grown one class at a time."""
    group = torch.full((len(affinity),), -1)
    for i, size in enumerate(sizes):
        for taken in range(size):
            free = group < 0
            ties = affinity[:, group == i] if taken else affinity[:, free]
            group[torch.where(free, ties.sum(1), -1).argmax()] = i
    return group


def _swap_pairs(affinity: Tensor, group: Tensor, n: int) -> Tensor:
    """Swap the best pair of classes of different groups until no swap adds to the sum inside groups."""
    while True:
        inside = torch.nn.functional.one_hot(group, n)
        gain = (affinity @ inside)[:, group]  # [a, b]: affinity of a to the group of b
        gain = gain - gain.diagonal()[:, None]
        gain = gain + gain.T - 2 * affinity
        best = int(gain.where(group[:, None] != group, 0).argmax())
        a, b = divmod(best, len(group))
        if group[a] == group[b] or gain[a, b] <= 0:
            return group
        group[[a, b]] = group[[b, a]]
