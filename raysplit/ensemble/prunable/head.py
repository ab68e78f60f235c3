"""A sub-model's head, from its base's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_rows(head: Tensor, classes: Sequence[int] | None, rest: bool) -> Tensor:
    """Return a sub-model's rows of a head's weight or bias (all classes, …), see `PrunableNetwork.shrink`.

    Where `classes` are all there are, the row for the others is 0.

    >>> class_rows(torch.tensor([1.0, 2.0, 6.0]), classes=[1], rest=True).tolist()
    [3.5, 2.0]
    """
    if classes is None:
        classes = range(len(head))
    own = head[list(classes)]
    if not rest:
        return own
    others = [c for c in range(len(head)) if c not in set(classes)]
    return torch.cat([head[others].mean(0, keepdim=True) if others else torch.zeros_like(head[:1]), own])
