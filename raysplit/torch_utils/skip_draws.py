"""Advance the CPU generator by what an operation would draw, without allocating its result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_BLOCK = 16
"""`normal_` fills a contiguous tensor in blocks of 16 values; fewer than 16 are drawn in another way."""
_CHUNK = 1024 * _BLOCK
_FILLS = {torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default}
_FACTORIES = {
    torch.ops.aten.rand.default: torch.ops.aten.uniform_.default,
    torch.ops.aten.rand.generator: torch.ops.aten.uniform_.default,
    torch.ops.aten.randn.default: torch.ops.aten.normal_.default,
    torch.ops.aten.randn.generator: torch.ops.aten.normal_.default,
}
_DTYPES = (torch.float32, torch.float64)


class DrawSkipper:
    """Skips random numbers with the help of one small buffer for each dtype.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> expected = [torch.empty(100_000).normal_(), torch.rand(3)][1]
    >>> _ = torch.manual_seed(0)
    >>> DrawSkipper().skip(torch.ops.aten.normal_.default, (100_000,), torch.float32)
    >>> torch.rand(3).equal(expected)
    True
    """

    def __init__(self) -> None:
        self._buffers: dict[torch.dtype, Tensor] = {}

    @staticmethod
    def can_skip(operation: torch._ops.OpOverload, dtype: torch.dtype, contiguous: bool) -> bool:
        """Return whether it is known what an operation draws for a result of this dtype and layout."""
        return dtype in _DTYPES and contiguous and (operation in _FILLS or operation in _FACTORIES)

    def skip(
        self,
        operation: torch._ops.OpOverload,
        shape: Sequence[int],
        dtype: torch.dtype,
        arguments: Sequence[Any] = (),
    ) -> None:
        """Leave the generator as an operation would that fills a contiguous tensor of `shape`.

        The operation itself runs, chunk by chunk: what it draws depends on the number of values alone. `arguments` are
        those of the distribution. To call where `can_skip` says so.
        """
        fill, left = _FACTORIES.get(operation, operation), math.prod(shape)
        if dtype not in self._buffers:
            self._buffers[dtype] = torch.empty(_CHUNK + _BLOCK, dtype=dtype)
        buffer = self._buffers[dtype]
        while left:
            count = left if left <= len(buffer) else _CHUNK  # so that the last chunk has 16 values or more
            fill(buffer[:count], *arguments)
            left -= count
