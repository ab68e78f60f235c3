"""Values to bytes: plain fp32, fp16 with a power-of-two scale, or 1 to 8 bits between minimum and maximum.

The range is that of the whole tensor or, in `encode_channels`, of each channel: 8 bytes per channel, which pay off
where channels differ in scale.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from raysplit.compress.bitpack import pack, packed_size, unpack
from raysplit.errors import CodecError

Floats = npt.NDArray[np.float32]

_RANGE = struct.Struct("<2f")
_SCALE = struct.Struct("<f")
_RAW_HALF = 0.0
_SMALLEST = 1.2e-38
"""The smallest normal float. A range with a smaller step is sent as a constant, since dividing by it would overflow."""


def values_size(count: int, bits: int) -> int:
    """Return the exact bytes that `encode` makes of `count` values at `bits` bits.

    >>> values_size(1000, bits=4), values_size(1000, bits=32)
    (508, 4000)
    """
    if bits == 32:
        return 4 * count
    if bits == 16:
        return _SCALE.size + 2 * count
    return _RANGE.size + packed_size(count, bits)


def encode(values: torch.Tensor, bits: int, noise: np.random.Generator | None = None) -> bytes:
    """Encode a flat CPU tensor of any floating dtype, shape (n,), into `values_size(n, bits)` bytes.

    bits = 32 is float32. bits = 16 sends 16-bit dtypes unchanged, and others as fp16, scaled by the power of
    two that brings the largest value close to fp16's limit. bits ≤ 8 is an affine grid of 2**bits points from
    the minimum to the maximum; with `noise`, values are rounded stochastically (unbiased to 1/512 of a step, with
    an error of at most one step), otherwise to the nearest point (at most half a step).

    Raises CodecError for NaN or infinite values at 8 bits and below.

    >>> len(encode(torch.linspace(-1, 1, 1000), bits=4))
    508
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
    """Return the `count` values that `encode` encoded, as a new flat tensor of `dtype`.

    >>> decode(encode(torch.tensor([0.0, 0.4, 1.0]), bits=1), 3, 1, torch.float32)
    tensor([0., 0., 1.])
    """
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


def channels_size(count: int, channels: int, bits: int) -> int:
    """Return the exact bytes that `encode_channels` makes of `count` values in `channels` channels.

    >>> channels_size(1000, channels=10, bits=4)
    580
    """
    return _RANGE.size * channels + packed_size(count, bits)


def encode_channels(
    values: torch.Tensor, channel_dim: int, bits: int, noise: np.random.Generator | None = None
) -> bytes:
    """Encode a CPU tensor, any floating dtype and shape, in 1 to 8 bits between minimum and maximum of each channel.

    The bytes are each channel's minimum and maximum (float32), then the packed codes in the tensor's order; grid,
    rounding and CodecError are those of `encode`.

    >>> len(encode_channels(torch.randn(10, 10, 10), channel_dim=1, bits=4))
    580
    """
    x = values.detach().to(torch.float32).reshape(_by_channel(values.shape, channel_dim)).contiguous().numpy()
    outer, channels, inner = x.shape
    # Over samples first, since these are whole rows whatever the size of the grid.
    low, high = np.zeros((2, channels), np.float32)
    if x.size:
        low, high = x.min(axis=0).min(axis=1), x.max(axis=0).max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise _not_finite(x, bits)
    step = (high.astype(np.float64) - low) / ((1 << bits) - 1)
    scale = np.zeros(channels)
    np.divide(1, step, out=scale, where=step >= _SMALLEST)
    dtype = np.float64 if _any_wide(low, high) else np.float32
    grid = x.reshape(outer, channels * inner).astype(dtype, copy=False) - np.repeat(low.astype(dtype), inner)
    grid *= np.repeat(scale.astype(dtype), inner)
    grid += _dither(x.size, noise).reshape(grid.shape) if noise is not None else dtype(0.5)
    return np.stack([low, high], axis=1).tobytes() + pack(grid.astype(np.uint8).reshape(-1), bits)


def decode_channels(
    data: bytes | memoryview, shape: Sequence[int], channel_dim: int, bits: int, dtype: torch.dtype
) -> torch.Tensor:
    """Return the values that `encode_channels` encoded, as a new tensor of `shape` and `dtype`.

    >>> x = torch.randn(2, 3, 4)
    >>> y = decode_channels(encode_channels(x, 1, bits=8), x.shape, 1, 8, torch.float32)
    >>> bool((x - y).abs().max() < 0.03)
    True
    """
    outer, channels, inner = _by_channel(shape, channel_dim)
    low, high = np.frombuffer(data, np.float32, 2 * channels).reshape(channels, 2).T
    codes = unpack(memoryview(data)[_RANGE.size * channels :], outer * channels * inner, bits)
    step = (high.astype(np.float64) - low) / ((1 << bits) - 1)
    wide = np.float64 if _any_wide(low, high) else np.float32
    x = codes.reshape(outer, channels * inner).astype(wide)
    x *= np.repeat(step.astype(wide), inner)
    x += np.repeat(low.astype(wide), inner)
    return torch.from_numpy(x.astype(np.float32, copy=False)).reshape(tuple(shape)).to(dtype)


def _encode_grid(x: Floats, bits: int, noise: np.random.Generator | None) -> bytes:
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise _not_finite(x, bits)
    step = (high - low) / ((1 << bits) - 1)
    if step < _SMALLEST:
        codes = np.zeros(x.size, np.uint8)
    else:
        grid = (x.astype(np.float64) if _wide(low, high) else x) - x.dtype.type(low)
        grid *= grid.dtype.type(1 / step)
        grid += _dither(x.size, noise) if noise is not None else grid.dtype.type(0.5)
        codes = grid.astype(np.uint8)
    return _RANGE.pack(low, high) + pack(codes, bits)


def _not_finite(x: Floats, bits: int) -> CodecError:
    bad = int(x.size - np.isfinite(x).sum())
    return CodecError(
        f"{bad} of {x.size} values are NaN or infinite and have no {bits}-bit code: "
        "training has diverged; lower train.lr"
    )


def _by_channel(shape: Sequence[int], channel_dim: int) -> tuple[int, int, int]:
    """Return the shape as (values before the channel dimension, channels, values after it)."""
    return math.prod(shape[:channel_dim]), shape[channel_dim], math.prod(shape[channel_dim + 1 :])


def _dither(count: int, noise: np.random.Generator) -> Floats:
    """Return noise that is uniform on the 256 midpoints of [0, 1): one random byte per value, an eighth of the cost."""
    u = noise.integers(0, 1 << 64, size=-(-count // 8), dtype=np.uint64).view(np.uint8)[:count]
    dither: Floats = (u + np.float32(0.5)) * np.float32(1 / 256)
    return dither


def _half_scale(x: Floats) -> float:
    finite = x[np.isfinite(x)] if x.size and not math.isfinite(float(np.abs(x).max())) else x
    top = float(np.abs(finite).max()) if finite.size else 0.0
    if top == 0.0:
        return 1.0
    # Values below 2**-113 would need a scale beyond float32's largest power of two.
    return 2.0 ** min(14 - math.frexp(top)[1], 127)


def _wide(low: float, high: float) -> bool:
    # Half of float32's range, so that a step that was rounded up, times the number of steps, stays finite.
    return high - low > float(np.finfo(np.float32).max) / 2


def _any_wide(low: Floats, high: Floats) -> bool:
    return bool((high.astype(np.float64) - low > float(np.finfo(np.float32).max) / 2).any())
