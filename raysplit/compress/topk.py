"""Top-k: only the k values of each sample with the largest magnitude are sent, with a bitmap of their positions.

The random variant is RandTopk: Zheng, Chen, Lyu, Yao, "Reducing Communication for Split Learning by Randomized
Top-k Sparsification", IJCAI 2023, arXiv 2305.18469. Values that are never sent get no gradient and stay
unused; a few random picks outside the top k give them a chance.

Shapes: x_NV holds one sample's V values in each of N rows; a mask has the shape of what it marks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from raysplit.errors import CodecError, WireError


def count_picks(shape: Sequence[int], top: int) -> int:
    """Return how many values are sent of a tensor of `shape`, `top` of each sample; samples are in dimension 0.

    Raises CodecError where a sample has fewer.

    >>> count_picks((8, 16, 4, 4), top=32)
    256
    """
    if not shape or top > math.prod(shape[1:]):
        raise CodecError(f"top-k cannot keep {top} values of each sample of a tensor of shape {tuple(shape)}")
    return shape[0] * top


def bitmap_size(count: int) -> int:
    """Return the bytes of a bitmap over `count` values.

    >>> bitmap_size(17)
    3
    """
    return -(-count // 8)


def choose_top(x: Tensor, top: int, random_percent: int = 0, seed: int = 0) -> Tensor:
    """Return the bool mask, of x's shape, of the `top` values of each sample (dimension 0) to send.

    NaN counts as the largest, so that it is not lost. `random_percent` is the chance of each pick to be replaced by
    one of the values outside the top k, all equally likely; these picks depend on `seed` alone.

    >>> choose_top(torch.tensor([[3.0, -5.0, 1.0, 4.0]]), top=2)
    tensor([[False,  True, False,  True]])
    """
    count_picks(x.shape, top)
    x_NV = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    best = x_NV.abs().topk(top, dim=1, sorted=False).indices
    mask = torch.zeros(x_NV.shape, dtype=torch.bool).scatter_(1, best, True)
    if random_percent and mask.numel():
        mask = _replace_randomly(mask, best, random_percent / 100, seed)
    return mask.reshape(x.shape)


def pack_mask(mask: Tensor) -> bytes:
    """Pack a bool mask of any shape into `bitmap_size(mask.numel())` bytes, the first value in the lowest bit.

    >>> pack_mask(torch.tensor([[True, False, True]]))
    b'\\x05'
    """
    return np.packbits(mask.reshape(-1).numpy(), bitorder="little").tobytes()


def unpack_mask(data: bytes | memoryview, shape: Sequence[int], top: int) -> Tensor:
    """Return the mask of `shape` that `pack_mask` packed; WireError unless it marks `top` values of each sample.

    >>> unpack_mask(b"\\x05", (1, 3), top=2)
    tensor([[ True, False,  True]])
    """
    count = math.prod(shape)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    mask = bits[:count].view(np.bool_)
    marked = mask.reshape(shape[0], math.prod(shape[1:])).sum(axis=1)
    if bits[count:].any() or (marked != top).any():
        raise WireError(f"the bitmap does not mark {top} values of each sample of shape {tuple(shape)}")
    return torch.from_numpy(mask).reshape(tuple(shape))


def scatter_values(values: Tensor, mask: Tensor) -> Tensor:
    """Return a tensor of the mask's shape with `values`, shape (mask.sum(),), where it is true, and zeros elsewhere.

    >>> scatter_values(torch.tensor([7.0]), torch.tensor([[False, True]]))
    tensor([[0., 7.]])
    """
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter_(mask, values)


def _replace_randomly(mask: Tensor, best: Tensor, chance: float, seed: int) -> Tensor:
    """Replace some of the top k of each row by as many of the others, drawn uniformly without replacement."""
    generator = torch.Generator().manual_seed(seed)
    rows, top = best.shape
    others = mask.shape[1] - top
    # No more can be replaced than there are others.
    replaced = (torch.rand(rows, top, generator=generator) < chance).sum(1, keepdim=True).clamp_(max=others)
    priority = torch.rand(mask.shape, generator=generator).masked_fill_(mask, -1.0)
    drawn = priority.topk(int(replaced.max()), dim=1).indices
    shuffled = best.gather(1, torch.rand(rows, top, generator=generator).argsort(dim=1))
    mask.scatter_(1, shuffled, torch.arange(top).expand(rows, -1) >= replaced)
    return mask.scatter_(1, drawn, torch.arange(drawn.shape[1]).expand(rows, -1) < replaced)
