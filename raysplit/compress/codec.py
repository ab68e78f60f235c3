"""The codec: tensor to message and back, composed of three stages.

Selection (which channels are sent) → values (32, 16 or 1 to 8 bits each) → entropy (zstd, if it helps).
A schedule picks the level, the caller picks the channels, the codec obeys; `extract` needs neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import torch

from raysplit.compress.message import Kind, Message, header_size
from raysplit.compress.values import decode, encode, values_size
from raysplit.config import Level
from raysplit.errors import WireError

_zstd = pa.Codec("zstd", compression_level=1)
_ZSTD_MOST = 1 << 15
"""Bytes that one byte of zstd can stand for: a block of at most 128 KiB takes at least four (RFC 8878)."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of one message, header included."""

    bytes: int
    exact: bool
    """False: an upper bound, because an entropy stage follows."""


@dataclass(frozen=True)
class Codec:
    """Compresses what goes one way at one level.

    Args:
        level: how much is sent.
        direction: `up` (activations, rounded to the nearest code) or `down` (gradients, rounded
            stochastically, so that their mean survives).
        channel_dim: dimension of the channels in the batched tensor.
    """

    level: Level
    direction: Literal["up", "down"]
    channel_dim: int = 1

    @property
    def bits(self) -> int:
        return self.level.up_bits if self.direction == "up" else self.level.down_bits

    def compress(
        self,
        tensor: torch.Tensor,
        batch: int = 0,
        kept: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Message:
        """Return the message for a floating tensor of any shape, on any device.

        `kept` are the channels to send, ascending (None: all); `seed` decides the stochastic rounding.
        Raises CodecError for NaN or infinite values at 8 bits and below.
        """
        kept = None if kept is None else tuple(kept)
        sent = tensor.detach().cpu()
        if kept is not None:
            sent = sent.index_select(self.channel_dim, torch.tensor(kept, dtype=torch.int64))
        noise = np.random.Generator(np.random.SFC64(seed)) if self.direction == "down" else None
        body = encode(sent.reshape(-1), self.bits, noise)
        zstd = False
        if self.level.entropy == "zstd":
            squeezed = _zstd.compress(body, asbytes=True)
            zstd = len(squeezed) < len(body)
            body = squeezed if zstd else body
        kind = Kind.ACTIVATION if self.direction == "up" else Kind.GRADIENT
        shape = tuple(tensor.shape)
        return Message(kind, batch, shape, tensor.dtype, self.bits, body, zstd, kept, self.channel_dim)

    def estimate(self, shape: Sequence[int]) -> Estimate:
        """Return the bytes of a message for a batched tensor of `shape`, without making it."""
        count, bitmap = math.prod(shape), 0
        if self.level.channels is not None:
            channels = shape[self.channel_dim]
            if self.level.channels < channels:
                count = count // channels * self.level.channels
                bitmap = -(-channels // 8)
        size = header_size(len(shape), bitmap) + values_size(count, self.bits)
        return Estimate(size, exact=self.level.entropy == "none")


def extract(message: Message) -> torch.Tensor:
    """Return the tensor that a message carries: its shape and dtype, zeros in the channels not sent.

    Raises WireError when the body is not what the header says.
    """
    shape = list(message.shape)
    if message.kept is not None:
        shape[message.channel_dim] = len(message.kept)
    count = math.prod(shape)
    body = _inflate(message, values_size(count, message.bits))
    sent = decode(body, count, message.bits, message.dtype).reshape(shape)
    if message.kept is None:
        return sent
    whole = torch.zeros(message.shape, dtype=message.dtype)
    return whole.index_copy_(message.channel_dim, torch.tensor(message.kept, dtype=torch.int64), sent)


def pack_labels(labels: torch.Tensor, batch: int, classes: int) -> Message:
    """Return the message for int64 class labels, shape (n,), in the narrowest of 1, 2 or 4 bytes each."""
    dtype, bits = next(
        (dtype, bits)
        for dtype, bits, limit in (
            (torch.uint8, 8, 1 << 8),
            (torch.int16, 16, 1 << 15),
            (torch.int32, 32, 1 << 31),
        )
        if classes <= limit
    )
    return Message(Kind.LABELS, batch, tuple(labels.shape), dtype, bits, labels.to(dtype).numpy().tobytes())


def extract_labels(message: Message) -> torch.Tensor:
    """Return int64 labels, shape (n,), from a message that `pack_labels` made."""
    width = {torch.uint8: 1, torch.int16: 2, torch.int32: 4}.get(message.dtype)
    plain = len(message.shape) == 1 and not message.zstd and message.kept is None
    if width is None or not plain or len(message.body) != width * message.shape[0]:
        raise WireError(f"labels of dtype {message.dtype} in {len(message.body)} bytes do not fit {message.shape}")
    if not message.body:
        return torch.zeros(0, dtype=torch.int64)
    return torch.frombuffer(bytearray(message.body), dtype=message.dtype).to(torch.int64)


def _inflate(message: Message, size: int) -> bytes | memoryview:
    if not message.dtype.is_floating_point:
        raise WireError(f"message of kind {message.kind.name} carries {message.dtype}, not a floating tensor")
    body = message.body
    if message.zstd:
        if size > len(body) * _ZSTD_MOST:
            raise WireError(f"a zstd body of {len(body)} bytes cannot hold {size}")
        try:
            body = _zstd.decompress(body, size, asbytes=True)
        except (OSError, pa.ArrowException) as err:
            raise WireError(f"the zstd body cannot be read: {err}") from None
    if len(body) != size:
        raise WireError(f"body of {len(body)} bytes, shape {message.shape} at {message.bits} bits takes {size}")
    return body
