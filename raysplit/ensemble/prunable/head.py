"""A sub-model's head out of its base's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_rows(head: Tensor, classes: Sequence[int] | None, rest: bool) -> Tensor:
    """Return the rows of a head's weight or bias (all classes, …) that a sub-model's head has, as `Family.shrink`.

    Where `classes` are all there are, the row for the others is 0.
    """
    if classes is None:
        classes = range(len(head))
    own = head[list(classes)]
    if not rest:
        return own
    others = [c for c in range(len(head)) if c not in set(classes)]
    return torch.cat([head[others].mean(0, keepdim=True) if others else torch.zeros_like(head[:1]), own])
