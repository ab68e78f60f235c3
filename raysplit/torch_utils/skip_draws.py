"""Advance the CPU generator by what an operation would draw, without allocating its result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_CHUNK = 2**14
"""Values drawn at once: a multiple of 16, the block in which `normal_` fills tensors of 16 values and more."""
_BLOCK = 16
_FILLS = {torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default}
_FACTORIES = {
    torch.ops.aten.rand.default: torch.ops.aten.uniform_.default,
    torch.ops.aten.rand.generator: torch.ops.aten.uniform_.default,
    torch.ops.aten.randn.default: torch.ops.aten.normal_.default,
    torch.ops.aten.randn.generator: torch.ops.aten.normal_.default,
}
_DTYPES = (torch.float32, torch.float64)


def can_skip(operation: torch._ops.OpOverload, dtype: torch.dtype, contiguous: bool) -> bool:
    """Return whether `skip_draws` knows how much an operation draws for a result of this dtype and layout."""
    return dtype in _DTYPES and contiguous and (operation in _FILLS or operation in _FACTORIES)


def skip_draws(
    operation: torch._ops.OpOverload, shape: Sequence[int], dtype: torch.dtype, arguments: Sequence[Any] = ()
) -> None:
    """Leave torch's CPU generator as an operation would that fills a contiguous tensor of `shape`.

    The operation itself runs, chunk by chunk, in a buffer of at most 64 Ki values: its draws depend on the number of
    values alone. `arguments` are the distribution's. Call it where `can_skip` says so.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> expected = [torch.empty(100_000).normal_(), torch.rand(3)][1]
    >>> _ = torch.manual_seed(0)
    >>> skip_draws(torch.ops.aten.normal_.default, (100_000,), torch.float32)
    >>> torch.rand(3).equal(expected)
    True
    """
    fill = _FACTORIES.get(operation, operation)
    left = math.prod(shape)
    buffer = torch.empty(min(left, _CHUNK + _BLOCK), dtype=dtype)
    while left:
        # A rest of fewer than 16 values would be drawn in another way than as the end of a long tensor.
        count = left if left <= len(buffer) else _CHUNK
        _fill(fill, buffer[:count], arguments)
        left -= count


def _fill(fill: torch._ops.OpOverload, chunk: Tensor, arguments: Sequence[Any]) -> None:
    fill(chunk, *arguments)
