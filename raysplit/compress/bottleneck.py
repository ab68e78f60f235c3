"""The trainable compression-decompression module at the cut.

Mudvari et al., "Adaptive Compression-Aware Split Learning and Inference for Enhanced Network Efficiency",
ACM TOIT 24(4), 2024. The encoder runs on the device, the decoder on the server; the channels that survive
are the ones with the largest logits, and every level shares all weights.

Shapes: x_BCHW is what the network puts at the cut, z_BCHW the code of it (H and W shrink with the stride);
token models have x_BND instead, with D in the role of C.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysplit.config import BottleneckConfig
from raysplit.errors import ConfigError

_MAX_EXPONENT = 80.0
"""exp of more does not fit into float32."""
_MOMENTUM = {"paper": 0.03, "raysplit": 0.1}
"""Of the batch norms: at 0.03 their means follow a change of level slowly, and validation falls for an epoch."""


class Encoder(nn.Module):
    """Device side: convolution → batch norm → sigmoid → times σ(p), p a trainable logit per channel.

    In `raysplit` mode a clipped ReLU, min(max(x / 2, 0), 1), stands in place of the sigmoid.

    Tokens (`channel_dim` other than 1 in a batched tensor, or no grid at all) are encoded one by one, by a
    linear map in place of the convolution.
    """

    def __init__(self, config: BottleneckConfig, shape: tuple[int, ...], channel_dim: int):
        super().__init__()
        self.config = config
        self.channel_dim = channel_dim
        channels = shape[channel_dim - 1]
        self.mix = _mix(config, shape, channel_dim, nn.Conv2d)
        self.norm = _norm(config, shape, channel_dim)
        # Paper: 15·U(0, 1), so that every gate starts open and the ranking is random.
        self.logits = nn.Parameter(15 * torch.rand(channels))
        # The penalty's pull grows exponentially with the excess S − B, up to C: tuned by its authors at C = 128,
        # it shuts every gate for good at C = 2048.
        narrow = min(1.0, 128 / channels) if config.mode == "raysplit" else 1.0
        self._sharpness = config.sharpness * narrow
        if self._sharpness * channels > _MAX_EXPONENT:
            raise ConfigError(
                f"bottleneck.sharpness={config.sharpness:g} overflows with {channels} channels at the cut; "
                f"at most {_MAX_EXPONENT / channels / narrow:.2g} here"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated code of x, all channels still in place."""
        z = self._squash(_over_channels(self.norm, self.mix(x), self.channel_dim))
        gate = torch.sigmoid(self.logits)
        return z * gate.view([-1 if d == self.channel_dim else 1 for d in range(z.ndim)])

    def _squash(self, x: Tensor) -> Tensor:
        # Into 0..1. Half of a clipped ReLU's values are zero: few bits tell the others apart, and zstd less.
        return torch.sigmoid(x) if self.config.mode == "paper" else (x / 2).clamp(0, 1)

    def choose_channels(self, budget: int | None) -> tuple[int, ...] | None:
        """Return the indices of the `budget` channels with the largest logits, ascending; None for all of them.

        Exactly `budget`: ranking by σ(p)² with a threshold, as the authors' code does, lets ties through.
        """
        if budget is None or budget >= len(self.logits):
            return None
        order = torch.sort(self.logits.detach(), descending=True, stable=True).indices
        return tuple(sorted(order[:budget].tolist()))

    def penalty(self, budget: int) -> Tensor:
        """Return ε[e^{δ(S−B)} + e^{−δ(S−B)}], S = Σσ(p)²: smallest where the gates sum to the budget."""
        excess = torch.sigmoid(self.logits).square().sum() - budget
        return 2 * self.config.penalty * torch.cosh(self._sharpness * excess)

    def train_logits(self, train: bool) -> None:
        """Train the logits or not: they learn in budgeted phases only, since at full width nothing ranks them."""
        self.logits.requires_grad_(train)

    @torch.no_grad()
    def reset_logits(self, generator: torch.Generator) -> None:
        """Give channels left out another chance (deprune): logits below 0.9 are redrawn from U(0, 3), others get 15."""
        fresh = 3 * torch.rand(len(self.logits), generator=generator).to(self.logits)
        self.logits.copy_(torch.where(self.logits < 0.9, fresh, torch.full_like(self.logits, 15.0)))


class Decoder(nn.Module):
    """Server side: transposed convolution of the same geometry → batch norm → ReLU."""

    def __init__(self, config: BottleneckConfig, shape: tuple[int, ...], channel_dim: int):
        super().__init__()
        self.channel_dim = channel_dim
        self.grid = shape[1:] if channel_dim == 1 and len(shape) == 3 else None
        self.mix = _mix(config, shape, channel_dim, nn.ConvTranspose2d)
        self.norm = _norm(config, shape, channel_dim)

    def forward(self, z: Tensor) -> Tensor:
        """Return the tensor that the server half takes, from a code with zeros in the channels not sent."""
        x = self.mix(z, output_size=self.grid) if self.grid is not None else self.mix(z)
        return torch.relu(_over_channels(self.norm, x, self.channel_dim))


def code_shape(config: BottleneckConfig | None, shape: tuple[int, ...], channel_dim: int) -> tuple[int, ...]:
    """Return the shape, without batch, of what crosses when the network puts `shape` at the cut."""
    if config is None or len(shape) != 3 or channel_dim != 1:
        return shape
    r = config.stride
    channels, height, width = shape
    return channels, (height + r - 2) // r + 1, (width + r - 2) // r + 1


def _mix(
    config: BottleneckConfig,
    shape: tuple[int, ...],
    channel_dim: int,
    conv: type[nn.Conv2d] | type[nn.ConvTranspose2d],
) -> nn.Module:
    channels, r = shape[channel_dim - 1], config.stride
    if channel_dim == 1 and len(shape) == 3:
        # r = 1 is a plain 3×3 convolution; above, kernel r+2, stride r, padding r.
        return conv(channels, channels, r + 2, stride=r, padding=r, bias=True)
    if r != 1:
        raise ConfigError(f"bottleneck.stride={r} needs a (C, H, W) tensor at the cut, {shape} crosses; set it to 1")
    return nn.Linear(channels, channels)


def _norm(config: BottleneckConfig, shape: tuple[int, ...], channel_dim: int) -> nn.Module:
    norm = nn.BatchNorm2d if channel_dim == 1 and len(shape) == 3 else nn.BatchNorm1d
    return norm(shape[channel_dim - 1], eps=1e-4, momentum=_MOMENTUM[config.mode])


def _over_channels(norm: nn.Module, x: Tensor, channel_dim: int) -> Tensor:
    normed: Tensor = norm(x) if channel_dim == 1 else norm(x.flatten(0, -2)).view_as(x)
    return normed
