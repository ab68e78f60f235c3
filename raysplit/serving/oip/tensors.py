"""Tensors of the Open Inference Protocol: from JSON or bytes to numpy, and back to bytes."""

from __future__ import annotations

import base64
import contextlib
import math
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from raysplit.errors import RequestError

_LENGTH = struct.Struct("<I")


def pixels_from_json(data: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a uint8 array from lists, flat or nested as `shape`; RequestError for anything else."""
    flat = _flat(data, shape)
    if len(flat) != math.prod(shape):
        raise RequestError(f"{len(flat)} values are not the {math.prod(shape)} of shape {list(shape)}")
    # Not by np.array: among numbers, one long text would make it room for as many of that length.
    if set(map(type, flat)) == {int}:
        with contextlib.suppress(ValueError):  # one is out of range
            return np.frombuffer(bytes(flat), np.uint8).reshape(shape)
    wrong = next(i for i, value in enumerate(flat) if type(value) is not int or not 0 <= value <= 255)
    raise RequestError(f"value {wrong} is not a whole number of 0 to 255")


def pixels_from_bytes(data: memoryview, shape: tuple[int, ...]) -> np.ndarray:
    """Return bytes as a uint8 array of `shape`, not copied; RequestError when they are too few or too many."""
    if len(data) != math.prod(shape):
        raise RequestError(f"{len(data)} bytes are not the {math.prod(shape)} of shape {list(shape)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def strings_from_json(data: Any, count: int) -> list[bytes]:
    """Return bytes from a flat list of base64 text; RequestError for anything else."""
    flat = _flat(data, (count,))
    if len(flat) != count:
        raise RequestError(f"{len(flat)} values are not the {count} of shape [{count}]")
    found = []
    for index, text in enumerate(flat):
        try:
            if type(text) is not str:
                raise ValueError
            found.append(base64.b64decode(text, validate=True))
        except ValueError:
            raise RequestError(
                f"value {index} is not base64 text; JSON holds files as base64, binary data as they are"
            ) from None
    return found


def strings_from_bytes(data: memoryview, count: int) -> list[bytes]:
    """Return the elements of a BYTES tensor in binary, each after its length; RequestError for anything else."""
    found, at = [], 0
    for index in range(count):
        start = at + _LENGTH.size
        size = _LENGTH.unpack_from(data, at)[0] if start <= len(data) else 0
        if start + size > len(data):
            raise RequestError(f"its bytes end within element {index} of {count}")
        at = start + size
        found.append(bytes(data[start:at]))
    if at < len(data):
        raise RequestError(f"{len(data) - at} bytes are left after its {count} elements")
    return found


def strings_to_bytes(values: Iterable[str]) -> bytes:
    """Return a BYTES tensor in binary, each element after its length."""
    return b"".join(_LENGTH.pack(len(raw)) + raw for raw in (value.encode() for value in values))


def _flat(data: Any, shape: Sequence[int]) -> list[Any]:
    """Return the values of a list, flat or nested as `shape`."""
    if type(data) is not list:
        raise RequestError("its data is not a list")
    if not data or type(data[0]) is not list:
        return data
    nested = f"its data is nested, but not as shape {list(shape)}"
    if len(data) != shape[0]:
        raise RequestError(nested)
    for extent in shape[1:]:
        if set(map(type, data)) != {list} or set(map(len, data)) != {extent}:
            raise RequestError(nested)
        data = list(chain.from_iterable(data))
    return data
