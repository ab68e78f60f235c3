"""The memory layout of what crosses a cut: a message keeps the values and not the strides."""

from __future__ import annotations

import torch
from torch import Tensor


def find_order(value: Tensor) -> tuple[int, ...] | None:
    """Return the dimensions of a tensor from the outermost in memory to the innermost.

    None where it is contiguous, and where it is not a permutation of a contiguous one, such as an expanded tensor.

    >>> find_order(torch.empty(2, 5, 5, 3).permute(0, 3, 1, 2))
    (0, 2, 3, 1)
    >>> find_order(torch.empty(2, 3, 5, 5)) is None
    True
    """
    if value.is_contiguous():
        return None
    order = tuple(sorted(range(value.ndim), key=value.stride, reverse=True))
    return order if value.permute(order).is_contiguous() else None


def arrange_like(x: Tensor, like: Tensor) -> Tensor:
    """Return a tensor with the values of `x` and the dtype, device and memory layout of `like`, of the same shape.

    >>> arrange_like(torch.ones(2, 3), torch.empty(3, 2).t()).stride()
    (1, 2)
    """
    return torch.empty_like(like).copy_(x)
