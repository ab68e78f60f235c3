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
    """Return a uint8 array from a list, flat or nested like `shape`; RequestError for anything else.

    >>> pixels_from_json([[0, 1], [2, 255]], (2, 2)).tolist()
    [[0, 1], [2, 255]]
    >>> pixels_from_json([0, 256], (2,))
    Traceback (most recent call last):
    ...
    raysplit.errors.RequestError: value 1 is not an integer from 0 to 255
    """
    values = _flatten(data, shape)
    if len(values) != math.prod(shape):
        raise RequestError(f"got {len(values)} values, but shape {list(shape)} has {math.prod(shape)}")
    # Not with np.array: one long text among the numbers would make it allocate that length for every value.
    if set(map(type, values)) == {int}:
        with contextlib.suppress(ValueError):  # one is out of range
            return np.frombuffer(bytes(values), np.uint8).reshape(shape)
    wrong = next(i for i, value in enumerate(values) if type(value) is not int or not 0 <= value <= 255)
    raise RequestError(f"value {wrong} is not an integer from 0 to 255")


def pixels_from_bytes(data: memoryview, shape: tuple[int, ...]) -> np.ndarray:
    """Return bytes as a uint8 array of `shape`, without a copy; RequestError if there are too few or too many.

    >>> pixels_from_bytes(memoryview(bytes(4)), (2, 2)).tolist()
    [[0, 0], [0, 0]]
    """
    if len(data) != math.prod(shape):
        raise RequestError(f"got {len(data)} bytes, but shape {list(shape)} has {math.prod(shape)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def strings_from_json(data: Any, shape: tuple[int, ...]) -> list[bytes]:
    """Return the bytes in a list of base64 text, flat or nested like `shape`; RequestError for anything else.

    >>> strings_from_json(["YQ=="], (1,)), strings_from_json([["YQ=="]], (1, 1))
    ([b'a'], [b'a'])
    """
    values = _flatten(data, shape)
    if len(values) != math.prod(shape):
        raise RequestError(f"got {len(values)} values, but shape {list(shape)} has {math.prod(shape)}")
    strings = []
    for index, text in enumerate(values):
        try:
            if type(text) is not str:
                raise ValueError
            strings.append(base64.b64decode(text, validate=True))
        except ValueError:
            raise RequestError(f"value {index} is not base64 text; encode files in JSON as base64") from None
    return strings


def strings_from_bytes(data: memoryview, count: int) -> list[bytes]:
    """Return the elements of a binary BYTES tensor, each of which follows its length; RequestError if malformed.

    >>> strings_from_bytes(memoryview(strings_to_bytes(["cat", ""])), 2)
    [b'cat', b'']
    """
    strings, position = [], 0
    for index in range(count):
        start = position + _LENGTH.size
        size = _LENGTH.unpack_from(data, position)[0] if start <= len(data) else 0
        if start + size > len(data):
            raise RequestError(f"its bytes end within element {index} of {count}")
        position = start + size
        strings.append(bytes(data[start:position]))
    if position < len(data):
        raise RequestError(f"it has {len(data) - position} more bytes than its {count} elements")
    return strings


def strings_to_bytes(values: Iterable[str]) -> bytes:
    r"""Return a BYTES tensor in binary, each element after its length.

    >>> strings_to_bytes(["cat"])
    b'\x03\x00\x00\x00cat'
    """
    return b"".join(_LENGTH.pack(len(raw)) + raw for raw in (value.encode() for value in values))


def _flatten(data: Any, shape: Sequence[int]) -> list[Any]:
    """Return the values of a list, flat or nested like `shape`."""
    if type(data) is not list:
        raise RequestError("its data is not a list")
    values: list[Any] = data
    if not values or type(values[0]) is not list:
        return values
    wrong_nesting = f"its data is nested, but not like shape {list(shape)}"
    if len(values) != shape[0]:
        raise RequestError(wrong_nesting)
    for extent in shape[1:]:
        if set(map(type, values)) != {list} or set(map(len, values)) != {extent}:
            raise RequestError(wrong_nesting)
        values = list(chain.from_iterable(values))
    return values
