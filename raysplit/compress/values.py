"""Values to bytes: fp32 as it is, fp16 with a power-of-two scale, or 1 to 8 bits between the extremes."""

from __future__ import annotations

import math
import struct

import numpy as np
import numpy.typing as npt
import torch

from raysplit.compress.packing import pack, packed_size, unpack
from raysplit.errors import CodecError

Floats = npt.NDArray[np.float32]

_RANGE = struct.Struct("<2f")
_SCALE = struct.Struct("<f")
_RAW_HALF = 0.0
_SMALLEST = 1.2e-38
"""Steps below the smallest normal float cannot be divided by: such a range is carried as a constant."""


def values_size(count: int, bits: int) -> int:
    """Return the exact bytes that `encode` makes of `count` values at `bits` bits."""
    if bits == 32:
        return 4 * count
    if bits == 16:
        return _SCALE.size + 2 * count
    return _RANGE.size + packed_size(count, bits)


def encode(values: torch.Tensor, bits: int, noise: np.random.Generator | None = None) -> bytes:
    """Encode a flat CPU tensor of any floating dtype, shape (n,), into `values_size(n, bits)` bytes.

    bits = 32 is float32. bits = 16 sends 16-bit dtypes as they are, and others as fp16 after a scaling by
    the power of two that brings the largest value close to fp16's limit. bits ≤ 8 is an affine grid of
    2**bits points from the smallest value to the largest; with `noise` values are rounded stochastically
    (unbiased to 1/512 of a step), otherwise to the nearest point: the error is at most one step, or half.

    Raises CodecError for NaN or infinite values at 8 bits and below.
    """
    if bits == 16 and values.dtype in (torch.float16, torch.bfloat16):
        return _SCALE.pack(_RAW_HALF) + values.contiguous().view(torch.int16).numpy().tobytes()
    x = values.detach().to(torch.float32).contiguous()
    if bits == 32:
        return x.numpy().tobytes()
    if bits == 16:
        scale = _half_scale(x.numpy())
        return _SCALE.pack(scale) + (x * scale).to(torch.float16).view(torch.int16).numpy().tobytes()
    return _encode_grid(x.numpy(), bits, noise)


def decode(data: bytes | memoryview, count: int, bits: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the `count` values that `encode` was given, as a new flat tensor of `dtype`."""
    if bits == 32:
        return torch.from_numpy(np.frombuffer(data, np.float32).copy()).to(dtype)
    if bits == 16:
        (scale,) = _SCALE.unpack_from(data)
        half = torch.from_numpy(np.frombuffer(data, np.int16, offset=_SCALE.size).copy())
        if scale == _RAW_HALF:
            return half.view(dtype if dtype.itemsize == 2 else torch.float16).to(dtype)
        return half.view(torch.float16).to(torch.float32).div_(scale).to(dtype)
    low, high = _RANGE.unpack_from(data)
    codes = unpack(memoryview(data)[_RANGE.size :], count, bits)
    top = (1 << bits) - 1
    if not _wide(low, high):
        x = codes.astype(np.float32)
        x *= np.float32((high - low) / top)
        x += np.float32(low)
        return torch.from_numpy(x).to(dtype)
    wide = low + codes.astype(np.float64) * ((high - low) / top)
    return torch.from_numpy(wide.astype(np.float32)).to(dtype)


def _encode_grid(x: Floats, bits: int, noise: np.random.Generator | None) -> bytes:
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int(x.size - np.isfinite(x).sum())
        raise CodecError(
            f"{bad} of {x.size} values are NaN or infinite and have no {bits}-bit code: "
            "training has diverged; lower train.lr"
        )
    step = (high - low) / ((1 << bits) - 1)
    if step < _SMALLEST:
        codes = np.zeros(x.size, np.uint8)
    else:
        grid = (x.astype(np.float64) if _wide(low, high) else x) - x.dtype.type(low)
        grid *= grid.dtype.type(1 / step)
        grid += _dither(x.size, noise) if noise is not None else grid.dtype.type(0.5)
        codes = grid.astype(np.uint8)
    return _RANGE.pack(low, high) + pack(codes, bits)


def _dither(count: int, noise: np.random.Generator) -> Floats:
    """Uniform on the 256 midpoints of [0, 1): one random byte a value, an eighth of a float's cost."""
    u = noise.integers(0, 1 << 64, size=-(-count // 8), dtype=np.uint64).view(np.uint8)[:count]
    return (u + np.float32(0.5)) * np.float32(1 / 256)


def _half_scale(x: Floats) -> float:
    finite = x[np.isfinite(x)] if x.size and not math.isfinite(float(np.abs(x).max())) else x
    top = float(np.abs(finite).max()) if finite.size else 0.0
    if top == 0.0:
        return 1.0
    # Values below 2**-113 would need a scale beyond float32's largest power of two.
    return 2.0 ** min(14 - math.frexp(top)[1], 127)


def _wide(low: float, high: float) -> bool:
    # Half of float32's range: a step rounded up, times the number of steps, must not reach infinity.
    return high - low > float(np.finfo(np.float32).max) / 2
