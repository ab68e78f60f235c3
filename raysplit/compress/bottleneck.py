"""The trainable compression-decompression module at the cut.

Mudvari et al., "Adaptive Compression-Aware Split Learning and Inference for Enhanced Network Efficiency",
ACM TOIT 24(4), 2024. The encoder runs on the device, the decoder on the server. A budget keeps some of the code's
channels, and all levels share all weights.

With `start=identity`, encoder and decoder add what they learn to what passes through: x + f(x), where f starts as zero,
as the last layer of a residual branch does in Zhang, Dauphin, Ma, "Fixup Initialization: Residual Learning Without
Normalization", ICLR 2019. There is no batch norm, no squashing and no scaling by gates: with all channels at fp32 the
network starts as the plain network, to the bit.

Shapes: x_BCHW is the network's activation at the cut, z_BCHW its code (H and W shrink with the stride);
token models have x_BND instead, with D in the role of C.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysplit.config import BottleneckConfig
from raysplit.errors import ConfigError

_MAX_EXPONENT = 80.0
"""The exponential of more does not fit into float32."""
_MOMENTUM = {"paper": 0.03, "raysplit": 0.1}
"""Of the batch norms: at 0.03 their means follow a change of level slowly, and accuracy drops for an epoch."""


class Encoder(nn.Module):
    """Device side: convolution → batch norm → sigmoid → times σ(p), p a trainable logit per channel.

    In `raysplit` mode a clipped ReLU, min(max(x / 2, 0), 1), replaces the first sigmoid. With `start=identity` the code
    is x plus a convolution that starts as zero; logits are trained by the gradient of gates whose value is always 1.
    With `order=fixed` there are no logits: a budget keeps the first channels.

    Tokens (`channel_dim` other than 1 in a batched tensor, or no grid at all) are encoded one by one, by a
    linear map in place of the convolution.

    >>> encoder = Encoder(BottleneckConfig(stride=2), shape=(16, 8, 8), channel_dim=1)
    >>> encoder(torch.zeros(4, 16, 8, 8)).shape
    torch.Size([4, 16, 5, 5])
    >>> len(encoder.choose_channels(budget=4))
    4
    >>> x = torch.randn(4, 16, 8, 8)
    >>> torch.equal(Encoder(BottleneckConfig(start="identity"), shape=(16, 8, 8), channel_dim=1)(x), x)
    True

    Args:
        config: mode, start, order of the channels, stride and penalty.
        shape: of the activation at the cut, without the batch dimension.
        channel_dim: dimension of the channels in the batched tensor.

    Raises ConfigError for a stride without a grid, and for a `sharpness` that overflows at this width.
    """

    def __init__(self, config: BottleneckConfig, shape: tuple[int, ...], channel_dim: int):
        super().__init__()
        self.config = config
        self.channel_dim = channel_dim
        self.channels = shape[channel_dim - 1]
        self.mix = _mix(config, shape, channel_dim, nn.Conv2d)
        self.norm = _norm(config, shape, channel_dim)
        # As published, 15·U(0, 1): every gate starts open, and the ranking is random.
        self.logits = nn.Parameter(15 * torch.rand(self.channels)) if config.order == "learned" else None
        # The penalty grows exponentially with the excess S − B, which can reach C. Its authors tuned it at C = 128;
        # at C = 2048 it closes every gate for good.
        narrow = min(1.0, 128 / self.channels) if config.mode == "raysplit" else 1.0
        self._sharpness = config.sharpness * narrow
        if self.logits is not None and self._sharpness * self.channels > _MAX_EXPONENT:
            raise ConfigError(
                f"bottleneck.sharpness={config.sharpness:g} overflows with {self.channels} channels at the cut; "
                f"at most {_MAX_EXPONENT / self.channels / narrow:.2g} here"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated code of x, all channels still in place."""
        z: Tensor = self.mix(x)
        z = x + z if self.norm is None else self._squash(_over_channels(self.norm, z, self.channel_dim))
        if self.logits is None:
            return z
        gate = torch.sigmoid(self.logits)
        if self.config.start == "identity":
            gate = (1 + (gate - gate.detach())).to(z.dtype)
        return z * gate.view([-1 if d == self.channel_dim else 1 for d in range(z.ndim)])

    def _squash(self, x: Tensor) -> Tensor:
        # Into 0..1. Half of a clipped ReLU's values are zero: few bits suffice for the others.
        return torch.sigmoid(x) if self.config.mode == "paper" else (x / 2).clamp(0, 1)

    def choose_channels(self, budget: int | None) -> tuple[int, ...] | None:
        """Return the indices of the `budget` channels that are kept, ascending; None for all of them.

        They have the largest logits, or are the first where the order is fixed. Exactly `budget`: ranking by σ(p)² with
        a threshold, as the authors' code does, lets ties through.
        """
        if budget is None or budget >= self.channels:
            return None
        if self.logits is None:
            return tuple(range(budget))
        order = torch.sort(self.logits.detach(), descending=True, stable=True).indices
        return tuple(sorted(order[:budget].tolist()))

    def penalty(self, budget: int) -> Tensor | None:
        """Return ε[e^{δ(S−B)} + e^{−δ(S−B)}], S = Σσ(p)²: smallest where the gates sum to the budget.

        None where the order of the channels is fixed.
        """
        if self.logits is None:
            return None
        excess = torch.sigmoid(self.logits).square().sum() - budget
        return 2 * self.config.penalty * torch.cosh(self._sharpness * excess)

    def train_logits(self, train: bool) -> None:
        """Train the logits or not: they learn in budgeted phases only, since at full width nothing ranks them."""
        if self.logits is not None:
            self.logits.requires_grad_(train)

    @torch.no_grad()
    def reset_logits(self, generator: torch.Generator) -> None:
        """Give unused channels another chance (deprune): redraw logits below 0.9 from U(0, 3), set all others to 15."""
        if self.logits is not None:
            fresh = 3 * torch.rand(len(self.logits), generator=generator).to(self.logits)
            self.logits.copy_(torch.where(self.logits < 0.9, fresh, torch.full_like(self.logits, 15.0)))


class Decoder(nn.Module):
    """Server side: transposed convolution of the same geometry → batch norm → ReLU. Arguments are the encoder's.

    With `start=identity` it returns z plus a convolution of it that starts as zero.

    >>> decoder = Decoder(BottleneckConfig(stride=2), shape=(16, 8, 8), channel_dim=1)
    >>> decoder(torch.zeros(4, 16, 5, 5)).shape
    torch.Size([4, 16, 8, 8])
    """

    def __init__(self, config: BottleneckConfig, shape: tuple[int, ...], channel_dim: int):
        super().__init__()
        self.channel_dim = channel_dim
        self.grid = shape[1:] if _has_grid(shape, channel_dim) and config.start == "random" else None
        transposed = config.start == "random"
        self.mix = _mix(config, shape, channel_dim, nn.ConvTranspose2d if transposed else nn.Conv2d)
        self.norm = _norm(config, shape, channel_dim)

    def forward(self, z: Tensor) -> Tensor:
        """Return the input of the server half, from a code with zeros in the channels that were not sent."""
        x: Tensor = self.mix(z, output_size=self.grid) if self.grid is not None else self.mix(z)
        return z + x if self.norm is None else torch.relu(_over_channels(self.norm, x, self.channel_dim))


def code_shape(config: BottleneckConfig | None, shape: tuple[int, ...], channel_dim: int) -> tuple[int, ...]:
    """Return the shape of the code of an activation of `shape`, both without the batch dimension.

    >>> code_shape(BottleneckConfig(stride=3), (16, 8, 8), channel_dim=1)
    (16, 4, 4)
    >>> code_shape(None, (16, 8, 8), channel_dim=1)
    (16, 8, 8)
    """
    if config is None or not _has_grid(shape, channel_dim):
        return shape
    r = config.stride
    channels, height, width = shape
    return channels, (height + r - 2) // r + 1, (width + r - 2) // r + 1


def _has_grid(shape: tuple[int, ...], channel_dim: int) -> bool:
    return channel_dim == 1 and len(shape) == 3


def _mix(
    config: BottleneckConfig,
    shape: tuple[int, ...],
    channel_dim: int,
    conv: type[nn.Conv2d] | type[nn.ConvTranspose2d],
) -> nn.Module:
    channels, r = shape[channel_dim - 1], config.stride
    mix: nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    if _has_grid(shape, channel_dim):
        # r = 1 is a plain 3×3 convolution; otherwise kernel r+2, stride r, padding r.
        mix = conv(channels, channels, r + 2, stride=r, padding=r, bias=True)
    elif r != 1:
        raise ConfigError(f"bottleneck.stride={r} needs a (C, H, W) tensor at the cut, {shape} crosses; set it to 1")
    else:
        mix = nn.Linear(channels, channels)
    if config.start == "identity":
        assert mix.bias is not None
        nn.init.zeros_(mix.weight)
        nn.init.zeros_(mix.bias)
    return mix


def _norm(config: BottleneckConfig, shape: tuple[int, ...], channel_dim: int) -> nn.Module | None:
    if config.start == "identity":
        return None
    norm = nn.BatchNorm2d if _has_grid(shape, channel_dim) else nn.BatchNorm1d
    return norm(shape[channel_dim - 1], eps=1e-4, momentum=_MOMENTUM[config.mode])


def _over_channels(norm: nn.Module, x: Tensor, channel_dim: int) -> Tensor:
    normed: Tensor = norm(x) if channel_dim == 1 else norm(x.flatten(0, -2)).view_as(x)
    return normed
