"""Bottleneck and codec as a layer, for a training loop of your own (docs/layer.md)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from raysplit.compress.bottleneck import Decoder, Encoder
from raysplit.compress.codec import Codec
from raysplit.compress.error_feedback import ErrorFeedback
from raysplit.compress.noise import add_noise
from raysplit.compress.quantizing_codec import positions
from raysplit.compress.user_codec import build_codec
from raysplit.config import BottleneckConfig, CodecSource, Level
from raysplit.errors import ConfigError
from raysplit.torch_utils.layout import arrange_like
from raysplit.torch_utils.seeds import mix
from raysplit.utils.settings import parse
from raysplit.wire.message import Message


class CompressedCut(nn.Module):
    """Compresses what passes between two modules as a link between a device and a server would.

    The forward pass makes a message of the activation and hands on what a server would extract from it; the backward
    pass does the same with the gradient, restricted to the channels and values that were sent (straight-through: the
    codec itself has no derivative). It works on any torch device; messages are made on the CPU. In eval mode nothing
    is random but the noise of a level that has some, and bytes are counted apart.

    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), CompressedCut("all.b4/b4"), nn.Linear(32, 10))
    >>> net(torch.randn(8, 64)).sum().backward()
    >>> net[2].bytes_up, net[2].bytes_down
    (171, 171)

    Args:
        level: how much crosses, as text (`c4.b4/b4.zstd`) or as a `Level`; it can be set at any time.
        bottleneck: puts the trainable encoder before the codec and the decoder behind it; levels that keep some of the
            channels need one. None: the codec alone.
        shape: of one sample at this place, without the batch dimension; needed with a bottleneck.
        channel_dim: dimension of the channels in the batched tensor: 1 for (B, C, H, W), 2 for tokens (B, N, D).
        seed: of stochastic rounding and of the random picks and the noise of a level, with the number of the batch.
        codec: a codec of your own, as in `SplitConfig.codec`; None: the package's.

    Raises ConfigError for a level that does not fit.
    """

    def __init__(
        self,
        level: Level | str,
        *,
        bottleneck: BottleneckConfig | None = None,
        shape: tuple[int, ...] | None = None,
        channel_dim: int = 1,
        seed: int = 0,
        codec: CodecSource = None,
    ):
        super().__init__()
        if bottleneck is not None and shape is None:
            raise ConfigError(
                "a bottleneck needs the shape of one sample at the cut: CompressedCut(…, shape=(C, H, W))"
            )
        self.channel_dim, self.seed = channel_dim, seed
        self.encoder = None if bottleneck is None or shape is None else Encoder(bottleneck, shape, channel_dim)
        self.decoder = None if bottleneck is None or shape is None else Decoder(bottleneck, shape, channel_dim)
        self.batch = 0
        """Number of the next training batch, which seeds what is random in it; set it where training is resumed."""
        self.bytes_up = 0
        """Of the activation messages of training, headers included."""
        self.bytes_down = 0
        """Of the gradient messages."""
        self.bytes_evaluation = 0
        """Of the activation messages in eval mode."""
        self._codec, self._feedback = codec, ErrorFeedback()
        self.level = level

    @property
    def level(self) -> Level:
        """How much crosses; gradients follow the level that their activation had."""
        return self._level

    @level.setter
    def level(self, level: Level | str) -> None:
        self._level = parse(Level, level, where="level of a CompressedCut")
        budget = self._level.channels
        if budget is not None:
            if self.encoder is None:
                raise ConfigError(
                    f"level {level} keeps {budget} channels, which needs a bottleneck: give one and a shape"
                )
            if budget > self.encoder.channels:
                raise ConfigError(f"level {level} keeps {budget} channels, {self.encoder.channels} cross here")
        self._up = build_codec(self._codec, self._level, "up", self.channel_dim)
        self._down = build_codec(self._codec, self._level, "down", self.channel_dim)
        self._feedback.begin(self._level)
        if self.encoder is not None:
            self.encoder.train_logits(budget is not None)

    def forward(self, x: Tensor) -> Tensor:
        """Return what arrives on the other side for x, of any shape and floating dtype."""
        z = x if self.encoder is None else self.encoder(x)
        y: Tensor = self._cross(z)
        if self.training:
            self.batch += 1
        if self.decoder is not None:
            y = self.decoder(y)
        return y

    def penalty(self) -> Tensor:
        """Return the budget penalty to add to the loss (`Encoder.penalty`), zero where there is none."""
        budget = self._level.channels
        penalty = None if self.encoder is None or budget is None else self.encoder.penalty(budget)
        return torch.zeros(()) if penalty is None else penalty

    def reset_bytes(self) -> None:
        """Count bytes from zero."""
        self.bytes_up = self.bytes_down = self.bytes_evaluation = 0

    def extra_repr(self) -> str:
        """Return the level, for the module's repr."""
        return f"level={self._level}, channel_dim={self.channel_dim}"

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # numpy and bytes are not traced
    def _cross(self, z: Tensor) -> Tensor:
        y: Tensor = _Crossing.apply(z, self, self.batch)
        return y

    def _compress(self, z: Tensor, number: int) -> Message:
        channels = None if self.encoder is None else self.encoder.choose_channels(self._level.channels)
        seed = mix(self.seed, "picks", number) if self.training else None
        noise = mix(self.seed, "noise", number) if self.training else None
        noisy = add_noise(z, self._level.noise, noise, channels, self.channel_dim)
        message = self._up.compress(noisy, number, channels, seed)
        if self.training:
            self.bytes_up += message.size
        else:
            self.bytes_evaluation += message.size
        return message

    def _compress_gradient(self, codec: Codec, level: Level, gradient: Tensor, up: _Sent) -> Message:
        if level.feedback and level == self._level:
            message = self._feedback.compress(codec, gradient, up.batch, up.channels, up.mask)
        else:
            message = codec.compress(gradient, up.batch, up.channels, mix(self.seed, "round", up.batch), up.mask)
        self.bytes_down += message.size
        return message


class _Sent:
    """What the gradient of an activation must know of its message."""

    def __init__(self, message: Message):
        self.batch, self.channels, self.mask = message.batch, message.channels, positions(message)


class _Crossing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, cut: CompressedCut, number: int) -> Tensor:
        message = cut._compress(z, number)
        ctx.cut, ctx.level, ctx.codec, ctx.sent = cut, cut._level, cut._down, _Sent(message)
        return arrange_like(cut._up.extract(message), z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        message = ctx.cut._compress_gradient(ctx.codec, ctx.level, gradient, ctx.sent)
        return arrange_like(ctx.codec.extract(message, ctx.sent.mask), gradient), None, None
