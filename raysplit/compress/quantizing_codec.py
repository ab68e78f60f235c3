"""The package's codec, composed of three stages: selection, values, entropy.

Selection (which channels are sent, which values of them) → values (32, 16 or 1 to 8 bits each) → entropy (zstd,
if it helps). A schedule picks the level and the caller the channels; messages describe themselves, so that `extract`
needs neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from raysplit.compress.codec import KINDS, Direction, Estimate
from raysplit.compress.quantize import channels_size, decode, decode_channels, encode, encode_channels, values_size
from raysplit.compress.topk import bitmap_size, choose_top, count_picks, pack_mask, scatter_values, unpack_mask
from raysplit.config import Level
from raysplit.errors import CodecError, WireError
from raysplit.wire.message import Message, header_size

_zstd = pa.Codec("zstd", compression_level=1)
_ZSTD_MAX_RATIO = 1 << 15
"""Bytes that one byte of zstd can expand to: a block of at most 128 KiB takes at least four (RFC 8878)."""


@dataclass(frozen=True)
class QuantizingCodec:
    """Sends the chosen channels and values at the bits of a level.

    >>> codec = QuantizingCodec(Level("all.b4/b4"), "up")
    >>> x = torch.arange(12.0).reshape(2, 3, 2)
    >>> message = codec.compress(x)
    >>> message.size == codec.estimate(x.shape).bytes
    True
    >>> bool((codec.extract(message) - x).abs().max() < 0.5)
    True

    Args:
        level: how much is sent.
        direction: `up` (activations, rounded to the nearest code) or `down` (gradients, rounded
            stochastically, so that their mean survives).
        channel_dim: dimension of the channels in the batched tensor.
    """

    level: Level
    direction: Direction
    channel_dim: int = 1

    @property
    def bits(self) -> int:
        return self.level.up_bits if self.direction == "up" else self.level.down_bits

    def compress(
        self,
        tensor: torch.Tensor,
        batch: int = 0,
        channels: Sequence[int] | None = None,
        seed: int | None = 0,
        mask: torch.Tensor | None = None,
    ) -> Message:
        """Return the message for a floating tensor of any shape, on any device.

        Args:
            batch: number of the micro-batch.
            channels: indices of the channels to send, ascending; None: all.
            seed: decides the stochastic rounding and the random picks; None: nearest codes and plain top-k.
            mask: for gradients with top-k, the `positions` of the activation of the same number.

        Raises CodecError for NaN or infinite values at 8 bits and below, and for a tensor without the dimensions
        that the level needs.
        """
        chosen = None if channels is None else tuple(channels)
        sent = tensor.detach().cpu()
        if chosen is not None:
            sent = sent.index_select(self.channel_dim, torch.tensor(chosen, dtype=torch.int64))
        body = self._encode(sent, seed, mask)
        zstd = False
        if self.level.entropy == "zstd":
            squeezed = _zstd.compress(body, asbytes=True)
            zstd = len(squeezed) < len(body)
            body = squeezed if zstd else body
        return Message(
            KINDS[self.direction],
            batch,
            tuple(tensor.shape),
            tensor.dtype,
            self.bits,
            body,
            zstd,
            chosen,
            self.channel_dim,
            top=self.level.top,
            positions_known=self._positions_known,
            per_channel=self._per_channel,
        )

    def extract(self, message: Message, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the tensor of a message; as `raysplit.compress.quantizing_codec.extract`, which needs no codec."""
        return extract(message, mask)

    def estimate(self, shape: Sequence[int]) -> Estimate:
        """Return the bytes of a message for a batched tensor of `shape`, without making it."""
        sent, channel_bitmap = list(shape), 0
        if self.level.channels is not None:
            channels = shape[self.channel_dim]
            if self.level.channels < channels:
                sent[self.channel_dim] = self.level.channels
                channel_bitmap = bitmap_size(channels)
        ranges = self._check_channels(sent) if self._per_channel else None
        body = _body_size(sent, self.bits, self.level.top, self._positions_known, ranges)
        size = header_size(len(shape), channel_bitmap, self.level.top is not None) + body
        return Estimate(size, exact=self.level.entropy == "none")

    @property
    def _positions_known(self) -> bool:
        """Whether the receiver already knows the positions: the device chose them."""
        return self.level.top is not None and self.direction == "down"

    @property
    def _per_channel(self) -> bool:
        return self.level.per_channel and self.bits <= 8

    def _encode(self, sent: torch.Tensor, seed: int | None, mask: torch.Tensor | None) -> bytes:
        """Return the bitmap, if there is one, and the values."""
        noise = None
        if self.direction == "down" and seed is not None:
            noise = np.random.Generator(np.random.SFC64(seed))
        if self._per_channel:
            self._check_channels(sent.shape)
            return encode_channels(sent, self.channel_dim, self.bits, noise)
        if self.level.top is None:
            return encode(sent.reshape(-1), self.bits, noise)
        if self._positions_known:
            if mask is None or mask.shape != sent.shape:
                raise CodecError(f"a gradient at level {self.level} needs the positions of its activation")
            return encode(sent[mask], self.bits, noise)
        random = self.level.top_random if seed is not None else 0
        chosen = choose_top(sent, self.level.top, random, seed or 0)
        return pack_mask(chosen) + encode(sent[chosen], self.bits, noise)

    def _check_channels(self, shape: Sequence[int]) -> int:
        if self.channel_dim >= len(shape):
            raise CodecError(f"level {self.level} has a range per channel, shape {tuple(shape)} has no channels")
        return shape[self.channel_dim]


def extract(message: Message, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Return the tensor that a message carries, of its shape and dtype, with zeros for what was not sent.

    `mask` are the `positions` of the activation that a gradient belongs to; None where it had none. Raises
    WireError when the body does not match the header, or the mask does not match the message.

    >>> message = QuantizingCodec(Level("c2.b32/b32"), "up").compress(torch.ones(1, 3), channels=(0, 2))
    >>> extract(message)
    tensor([[1., 0., 1.]])
    """
    shape = message.sent_shape
    body = memoryview(_decompress(message))
    if message.positions_known:
        if mask is None or tuple(mask.shape) != shape or int(mask.sum()) != count_picks(shape, message.top or 0):
            raise WireError(f"message {message.batch} belongs to an activation with other positions than these")
    elif mask is not None:
        raise WireError(f"message {message.batch} is not restricted to the positions of its activation")
    elif message.top is not None:
        front = bitmap_size(math.prod(shape))
        mask, body = unpack_mask(body[:front], shape, message.top), body[front:]
    if message.per_channel:
        sent = decode_channels(body, shape, message.channel_dim, message.bits, message.dtype)
    elif message.top is not None and mask is not None:
        sent = scatter_values(decode(body, count_picks(shape, message.top), message.bits, message.dtype), mask)
    else:
        sent = decode(body, math.prod(shape), message.bits, message.dtype).reshape(shape)
    if message.channels is None:
        return sent
    whole = torch.zeros(message.shape, dtype=message.dtype)
    return whole.index_copy_(message.channel_dim, torch.tensor(message.channels, dtype=torch.int64), sent)


def positions(message: Message) -> torch.Tensor | None:
    """Return which values an activation message holds: a bool mask over the channels sent; None: all of them.

    >>> positions(QuantizingCodec(Level("all.k1.b8/b8"), "up").compress(torch.tensor([[0.5, -2.0, 1.0]])))
    tensor([[False,  True, False]])
    """
    if message.top is None:
        return None
    if message.positions_known:
        raise WireError(f"message {message.batch} does not contain the positions of its values")
    shape = message.sent_shape
    return unpack_mask(memoryview(_decompress(message))[: bitmap_size(math.prod(shape))], shape, message.top)


def _body_size(shape: Sequence[int], bits: int, top: int | None, known: bool, ranges: int | None) -> int:
    """Return the bytes before the entropy stage of a tensor sent in `shape`, with `ranges` ranges (None: one)."""
    count = math.prod(shape)
    if top is not None:
        return (0 if known else bitmap_size(count)) + values_size(count_picks(shape, top), bits)
    return values_size(count, bits) if ranges is None else channels_size(count, ranges, bits)


def _decompress(message: Message) -> bytes | memoryview:
    """Undo the entropy stage; WireError unless the bytes are as many as the header implies."""
    if not message.dtype.is_floating_point:
        raise WireError(f"message of kind {message.kind.name} carries {message.dtype}, not a floating tensor")
    shape, body = message.sent_shape, message.body
    ranges = shape[message.channel_dim] if message.per_channel else None
    size = _body_size(shape, message.bits, message.top, message.positions_known, ranges)
    if message.zstd:
        if size > len(body) * _ZSTD_MAX_RATIO:
            raise WireError(f"a zstd body of {len(body)} bytes cannot hold {size}")
        try:
            body = _zstd.decompress(body, size, asbytes=True)
        except (OSError, pa.ArrowException) as err:
            raise WireError(f"the zstd body cannot be read: {err}") from None
    if len(body) != size:
        raise WireError(f"body of {len(body)} bytes, shape {message.shape} at {message.bits} bits takes {size}")
    return body
