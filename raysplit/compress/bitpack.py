"""Planar bit packing: n codes of b bits each into about n·b/8 bytes, with no loop over values.

A width is the sum of the power-of-two fields 4, 2 and 1 that it contains (7 = 4 + 2 + 1; 8 is a byte of its
own). A field of w bits has 8/w planes: the codes are cut into 8/w equal slices, and slice i fills bits
i·w … (i+1)·w of every byte, so packing is a few shifts over whole arrays and neighbors stay neighbors,
which the entropy stage likes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]


def packed_size(count: int, bits: int) -> int:
    """Return the bytes that `count` codes of `bits` bits (1 to 8) take.

    >>> packed_size(100, bits=3)
    38
    """
    return sum(_plane(count, width) for width in _fields(bits))


def pack(codes: Codes, bits: int) -> bytes:
    """Pack uint8 codes below 2**bits, shape (n,), into `packed_size(n, bits)` bytes.

    >>> pack(np.array([1, 2, 3, 0], np.uint8), bits=2)
    b'9'
    """
    if bits == 8:
        return codes.tobytes()
    parts, shift = [], 0
    for width in _fields(bits):
        field = codes if width == bits else (codes >> shift) & ((1 << width) - 1)
        plane = _plane(len(codes), width)
        byte = field[:plane].copy()
        for i in range(1, 8 // width):
            part = field[i * plane : (i + 1) * plane]
            byte[: len(part)] |= part << (i * width)
        parts.append(byte.tobytes())
        shift += width
    return b"".join(parts)


def unpack(data: bytes | memoryview, count: int, bits: int) -> Codes:
    """Return the `count` codes, uint8 of shape (count,), that `pack` packed.

    >>> unpack(b"9", count=4, bits=2).tolist()
    [1, 2, 3, 0]
    """
    packed = np.frombuffer(data, np.uint8)
    if bits == 8:
        return packed
    codes = np.empty(count, np.uint8)
    start, shift = 0, 0
    for width in _fields(bits):
        plane = _plane(count, width)
        byte = packed[start : start + plane]
        for i in range(8 // width):
            part = codes[i * plane : (i + 1) * plane]
            value = (byte[: len(part)] >> (i * width)) & ((1 << width) - 1)
            if shift:
                part |= value << shift
            else:
                part[:] = value
        start += plane
        shift += width
    return codes


def _fields(bits: int) -> tuple[int, ...]:
    return (8,) if bits == 8 else tuple(width for width in (4, 2, 1) if bits & width)


def _plane(count: int, width: int) -> int:
    return -(-count * width // 8)
