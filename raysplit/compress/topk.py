"""Top-k: of each sample only the k values largest by magnitude are sent, and a bitmap that says where they lie.

The random variant is RandTopk: Zheng, Chen, Lyu, Yao, "Reducing Communication for Split Learning by Randomized
Top-k Sparsification", IJCAI 2023, arXiv 2305.18469. Values that are never picked get no gradient and stay
unused; a few picks outside the top k give them a chance.

Shapes: x_NV holds one sample's V values in each of N rows; a mask has the shape of what it marks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from raysplit.errors import CodecError, WireError


def picks(shape: Sequence[int], top: int) -> int:
    """Return how many values `top` of each sample are in a tensor of `shape`, the samples in dimension 0.

    Raises CodecError where a sample has fewer.
    """
    if not shape or top > math.prod(shape[1:]):
        raise CodecError(f"top-k cannot keep {top} values of each sample of a tensor of shape {tuple(shape)}")
    return shape[0] * top


def bitmap_size(count: int) -> int:
    """Return the bytes of a bitmap over `count` values."""
    return -(-count // 8)


def choose(x: Tensor, top: int, random_percent: int = 0, seed: int = 0) -> Tensor:
    """Return the bool mask, of x's shape, of the `top` values of each sample (dimension 0) to send.

    NaN counts as the largest, so that it is not lost. `random_percent` is the chance of each pick to be one
    of the values outside the top k, all of them equally likely; `seed` alone decides those picks.
    """
    picks(x.shape, top)
    x_NV = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    best = x_NV.abs().topk(top, dim=1, sorted=False).indices
    mask = torch.zeros(x_NV.shape, dtype=torch.bool).scatter_(1, best, True)
    if random_percent and mask.numel():
        mask = _exchange(mask, best, random_percent / 100, seed)
    return mask.reshape(x.shape)


def pack_mask(mask: Tensor) -> bytes:
    """Pack a bool mask of any shape into `bitmap_size(mask.numel())` bytes, the first value in the lowest bit."""
    return np.packbits(mask.reshape(-1).numpy(), bitorder="little").tobytes()


def unpack_mask(data: bytes | memoryview, shape: Sequence[int], top: int) -> Tensor:
    """Return the mask of `shape` that `pack_mask` packed; WireError unless it marks `top` values of each sample."""
    count = math.prod(shape)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    mask = bits[:count].view(np.bool_)
    marked = mask.reshape(shape[0], math.prod(shape[1:])).sum(axis=1)
    if bits[count:].any() or (marked != top).any():
        raise WireError(f"the bitmap does not mark {top} values of each sample of shape {tuple(shape)}")
    return torch.from_numpy(mask).reshape(tuple(shape))


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """Return a tensor of the mask's shape with `values`, shape (mask.sum(),), where it is true, else zeros."""
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter_(mask, values)


def _exchange(mask: Tensor, best: Tensor, chance: float, seed: int) -> Tensor:
    """Give up some of the top k of each row, and draw as many of the others, uniformly and without repeats."""
    generator = torch.Generator().manual_seed(seed)
    rows, top = best.shape
    others = mask.shape[1] - top
    # Only so many of the others can be drawn as there are.
    out = (torch.rand(rows, top, generator=generator) < chance).sum(1, keepdim=True).clamp_(max=others)
    lucky = torch.rand(mask.shape, generator=generator).masked_fill_(mask, -1.0)
    drawn = lucky.topk(int(out.max()), dim=1).indices
    shuffled = best.gather(1, torch.rand(rows, top, generator=generator).argsort(dim=1))
    mask.scatter_(1, shuffled, torch.arange(top).expand(rows, -1) >= out)
    return mask.scatter_(1, drawn, torch.arange(drawn.shape[1]).expand(rows, -1) < out)
