"""The message: the only thing that crosses the cut, in either direction.

Layout, little-endian: a fixed header, the dimensions (uint32 each), with top-k the number of values per sample
(uint32), the bitmap of the channels sent, the checksum, the body.

    magic "RS" | version | kind | batch u32 | micros u32 | dtype | bits | flags | ndim | channel_dim |
    bitmap bytes u16 | body bytes u32 | CRC-32 of everything else u32

A message describes itself: the receiver needs no configuration. The one thing that it may have to remember is
which values of an activation were sent, for the gradient of the same number does not say it again.
"""

from __future__ import annotations

import enum
import math
import struct
import zlib
from dataclasses import dataclass, replace

import torch

from raysplit.errors import WireError

VERSION = 1
_MAGIC = b"RS"
_FIXED = struct.Struct("<2sBBIIBBBBBHI")
_CRC = struct.Struct("<I")
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int16, torch.int32)
_BITS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)
_ZSTD = 1
_CHANNELS = 2
_TOP = 4
_KNOWN = 8
_RANGES = 16
_FLAGS = _ZSTD | _CHANNELS | _TOP | _KNOWN | _RANGES
_MAX_VALUES = 1 << 31
_MAX_DIMS = 64
"""Reductions in torch, and numpy arrays, stop here."""


class Kind(enum.IntEnum):
    """What a message carries; bytes are counted by kind."""

    ACTIVATION = 1
    GRADIENT = 2
    LABELS = 3
    WEIGHTS = 4


@dataclass(frozen=True)
class Message:
    kind: Kind
    batch: int
    """Number of the micro-batch, so that an answer can be held against its question."""
    shape: tuple[int, ...]
    """Shape of the whole tensor, the channels left out included."""
    dtype: torch.dtype
    bits: int
    body: bytes | memoryview
    zstd: bool = False
    channels: tuple[int, ...] | None = None
    """Indices of the channels in the body, ascending; None: all."""
    channel_dim: int = 1
    top: int | None = None
    """Values of each sample in the body; None: all. Where they lie is in a bitmap in front of them."""
    positions_known: bool = False
    """The bitmap is left out: the values lie where those of the activation with the same number did."""
    per_channel: bool = False
    """Each channel sent has a range of its own."""
    micros: int = 0
    """Microseconds of work that the sender spent since its last message; not part of the tensor."""

    @property
    def header_bytes(self) -> int:
        return header_size(len(self.shape), self._bitmap_size(), self.top is not None)

    @property
    def sent_shape(self) -> tuple[int, ...]:
        """Shape of the channels that are sent."""
        if self.channels is None:
            return self.shape
        return (*self.shape[: self.channel_dim], len(self.channels), *self.shape[self.channel_dim + 1 :])

    @property
    def size(self) -> int:
        """Bytes on the link: header and body."""
        return self.header_bytes + len(self.body)

    def to_bytes(self) -> bytes:
        flags = (
            _ZSTD * self.zstd
            | _CHANNELS * (self.channels is not None)
            | _TOP * (self.top is not None)
            | _KNOWN * self.positions_known
            | _RANGES * self.per_channel
        )
        fixed = _FIXED.pack(
            _MAGIC,
            VERSION,
            self.kind,
            self.batch,
            self.micros,
            _DTYPES.index(self.dtype),
            self.bits,
            flags,
            len(self.shape),
            self.channel_dim,
            self._bitmap_size(),
            len(self.body),
        )
        sizes = self.shape if self.top is None else (*self.shape, self.top)
        head = fixed + struct.pack(f"<{len(sizes)}I", *sizes) + self._bitmap()
        crc = zlib.crc32(self.body, zlib.crc32(head))
        return b"".join((head, _CRC.pack(crc), self.body))

    def spent(self, seconds: float) -> Message:
        """Return the same message with the sender's working time in its header."""
        return replace(self, micros=min(round(seconds * 1e6), 0xFFFFFFFF))

    def of(self, kind: Kind) -> Message:
        """Return the same message as one of another kind."""
        return replace(self, kind=kind)

    def expect(self, kind: Kind, batch: int, shape: tuple[int, ...] | None = None) -> Message:
        """Return self, or raise WireError when it is not the message that was waited for."""
        if self.kind is not kind:
            raise WireError(f"expected a message of kind {kind.name}, got {self.kind.name}")
        if self.batch != batch:
            raise WireError(f"expected {kind.name} of batch {batch}, got batch {self.batch}")
        if shape is not None and self.shape != shape:
            raise WireError(f"expected {kind.name} of shape {shape}, got {self.shape}")
        return self

    def _bitmap_size(self) -> int:
        return 0 if self.channels is None else -(-self.shape[self.channel_dim] // 8)

    def _bitmap(self) -> bytes:
        bitmap = bytearray(self._bitmap_size())
        for channel in self.channels or ():
            bitmap[channel // 8] |= 1 << channel % 8
        return bytes(bitmap)


def header_size(ndim: int, bitmap_size: int, top: bool = False) -> int:
    """Return the bytes of a header: fixed part, dimensions, values per sample, channel bitmap and checksum."""
    return _FIXED.size + 4 * (ndim + top) + bitmap_size + _CRC.size


def parse(data: bytes) -> Message:
    """Read a message; every fault of the bytes is a WireError, whatever they are."""
    view = memoryview(data)
    if len(view) < _FIXED.size + _CRC.size:
        raise WireError(f"a message of {len(view)} bytes is shorter than a header")
    magic, version, kind, batch, micros, dtype, bits, flags, ndim, channel_dim, bitmap_size, body_size = (
        _FIXED.unpack_from(view)
    )
    if magic != _MAGIC:
        raise WireError(f"not a message: it starts with {bytes(magic)!r}, expected {_MAGIC!r}")
    if version != VERSION:
        raise WireError(f"message of version {version}, this side speaks version {VERSION}: update the older side")
    top = bool(flags & _TOP)
    size = header_size(ndim, bitmap_size, top) + body_size
    if len(view) != size:
        raise WireError(f"message of {len(view)} bytes, its header promises {size}")
    head = size - body_size - _CRC.size
    body = view[head + _CRC.size :]
    if zlib.crc32(body, zlib.crc32(view[:head])) != _CRC.unpack_from(view, head)[0]:
        raise WireError("checksum does not match: the message was damaged on its way")
    sizes = struct.unpack_from(f"<{ndim + top}I", view, _FIXED.size)
    shape = sizes[:ndim]
    # From here on a fault is a sender's, not the link's: a checksum does not make a message sound.
    if kind not in tuple(Kind) or dtype >= len(_DTYPES) or bits not in _BITS or flags & ~_FLAGS:
        raise WireError(f"unknown kind {kind}, dtype {dtype}, bits {bits} or flags {flags}")
    if ndim > _MAX_DIMS:
        raise WireError(f"message of {ndim} dimensions, at most {_MAX_DIMS} are read")
    # A dimension of zero must not hide others whose strides overflow.
    if math.prod(max(size, 1) for size in shape) > _MAX_VALUES:
        raise WireError(f"message of shape {shape} holds more than {_MAX_VALUES} values")
    channels = None
    if flags & _CHANNELS:
        channels = _channels(bytes(view[head - bitmap_size : head]), shape, channel_dim)
    elif bitmap_size:
        raise WireError("message has a channel bitmap that its flags do not announce")
    message = Message(
        Kind(kind),
        batch,
        shape,
        _DTYPES[dtype],
        bits,
        body,
        zstd=bool(flags & _ZSTD),
        channels=channels,
        channel_dim=channel_dim,
        top=sizes[ndim] if top else None,
        positions_known=bool(flags & _KNOWN),
        per_channel=bool(flags & _RANGES),
        micros=micros,
    )
    _check(message)
    return message


def _check(message: Message) -> None:
    """Hold the fields against each other."""
    sent = message.sent_shape
    if message.top is not None and not (sent and 1 <= message.top <= math.prod(sent[1:])):
        raise WireError(f"the header claims {message.top} values per sample in a tensor of shape {sent}")
    if message.positions_known and message.top is None:
        raise WireError("message leaves out positions although it holds all values")
    if message.per_channel and (message.top is not None or message.bits > 8 or message.channel_dim >= len(sent)):
        raise WireError(
            f"message of shape {sent}, {message.bits} bits and top-k {message.top} cannot have a range for each "
            f"channel (dimension {message.channel_dim})"
        )


def _channels(bitmap: bytes, shape: tuple[int, ...], channel_dim: int) -> tuple[int, ...]:
    if channel_dim >= len(shape) or len(bitmap) != -(-shape[channel_dim] // 8):
        raise WireError(f"channel bitmap of {len(bitmap)} bytes does not fit shape {shape}")
    channels = tuple(8 * i + bit for i, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1)
    if not channels:
        raise WireError(f"no channel of shape {shape} is marked as sent")
    if channels[-1] >= shape[channel_dim]:
        raise WireError(f"channel {channels[-1]} is marked as sent, the tensor has {shape[channel_dim]}")
    return channels
