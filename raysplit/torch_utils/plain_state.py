"""States as bytes without pickle: JSON for their shape, and the raw bytes of their tensors.

Layout: magic "RSST1\\n", bytes of the JSON as uint64 (little-endian), the JSON, the tensors one after the other. In the
JSON a list is `["l", …]`, a tuple `["t", …]`, a dict `["d", [key, value], …]`, and bytes or a tensor its kind, size and
layout.

>>> state = {"step": 3, 0: (torch.ones(2), b"code", None)}
>>> str(unpack_plain(pack_plain(state))) == str(state)
True
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import torch

from raysplit.errors import WireError

MAGIC = b"RSST1\n"
_SIZE = struct.Struct("<Q")
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def pack_plain(state: Any) -> bytes:
    """Return nested dicts, lists and tuples of tensors, bytes, numbers, text and None as bytes.

    Tensors keep their values and the order of their strides. Raises TypeError for anything else.
    """
    blobs: list[bytes] = []
    head = json.dumps(_write(state, blobs)).encode()
    return b"".join((MAGIC, _SIZE.pack(len(head)), head, *blobs))


def unpack_plain(data: bytes) -> Any:
    """Return the state that `pack_plain` packed, on the CPU; WireError for bytes that it did not pack."""
    view, start = memoryview(data), len(MAGIC) + _SIZE.size
    try:
        if bytes(view[: len(MAGIC)]) != MAGIC:
            raise ValueError("it does not begin as one")
        end = start + _SIZE.unpack_from(view, len(MAGIC))[0]
        reader = _Reader(view, end)
        state = reader.read(json.loads(bytes(view[start:end])))
        if reader.at != len(view):
            raise ValueError(f"{len(view) - reader.at} bytes too many")
    except (ValueError, TypeError, KeyError, IndexError, struct.error, RuntimeError, RecursionError) as err:
        raise WireError(f"not a packed state: {err}") from None
    return state


def _write(value: Any, blobs: list[bytes]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return ["d", *([_write(key, blobs), _write(item, blobs)] for key, item in value.items())]
    if isinstance(value, list | tuple):
        return ["l" if isinstance(value, list) else "t", *(_write(item, blobs) for item in value)]
    if isinstance(value, bytes):
        blobs.append(value)
        return ["b", len(value)]
    if isinstance(value, torch.Tensor) and value.dtype in _NAMES:
        # In the order of its strides, a dense tensor is contiguous.
        order = sorted(range(value.ndim), key=value.stride, reverse=True)
        dense = value.detach().cpu().permute(order).contiguous()
        blobs.append(dense.reshape(-1).view(torch.uint8).numpy().tobytes())
        return ["T", _NAMES[value.dtype], list(dense.shape), order]
    raise TypeError(f"a state holds no {type(value).__name__}")


class _Reader:
    """Reads values, and takes the bytes of tensors in order."""

    def __init__(self, view: memoryview, at: int):
        self._view, self.at = view, at

    def read(self, value: Any) -> Any:
        if not isinstance(value, list):
            if isinstance(value, dict):
                raise ValueError("an object in its JSON")
            return value
        kind, *rest = value
        match kind:
            case "l":
                return [self.read(item) for item in rest]
            case "t":
                return tuple(self.read(item) for item in rest)
            case "d":
                return {self.read(key): self.read(item) for key, item in rest}
            case "b":
                return bytes(self._take(*rest))
            case "T":
                return self._tensor(*rest)
        raise ValueError(f"a value of kind {kind!r}")

    def _tensor(self, name: str, shape: list[int], order: list[int]) -> torch.Tensor:
        dtype = _DTYPES[name]
        if sorted(order) != list(range(len(shape))):
            raise ValueError(f"dimensions in the order {order}")
        raw = self._take(math.prod(shape) * dtype.itemsize)
        flat = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        back = [order.index(dim) for dim in range(len(order))]
        return flat.reshape(shape).permute(back)

    def _take(self, size: int) -> memoryview:
        if not (isinstance(size, int) and 0 <= size <= len(self._view) - self.at):
            raise ValueError(f"{size} bytes are to come, {len(self._view) - self.at} are left")
        self.at += size
        return self._view[self.at - size : self.at]
