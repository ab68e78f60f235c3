"""What turns a tensor into a message and back. Any class with these three methods is a codec (docs/extending.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from raysplit.wire.message import Kind, Message

Direction = Literal["up", "down"]
"""up: activations, from device to server. down: gradients, from server to device."""
KINDS: dict[Direction, Kind] = {"up": Kind.ACTIVATION, "down": Kind.GRADIENT}
"""The kind of message that goes each way."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of one message, header included.

    >>> Estimate(bytes=91, exact=True)
    Estimate(bytes=91, exact=True)
    """

    bytes: int
    exact: bool
    """False: an upper bound, because an entropy stage follows."""


class Codec(Protocol):
    """Carries tensors in one direction at one level, without state from one message to the next.

    A user's own is constructed as `Class(level, direction, channel_dim, **args)`, once on either side of the cut for
    each direction: what one compresses the other extracts, so that a message must say all that `extract` needs.

    >>> import torch
    >>> from raysplit.compress.quantizing_codec import QuantizingCodec
    >>> from raysplit.wire.level import Level
    >>> codec: Codec = QuantizingCodec(Level("all.b8/b8"), "up")
    >>> message = codec.compress(torch.linspace(0, 1, 6).reshape(2, 3))
    >>> codec.extract(message).shape, message.size == codec.estimate((2, 3)).bytes
    (torch.Size([2, 3]), True)
    """

    def compress(
        self,
        tensor: Tensor,
        batch: int = 0,
        channels: Sequence[int] | None = None,
        seed: int | None = 0,
        mask: Tensor | None = None,
    ) -> Message:
        """Return the message for a floating tensor of any shape, on any device, without gradient.

        The message's `shape` and `dtype` are the tensor's.

        Args:
            batch: number of the micro-batch; the message's `batch`.
            channels: indices of the channels that the bottleneck chose, ascending; None: all. A message that leaves
                the others out lists them in its own `channels`, so that the gradient is restricted to them.
            seed: decides what is random in training; None: nothing is.
            mask: of a gradient with top-k, the positions of the values in the activation of the same number.
        """
        ...

    def extract(self, message: Message, mask: Tensor | None = None) -> Tensor:
        """Return the tensor of a message, of its shape and dtype, on the CPU; zeros in what was not sent."""
        ...

    def estimate(self, shape: Sequence[int]) -> Estimate:
        """Return the bytes of a message for a batched tensor of `shape`, header included, without making it."""
        ...
